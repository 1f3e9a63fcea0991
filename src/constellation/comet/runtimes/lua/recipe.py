"""How Lua runs: 5.4 with LuaSocket, for Lua itself can neither use a socket nor tell milliseconds."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.recipe import executed
from constellation.nova.domain.runtimes import LUA

RUNTIME = executed(
    LUA,
    Path(__file__).parent,
    worker="worker.lua",
    version_flag="-v",
    oldest=(5, 4),
    hello="hello.lua",
    out_of_memory_texts=(b"not enough memory",),
)
