"""How Julia runs: with one thread, for calls come one after the other, and without a user's own configuration."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import JULIA

RUNTIME = executed(
    JULIA,
    Path(__file__).parent,
    worker="worker.jl",
    flags=("--startup-file=no", "--history-file=no", "--color=no", "--threads=1"),
    oldest=(1, 9),
    hello="hello.jl",
    env={"JULIA_DEPOT_PATH": "/tmp/julia", "JULIA_PKG_OFFLINE": "true"},  # noqa: S108 (the sandbox's own)
    out_of_memory_texts=(b"OutOfMemoryError",),
)
