"""The same ways out, tried in containers: none may be got, by whatever it is refused."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator, Iterator

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.namespace.settings import group_name
from constellation.testing.dockerd import IMAGE
from constellation.testing.sandboxes import running_docker
from tests.security.attempts.bombs import bombs
from tests.security.attempts.files import files
from tests.security.attempts.host import SECRET_NAME, Host, processes_of
from tests.security.attempts.inside import FUNCTION, ask, try_inside
from tests.security.attempts.kernel import kernel
from tests.security.attempts.network import network
from tests.security.attempts.processes import processes

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

UID_BASE = 1_100_000_000 + os.getpid() % 10_000 * 65_536  # of this run alone, so that its processes can be told
ATTEMPTS = [
    each
    for family in (kernel, network, files, processes, bombs)
    for each in family.attempts
    if each.machine in ("", platform.machine())
]
WATCHER = "def wave(at):\n    return 'alive'\n"


@pytest.fixture(scope="module")
async def backend(anyio_backend, dockerd, tmp_path_factory) -> AsyncIterator[DockerBackend]:
    data_dir = tmp_path_factory.mktemp("platform")
    settings = DockerSettings(
        run_dir=data_dir / "run", platform=group_name(data_dir), socket=dockerd, images={"python": IMAGE}, uid_base=UID_BASE
    )
    os.environ[SECRET_NAME] = "of the platform"
    async with running_docker(settings) as made:
        assert made.support().available, made.support().reason
        yield made
    del os.environ[SECRET_NAME]


@pytest.fixture(scope="module")
def host(backend, tmp_path_factory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("host"), backend._settings.run_dir)
    made.lay_traps(FUNCTION)
    yield made
    made.close()


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda each: f"{each.family}-{each.name}")
async def test_no_way_out_of_a_container(attempt, backend, host):
    spec = InstanceSpec(
        tenant="acme", namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
        runtime="python", handler="main.handler", code_dir=host.code, **attempt.spec,
    )  # fmt: skip
    instance = await backend.create(spec, timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        verdict, said = await try_inside(attempt, instance, host.seen_from_inside())
        print("VERDICT", attempt.family, attempt.name, verdict, sorted(attempt.refusals), said[:200].replace("\n", " "))
        assert verdict != "got", said
    finally:
        await instance.destroy()
    assert processes_of(UID_BASE + instance.user) == []
    host.unharmed()
