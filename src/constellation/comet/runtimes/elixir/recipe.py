"""How Elixir runs: on a BEAM with one scheduler of each kind, for an instance is small and its sandbox counts threads."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import ELIXIR

_EMULATOR = "+S 1:1 +SDcpu 1:1 +SDio 1 +sbwt none +sbwtdcpu none +sbwtdio none +Bi +fnu"

RUNTIME = executed(
    ELIXIR,
    Path(__file__).parent,
    worker="worker.exs",
    flags=("--erl", _EMULATOR),
    version_flag="--short-version",
    oldest=(1, 14),
    hello="hello.exs",
    env={"ERL_CRASH_DUMP_BYTES": "0"},
    out_of_memory_texts=(b"Cannot allocate",),
)
