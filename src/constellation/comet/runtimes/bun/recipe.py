"""How Bun runs: one process a sandbox, with the core that it shares with Node.js and Deno."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.modules import LINKS, NODE_PATH
from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import BUN

RUNTIME = executed(
    BUN,
    Path(__file__).parent,
    worker="worker.cjs",
    flags=("--no-install",),  # a missing package is an error, not a download
    shares=("javascript",),
    is_one_file=True,
    oldest=(1, 1),
    links=LINKS,
    hello="hello.ts",
    env={
        "NODE_PATH": NODE_PATH,
        "NO_COLOR": "1",
        "BUN_RUNTIME_TRANSPILER_CACHE_PATH": "0",
    },
    out_of_memory_texts=(b"out of memory", b"Out of memory"),
)
