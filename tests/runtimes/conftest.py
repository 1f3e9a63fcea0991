"""Which languages this run is about, and a real backend to run them in.

`RUNTIMES=all` means every language, each of which must be there (but for those that no package source has); `RUNTIMES=lua,perl` names some. Without it: those that
the platform's own gate runs, and one that is not there is skipped with the reason.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Backend, Call, Instance, InstanceSpec
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.comet.runtimes.registry import Registry
from constellation.nova.domain.runtimes import RUNTIMES
from constellation.testing.sandboxes import running_backend
from tests.runtimes.table import TABLE, Sources

SEEDS = Path(__file__).parents[2] / "native" / "build" / "seeds"  # what toolchains prepare, kept from run to run
ASKED = os.environ.get("RUNTIMES", "")
ELSEWHERE = ("julia", "swift", "graalvm")  # from no package source: skipped with the reason unless they are named
_GATE = ("python", "node", "ruby", "c", "go", "rust", "java", "wasm", "provided", "custom")
NAMED = tuple(RUNTIMES) if ASKED == "all" else tuple(ASKED.split(",")) if ASKED else _GATE
CHOSEN = tuple(name for name in NAMED if not RUNTIMES[name].is_compiled and not RUNTIMES[name].lambda_api)
PROGRAMS = tuple(name for name in NAMED if RUNTIMES[name].lambda_api)
COMPILED = tuple(name for name in NAMED if RUNTIMES[name].is_compiled)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.find()


@pytest.fixture(params=CHOSEN)
def runtime(request: pytest.FixtureRequest, registry: Registry) -> str:
    return there(request.param, registry.missing)


@pytest.fixture(params=(*CHOSEN, *COMPILED, *PROGRAMS))
def any_runtime(request: pytest.FixtureRequest, registry: Registry) -> str:
    return there(request.param, registry.missing)


def there(runtime: str, missing: Mapping[str, str]) -> str:
    """Return the runtime, unless it is missing: a failure when it was asked for."""
    reason = missing.get(runtime)
    if reason is not None and ASKED and not (ASKED == "all" and runtime in ELSEWHERE):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)
    return runtime


@pytest.fixture
def sources(runtime: str) -> Sources:
    return TABLE[runtime]


@pytest.fixture(scope="module")
async def backend(anyio_backend: object, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Backend]:
    data_dir = tmp_path_factory.mktemp("platform")
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    async with running_backend(settings) as made:
        support = made.support()
        if not support.available:
            pytest.skip(f"{support.name}: {support.reason}")
        yield made


class Rig:
    """Starts functions of one language."""

    def __init__(self, backend: Backend, runtime: str, sources: Sources, code_root: Path) -> None:
        self._backend, self._runtime, self._sources, self._code_root = backend, runtime, sources, code_root
        self.entry = f"{sources.entry}{RUNTIMES[runtime].extension}"

    @asynccontextmanager
    async def started(
        self, source: str, *, package: Mapping[str, str | bytes] | None = None, **fields: Any
    ) -> AsyncIterator[Instance]:
        code_dir = self._code_root / uuid7().hex
        for path, text in {self.entry: source, **(package or {})}.items():
            file = code_dir / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode() if isinstance(text, str) else text)
        for directory in (code_dir, *(path for path in code_dir.rglob("*") if path.is_dir())):
            directory.chmod(0o755)  # bound into the sandbox, where its owner is nobody
        async with self.running(code_dir, **fields) as instance:
            yield instance

    @asynccontextmanager
    async def running(self, code_dir: Path, **fields: Any) -> AsyncIterator[Instance]:
        """Start a function whose code is there."""
        facts = {"tenant": "acme", "namespace": "prod", "function_name": "f", "function_version": "7"}
        facts |= {"runtime": self._runtime, "handler": f"{self._sources.entry}.handler"}
        facts |= {"memory_mb": self._sources.memory_mb}
        spec = InstanceSpec(**(facts | {"function_id": uuid7(), "code_dir": code_dir} | fields))
        instance = await self._backend.create(spec, timeout_s=30)
        try:
            await instance.init(timeout_s=30)
            yield instance
        finally:
            await instance.destroy()


@pytest.fixture
def rig(backend: Backend, runtime: str, sources: Sources, tmp_path: Path) -> Rig:
    return Rig(backend, runtime, sources, tmp_path)


def call(payload: bytes = b"null", *, timeout_s: float = 30) -> Call:
    return Call(request_id=uuid7(), payload=payload, timeout_s=timeout_s)
