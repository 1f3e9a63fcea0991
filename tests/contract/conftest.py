"""Backends to run the contract against, and functions to run in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Backend, Call, Instance, InstanceSpec
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.comet.wasm.backend import WasmBackend
from constellation.comet.wasm.settings import WasmSettings
from constellation.testing.dockerd import IMAGE
from constellation.testing.sandboxes import running_backend, running_docker
from constellation.testing.wasm import compile_into, running_wasm
from tests.contract.programs import Program

FILES = {"python": "main.py", "node": "main.js"}
TENANT = "acme"


def _namespace(data_dir: Path, **settings: Any) -> AbstractAsyncContextManager[Backend]:
    return running_backend(NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir), **settings))


BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Backend]]] = {
    "namespace": _namespace,
    "namespace-without-cgroups": lambda data_dir: _namespace(data_dir, use_cgroups=False),
    "namespace-templates": _namespace,
    "namespace-templates-without-cgroups": lambda data_dir: _namespace(data_dir, use_cgroups=False),
}
TEMPLATE_MEMORY_BYTES = 1 << 30


def docker_settings(data_dir: Path, socket: Path, **settings: Any) -> DockerSettings:
    return DockerSettings(
        **(
            {
                "run_dir": data_dir / "run",
                "platform": group_name(data_dir),
                "socket": socket,
                "images": dict.fromkeys(FILES, IMAGE),
                "uid_base": 1_500_000,
            }
            | settings
        )
    )


def _wasm(data_dir: Path) -> AbstractAsyncContextManager[Backend]:
    (data_dir / "code" / TENANT).mkdir(parents=True)
    for directory in (data_dir / "code", data_dir / "code" / TENANT):
        directory.chmod(0o755)  # bound into the sandbox, where its owner is nobody
    sandboxes = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    return running_wasm(sandboxes, WasmSettings(code_root=data_dir / "code", idle_s=0))


BACKENDS["wasm"] = _wasm


@pytest.fixture(scope="module", params=[*BACKENDS, "docker"])
async def backend(request, anyio_backend, tmp_path_factory) -> AsyncIterator[Backend]:
    data_dir = tmp_path_factory.mktemp("platform")
    if request.param == "docker":
        made_by = running_docker(docker_settings(data_dir, request.getfixturevalue("dockerd")))
    else:
        made_by = BACKENDS[request.param](data_dir)
    async with made_by as made:
        support = made.support()
        if not support.available:
            pytest.skip(f"{support.name}: {support.reason}")
        if "templates" in request.param:
            await made.keep_templates(FILES, memory_bytes=TEMPLATE_MEMORY_BYTES)
            await _ready(made)
        yield made


async def _ready(backend: Backend) -> None:
    if isinstance(backend, NamespaceBackend):
        with anyio.fail_after(30):
            await backend.templates_ready()
    elif isinstance(backend, WasmBackend):
        with anyio.fail_after(30):
            await backend.settled()
    else:
        for _ in range(3):  # turns of the loop in which the connection of the last request is closed
            await anyio.lowlevel.checkpoint()


class Rig:
    """Starts functions in a backend."""

    def __init__(self, backend: Backend, code_root: Path) -> None:
        self.backend, self._code_root = backend, code_root
        self.runtime = "wasm" if backend.name == "wasm" else "python"  # what most promises are tried in

    def spec(self, source: str | Program, *, runtime: str | None = None, **fields: Any) -> InstanceSpec:
        """Write a function; a text is Python, or of the language that is named."""
        runtime = runtime or (self.runtime if not isinstance(source, str) else "python")
        if (runtime == "wasm") != (self.backend.name == "wasm") or not (isinstance(source, str) or runtime in source):
            pytest.skip(f"the {self.backend.name} backend has no {runtime}, or nothing that this is about")
        text = source if isinstance(source, str) else source[runtime]
        code_dir = self._code_root / uuid7().hex
        code_dir.mkdir()
        code_dir.chmod(0o755)  # bound into the sandbox, where its owner is nobody
        if runtime == "wasm":
            compile_into(code_dir, text)
        else:
            (code_dir / FILES[runtime]).write_text(text)
        defaults = {"tenant": TENANT, "namespace": "prod", "function_name": "f", "function_version": "1"}
        return InstanceSpec(
            **(
                defaults
                | {"function_id": uuid7(), "runtime": runtime, "handler": "main.handler", "code_dir": code_dir}
                | fields
            )
        )

    async def settled(self) -> None:
        """Wait until every template that shall be there is, and no other."""
        await _ready(self.backend)

    @asynccontextmanager
    async def started(self, source: str | Program, **fields: Any) -> AsyncIterator[Instance]:
        await _ready(self.backend)
        instance = await self.backend.create(self.spec(source, **fields), timeout_s=30)
        try:
            await instance.init(timeout_s=20)
            yield instance
        finally:
            await instance.destroy()


def call(payload: bytes = b"null", *, timeout_s: float = 20) -> Call:
    return Call(request_id=uuid7(), payload=payload, timeout_s=timeout_s)


@pytest.fixture
def rig(backend, tmp_path) -> Rig:
    return Rig(backend, backend.code_root / TENANT if isinstance(backend, WasmBackend) else tmp_path)


@pytest.fixture
def calls() -> Callable[..., Call]:
    return call
