"""How R runs: with a library of ours that reads and writes the channel.

In a container, whose libc may be another, the library is not there: the channel is standard input, the one descriptor that R reads
bytes from, and `cat` writes what the worker sends.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from constellation.comet.runtimes.recipe import RUNTIME_DIR, Interpreter, executed
from constellation.native import libexec_path
from constellation.native.sandbox import Bind, Entry
from constellation.nova.domain.runtimes import R

_LIBRARY = "ct_r.so"
_EXECUTED = executed(
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


def _binds(found: Interpreter) -> tuple[Entry, ...]:
    library = Bind(source=str(libexec_path(_LIBRARY)), target=f"{RUNTIME_DIR}/{_LIBRARY}")
    return (*_EXECUTED.binds(found), library)


RUNTIME = replace(_EXECUTED, binds=_binds)
