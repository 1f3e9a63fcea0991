"""A wasm backend, and functions of tenants to run in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, Instance, InstanceSpec
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.comet.wasm.backend import WasmBackend
from constellation.comet.wasm.settings import WasmSettings
from constellation.testing.wasm import compile_into, running_wasm


class Rig:
    """Starts functions of tenants."""

    def __init__(self, backend: WasmBackend) -> None:
        self.backend = backend

    def code(self, source: str | bytes, *, tenant: str = "acme") -> Path:
        """Compile a module below the tenant's directory; return where."""
        place = self.backend.code_root / tenant
        place.mkdir(exist_ok=True)
        code_dir = place / uuid7().hex
        code_dir.mkdir()
        for directory in (place, code_dir):
            directory.chmod(0o755)  # bound into the sandbox, where its owner is nobody
        compile_into(code_dir, source)
        return code_dir

    @asynccontextmanager
    async def started(
        self, source: str | bytes | Path, *, tenant: str = "acme", **fields: Any
    ) -> AsyncIterator[Instance]:
        code_dir = source if isinstance(source, Path) else self.code(source, tenant=tenant)
        facts = {"namespace": "prod", "function_name": "f", "function_version": "7", "runtime": "wasm"}
        facts |= {"handler": "main.handle", "function_id": uuid7(), "code_dir": code_dir, "tenant": tenant}
        instance = await self.backend.create(InstanceSpec(**(facts | fields)), timeout_s=30)
        try:
            await instance.init(timeout_s=30)
            yield instance
        finally:
            await instance.destroy()


@pytest.fixture(scope="module")
async def rig(anyio_backend: object, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    data_dir = tmp_path_factory.mktemp("platform")
    code_root = data_dir / "code"
    code_root.mkdir(mode=0o755)
    sandboxes = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    async with running_wasm(sandboxes, WasmSettings(code_root=code_root)) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        yield Rig(backend)


def call(payload: bytes = b"null", *, timeout_s: float = 20) -> Call:
    return Call(request_id=uuid7(), payload=payload, timeout_s=timeout_s)
