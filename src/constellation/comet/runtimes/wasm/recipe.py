"""How WebAssembly is compiled and run: by ct-wasm, with the library in the package wasmtime."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.runtimes.recipe import RUNTIME_DIR, SANDBOX_ENV, Interpreter, Runtime, Start
from constellation.native import libexec_path
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import WASM

_HERE = Path(__file__).parent
_MAJOR = "50"  # ct-wasm declares this version's functions (native/src/wasm/api.h)
_LIBRARY = "_libwasmtime.so"
WORKER = f"{RUNTIME_DIR}/ct-wasm"
WORKER_LIBRARY = f"{RUNTIME_DIR}/libwasmtime.so"


def library() -> Interpreter:
    """Return wasmtime's library, without loading it. Touches the disk.

    Raises:
        RuntimeUnavailable: the package is missing, is another version, or has no library for this machine.
    """
    spec = importlib.util.find_spec(WASM.wheel)
    if spec is None or spec.origin is None:
        raise RuntimeUnavailable(WASM.id, reason=f"{WASM.source} is not installed (pip install 'wasmtime=={_MAJOR}.*')")
    version = importlib.metadata.version(WASM.wheel)
    if version.partition(".")[0] != _MAJOR:
        raise RuntimeUnavailable(WASM.id, reason=f"{WASM.source} is {version}, and {_MAJOR} is needed")
    found = sorted(Path(spec.origin).parent.glob(f"linux-*/{_LIBRARY}"))
    if not found:
        raise RuntimeUnavailable(WASM.id, reason=f"{WASM.source} has no library for this machine")
    return Interpreter(path=found[0], version=version)


def worker_binds(found: Interpreter) -> tuple[Bind, ...]:
    """Return what a sandbox needs to run `WORKER` with `WORKER_LIBRARY`."""
    return (
        Bind(source=str(libexec_path("ct-wasm")), target=WORKER),
        Bind(source=str(found.path), target=WORKER_LIBRARY),
    )


def _find(configured: Path | None) -> Interpreter:
    if configured is not None:
        raise RuntimeUnavailable(WASM.id, reason="it has no interpreter that could be configured")
    return library()


@cache
def _engine() -> str:
    """Return what changes with the engine's settings: files of one are no use to another."""
    return hashlib.sha256(libexec_path("ct-wasm").read_bytes()).hexdigest()[:12]


def _asked(_found: tuple[Path, ...]) -> Tools:
    try:
        found = library()
    except RuntimeUnavailable as error:
        raise BuilderUnavailable(WASM.id, reason=error.reason) from error
    return Tools(version=f"{found.version} {_engine()}", binds=worker_binds(found))


TOOLCHAIN = Toolchain(runtime=WASM.id, recipe=_HERE, programs=(), asked=_asked)
RUNTIME = Runtime(
    info=WASM,
    start=Start.EXEC,
    find=_find,
    argv=lambda _: (WORKER, WORKER_LIBRARY, "serve"),
    prefixes=lambda _: (),
    binds=worker_binds,
    hello=_HERE / "hello.wat",
    env=SANDBOX_ENV,
)
