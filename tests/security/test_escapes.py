"""Ways out, one a test: each must succeed outside a sandbox and fail inside one, and harm nobody.

An attempt whose control can not run on this host, or does not succeed there, is made all the same but does not count.
"""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend
from tests.security.attempts import control
from tests.security.attempts.bombs import bombs
from tests.security.attempts.files import files
from tests.security.attempts.host import SECRET_NAME, Host, processes_of
from tests.security.attempts.inside import FUNCTION, ask, try_inside
from tests.security.attempts.kernel import kernel
from tests.security.attempts.network import network
from tests.security.attempts.processes import processes
from tests.security.attempts.table import Attempt

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

FAMILIES = (kernel, network, files, processes, bombs)
ATTEMPTS = [each for family in FAMILIES for each in family.attempts if each.machine in ("", platform.machine())]
TEMPLATE_MEMORY_BYTES = 512 << 20
LEAST = 80  # counted attempts on a host where root may make all namespaces
UID_BASE = 1_000_000_000 + os.getpid() % 10_000 * 65_536  # of this run alone, so that its processes can be told
WATCHER = "def wave(at):\n    return 'alive'\n"
ARM = control.KIT + "\n\ndef prepare(at):\n    arm('/tmp')\n"


@dataclass
class Tally:
    counted: set[str] = field(default_factory=set)
    not_counted: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def table(self) -> str:
        lines = [f"{'family':<12}{'attempts':>9}{'counted':>9}{'refused':>9}"]
        for family in FAMILIES:
            names = {each.name for each in family.attempts}
            made = len(names & (self.counted | set(self.not_counted)))
            lines.append(f"{family.name:<12}{made:>9}{len(names & self.counted):>9}{len(names & set(self.refused)):>9}")
        lines.append(
            f"{'all':<12}{len(self.counted) + len(self.not_counted):>9}{len(self.counted):>9}{len(self.refused):>9}"
        )
        lines += [f"not counted: {name}: {why}" for name, why in sorted(self.not_counted.items())]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    os.environ[SECRET_NAME] = "of the platform"
    yield
    del os.environ[SECRET_NAME]


@pytest.fixture(scope="module")
async def backend(anyio_backend, environment, tmp_path_factory) -> AsyncIterator[NamespaceBackend]:
    data_dir = tmp_path_factory.mktemp("platform")
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir), uid_base=UID_BASE)
    async with running_backend(settings) as made:
        if not made.support().available:
            pytest.skip(made.support().reason)
        await made.keep_templates({"python"}, memory_bytes=TEMPLATE_MEMORY_BYTES)
        yield made


@pytest.fixture(scope="module")
def host(backend, tmp_path_factory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("host"), backend._settings.run_dir)
    made.lay_traps(FUNCTION)
    yield made
    made.close()


def _spec(host: Host, tenant: str, **limits: int) -> InstanceSpec:
    return InstanceSpec(
        tenant=tenant, namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
        runtime="python", handler="main.handler", code_dir=host.code, **limits,
    )  # fmt: skip


@pytest.fixture(scope="module")
async def neighbour(backend, host):
    """Another tenant's instance, with everything in it that an attempt could find; it must outlive them all."""
    instance = await backend.create(_spec(host, "umbrella"), timeout_s=30)
    await instance.init(timeout_s=20)
    armed = await ask(instance, ARM, "prepare", {})
    assert armed.error is None, armed.error
    yield instance
    await instance.destroy()


@pytest.fixture
def busy_host(host) -> Iterator[None]:
    """Somebody outside who uses the host's files all the time."""
    done, shared = threading.Event(), Path(host.values["shared_file"])

    def use() -> None:
        while not done.wait(0.05):
            with shared.open("rb") as file:
                file.read(1)
            list(shared.parent.iterdir())

    user = threading.Thread(target=use)
    user.start()
    yield
    done.set()
    user.join()


def _missing(attempt: Attempt, backend: NamespaceBackend) -> str:
    """Say why the platform promises nothing about this on this host; "" when it does."""
    if attempt.ground == "root" and os.geteuid() != 0:
        return "files of another owner need root to be made"
    if attempt.ground == "memory group" and not backend.support().limits["memory"].startswith("cgroup"):
        return "the kernel's own memory is counted by a memory control group alone, and there is none"
    return ""


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda each: f"{each.family}-{each.name}")
async def test_no_way_out(attempt: Attempt, backend, host, neighbour, tally, busy_host):
    missing = _missing(attempt, backend)
    if missing:
        tally.not_counted[attempt.name] = missing
        pytest.skip(missing)
    outside = attempt.obstacle or await anyio.to_thread.run_sync(control.run, attempt, host.seen_from_outside())
    if outside == attempt.control:
        tally.counted.add(attempt.name)
    else:
        tally.not_counted[attempt.name] = outside
    host.unharmed()

    await backend.templates_ready()  # what is tried is tried in a template, which most instances come from
    instance = await backend.create(_spec(host, "acme", **attempt.spec), timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        verdict, said = await try_inside(attempt, instance, host.seen_from_inside())
        assert verdict in attempt.refusals, said
        tally.refused[attempt.name] = verdict
        if not instance.died.is_set() and attempt.family != "bombs":
            again = await ask(instance, WATCHER, "wave", {})
            assert again.output == b'"alive"', (again, said)
    finally:
        await instance.destroy()
    if instance.slot.uid != os.geteuid():
        assert processes_of(instance.slot.uid) == []
    host.unharmed()
    assert (await ask(neighbour, WATCHER, "wave", {})).output == b'"alive"'


def test_enough_attempts_count(tally):
    print("\n" + tally.table())
    if len(tally.counted) + len(tally.not_counted) < len(ATTEMPTS):
        pytest.skip("only some of the attempts were asked for")
    if os.geteuid() != 0:
        pytest.skip(f"{len(tally.counted)} count for an ordinary user")
    if subprocess.run([*control.APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"{len(tally.counted)} count where root may not make namespaces")
    assert len(tally.counted) >= LEAST
