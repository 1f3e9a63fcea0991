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
from constellation.testing.dockerd import IMAGE
from constellation.testing.sandboxes import running_backend, running_docker

FILES = {"python": "main.py", "node": "main.js"}


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
    else:
        for _ in range(3):  # turns of the loop in which the connection of the last request is closed
            await anyio.lowlevel.checkpoint()


class Rig:
    """Starts functions in a backend."""

    def __init__(self, backend: Backend, code_root: Path) -> None:
        self.backend, self._code_root = backend, code_root

    def spec(self, source: str, *, runtime: str = "python", **fields: Any) -> InstanceSpec:
        code_dir = self._code_root / uuid7().hex
        code_dir.mkdir()
        code_dir.chmod(0o755)  # bound into the sandbox, where its owner is nobody
        (code_dir / FILES[runtime]).write_text(source)
        defaults = {"tenant": "acme", "namespace": "prod", "function_name": "f", "function_version": "1"}
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
    async def started(self, source: str, **fields: Any) -> AsyncIterator[Instance]:
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
    return Rig(backend, tmp_path)


@pytest.fixture
def calls() -> Callable[..., Call]:
    return call
