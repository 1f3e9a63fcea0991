"""The same ways out, tried in containers: none may be got, by whatever it is refused."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.docker.instance import DockerInstance
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
from tests.security.attempts.table import Attempt

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

UID_BASE = 1_100_000_000 + os.getpid() % 10_000 * 65_536  # of this run alone, so that its processes can be told
ATTEMPTS = [
    each
    for family in (kernel, network, files, processes, bombs)
    for each in family.attempts
    if each.machine in ("", platform.machine())
]
ITS_OWN = {"terminals": "a container has a devpts of its own, and nobody else's terminals are in it"}
WATCHER = "def wave(at):\n    return 'alive'\n"


@pytest.fixture(scope="module")
async def backend(anyio_backend, dockerd, tmp_path_factory) -> AsyncIterator[DockerBackend]:
    data_dir = tmp_path_factory.mktemp("platform")
    settings = DockerSettings(
        run_dir=data_dir / "run",
        platform=group_name(data_dir),
        socket=dockerd,
        images={"python": IMAGE},
        uid_base=UID_BASE,
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


class Current:
    """The instance that attempts are made in, another once one of them has ended it."""

    def __init__(self, backend: DockerBackend, host: Host) -> None:
        self._backend, self._host = backend, host
        self._instance: DockerInstance | None = None

    async def get(self, limits: Mapping[str, int]) -> DockerInstance:
        if limits or self._instance is None or self._instance.died.is_set():
            await self.end()
            spec = InstanceSpec(
                tenant="acme", namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
                runtime="python", handler="main.handler", code_dir=self._host.code, **limits,
            )  # fmt: skip
            self._instance = await self._backend.create(spec, timeout_s=30)
            await self._instance.init(timeout_s=20)
        return self._instance

    async def end(self) -> None:
        instance, self._instance = self._instance, None
        if instance is not None:
            await instance.destroy()
            assert processes_of(UID_BASE + instance.user) == []


@pytest.fixture(scope="module")
async def current(backend, host) -> AsyncIterator[Current]:
    made = Current(backend, host)
    yield made
    await made.end()


def _is_refused(verdict: str, attempt: Attempt) -> bool:
    """By whatever error: a container's root is another than that of our own sandboxes, and so is what is missing there."""
    return verdict in attempt.refusals or getattr(errno, verdict, 0) > 0


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda each: f"{each.family}-{each.name}")
async def test_no_way_out_of_a_container(attempt, backend, current, host):
    if attempt.name in ITS_OWN:
        pytest.skip(ITS_OWN[attempt.name])
    if attempt.name == "network_buffers" and backend.support().limits["sockets"] == "none":
        pytest.skip("the daemon limits no socket buffers, and says so")
    instance = await current.get(attempt.spec)
    verdict, said = await try_inside(attempt, instance, host.seen_from_inside())
    assert _is_refused(verdict, attempt), (verdict, said)
    if attempt.spec or attempt.family == "bombs":
        await current.end()
    elif not instance.died.is_set():
        again = await ask(instance, WATCHER, "wave", {})
        assert again.output == b'"alive"', (again, said)
    host.unharmed()
