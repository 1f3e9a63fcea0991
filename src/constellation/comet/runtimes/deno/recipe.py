"""How Deno runs: with every permission, for the sandbox is what bounds it."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.modules import LINKS
from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import DENO

# What a function imports lies in its code: nothing is fetched, checked or written beside it.
_FLAGS = ("run", "--allow-all", "--no-check", "--no-remote", "--no-lock", "--node-modules-dir=manual")

RUNTIME = executed(
    DENO,
    Path(__file__).parent,
    worker="worker.cjs",
    flags=_FLAGS,
    shares=("javascript",),
    is_one_file=True,
    oldest=(2,),
    links=LINKS,
    hello="hello.ts",
    env={"DENO_DIR": "/tmp/deno", "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"},  # noqa: S108 (the sandbox's own)
    out_of_memory_texts=(b"JavaScript heap out of memory", b"JavaScript out of memory"),
)
