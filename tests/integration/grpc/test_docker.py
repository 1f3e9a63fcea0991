"""Functions that name the docker backend, through a comet that has both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from constellation.nova.config.sections import DockerBackendSettings, DockerImages, Settings
from constellation.testing.dockerd import IMAGE
from tests.integration.grpc.conftest import eventually, running

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

WHERE = (
    "import os\ndef handler(event, context):\n    return 'docker' if os.path.exists('/.dockerenv') else 'namespace'\n"
)


@pytest.fixture(params=[True, False], ids=["native", "python"])
async def comet(request, dockerd, database, tmp_path):
    images = DockerImages(python=IMAGE, node=IMAGE)
    settings = replace(Settings(), docker=DockerBackendSettings(socket=str(dockerd), image=images))
    async with running(database, tmp_path / "state", settings=settings, is_native=request.param) as made:
        yield made


async def test_a_function_runs_where_it_says(comet):
    await comet.deploy("f", WHERE, backend="docker")
    assert [await comet.output("f") for _ in range(4)] == ["docker"] * 4
    if comet.is_native:  # the first call waited for a boot, the others met a warm instance: none of them took Python
        assert comet.context.registry.get_sample_value("constellation_port_taken_total") >= 3
    await comet.deploy("f", WHERE, backend="namespace")

    async def is_moved() -> bool:
        return bool(await comet.output("f") == "namespace")

    await eventually(is_moved)
    await comet.deploy("other", WHERE)
    assert await comet.output("other") == "namespace"


async def test_every_backend_is_listed(comet):
    found = (await comet.http("GET", "/backends")).json()["backends"]
    expected = [("namespace", True), ("docker", False), ("wasm", False)]
    assert [(each["name"], each["is_default"]) for each in found] == expected
    docker = found[1]
    assert docker["available"]
    assert set(docker["limits"]) == {"memory", "cpu", "pids", "sockets", "egress"}
