"""A docker backend on the run's own daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.namespace.settings import group_name
from constellation.testing.dockerd import IMAGE
from constellation.testing.sandboxes import running_docker


@pytest.fixture
def settings(tmp_path) -> Callable[..., DockerSettings]:
    def made(socket: Path, **fields: Any) -> DockerSettings:
        usual = {
            "run_dir": tmp_path / "run", "platform": group_name(tmp_path), "socket": socket,
            "images": {"python": IMAGE, "node": IMAGE}, "uid_base": 1_500_000,
        }  # fmt: skip
        return DockerSettings(**(usual | fields))

    return made


@pytest.fixture
async def backend(dockerd, settings) -> AsyncIterator[DockerBackend]:
    async with running_docker(settings(dockerd)) as made:
        assert made.support().available, made.support().reason
        yield made


@pytest.fixture
def daemon(dockerd):
    """The daemon's API, asked by somebody else than the backend."""
    transport = httpx.HTTPTransport(uds=str(dockerd))
    with httpx.Client(transport=transport, base_url="http://docker/v1.41", timeout=30) as client:
        yield client


@pytest.fixture
def spec(tmp_path) -> Callable[..., InstanceSpec]:
    def made(source: str, **fields: Any) -> InstanceSpec:
        code_dir = tmp_path / uuid7().hex
        code_dir.mkdir()
        code_dir.chmod(0o755)
        (code_dir / "main.py").write_text(source)
        usual = {"tenant": "acme", "namespace": "prod", "function_name": "f", "function_version": "1"}
        usual |= {"function_id": uuid7(), "runtime": "python", "handler": "main.handler", "code_dir": code_dir}
        return InstanceSpec(**(usual | fields))

    return made
