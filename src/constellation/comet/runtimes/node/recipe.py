"""How Node.js runs: one process a sandbox, with the core that it shares with Deno and Bun."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.modules import LINKS, NODE_PATH
from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import NODE

# Chosen: a quarter of the limit is left to buffers and the interpreter itself, so that V8 complains before the
# kernel kills.
_HEAP_SHARE = 0.75

RUNTIME = executed(
    NODE,
    Path(__file__).parent,
    worker="worker.js",
    shares=("javascript",),
    is_one_file=True,
    oldest=(20,),
    links=LINKS,
    hello="hello.js",
    env={"NODE_PATH": NODE_PATH},
    heap_flags=lambda memory_mb: (f"--max-old-space-size={max(16, int(memory_mb * _HEAP_SHARE))}",),
    out_of_memory_texts=(b"JavaScript heap out of memory",),
)
