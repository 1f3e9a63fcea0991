"""How R runs: with the channel as its standard input, the one descriptor that it can read bytes from."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import R

RUNTIME = executed(
    R,
    Path(__file__).parent,
    worker="worker.R",
    launcher=("/bin/sh", "-c", 'exec "$@" <&3', "sh"),
    flags=("--no-echo", "--no-save", "--no-restore", "--no-environ", "--no-init-file", "-f"),
    oldest=(4, 1),
    host_binds=("/etc/R",),
    hello="hello.R",
    out_of_memory_texts=(b"cannot allocate",),
)
