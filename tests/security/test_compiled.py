"""What a program in a compiled language must not reach, tried natively; and one in Java, in a machine that waited for it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, Instance, InstanceDied
from constellation.comet.builds.contract import BuildRequest
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.builds import BuildRig, build_rig
from constellation.testing.sandboxes import running_backend
from tests.runtimes.conftest import SEEDS
from tests.security.attempts.calls import SYSCALLS

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(600)]

PROBES = Path(__file__).parent / "probes"
HANDLERS = {"c": "main.handler", "go": "main.Handler", "rust": "main.handler", "java": "Main.handler"}
FILES = {"c": "main.c", "go": "main.go", "rust": "main.rs", "java": "Main.java"}
TEMPLATE_MEMORY_BYTES = 512 << 20
PERMITTED = "allowed"
NO_NETWORK = {
    "errno 101",
    "errno 111",
    "errno 13",
    "errno 1",
    "ConnectException",
    "SocketException",
    "NoRouteToHostException",
}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The program of a language, built, and where it is started."""

    runtime: str
    rig: BuildRig
    request: BuildRequest

    @asynccontextmanager
    async def started(self, **fields: str) -> AsyncIterator[Inside]:
        await self.rig.backend.templates_ready()
        async with self.rig.running(self.request, memory_mb=256, **fields) as instance:
            yield Inside(instance)


class Inside:
    """A function that does what it is told."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def __call__(self, act: str, at: object = "") -> str:
        event = json.dumps({"do": act, "at": str(at)}).encode()
        outcome = await self._instance.invoke(Call(request_id=uuid7(), payload=event, timeout_s=20))
        assert outcome.error is None, outcome.error
        return json.loads(outcome.output)


@pytest.fixture(scope="module", params=FILES)
async def probe(request, anyio_backend, tmp_path_factory) -> AsyncIterator[Probe]:
    runtime, root = request.param, tmp_path_factory.mktemp(request.param)
    root.chmod(0o755)
    async with running_backend(NamespaceSettings(run_dir=root / "run", group=group_name(root))) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        if runtime in backend.runtimes.missing:
            pytest.skip(backend.runtimes.missing[runtime])
        async with build_rig(backend, root, cache_dir=SEEDS) as rig:
            source = {FILES[runtime]: (PROBES / FILES[runtime]).read_text()}
            made = await rig.built(runtime, source, handler=HANDLERS[runtime])
            if runtime == "java":
                await backend.keep_templates({"java"}, memory_bytes=TEMPLATE_MEMORY_BYTES)
            yield Probe(runtime=runtime, rig=rig, request=made)


@pytest.fixture
async def inside(probe) -> AsyncIterator[Inside]:
    async with probe.started() as inside:
        yield inside


async def test_the_hosts_files_are_not_there(inside, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    for path in (
        secret, "/etc/shadow", "/etc/ssh", "/var/lib", "/home", "/sys", "/boot", "/proc/1/root/../etc/shadow", __file__,
        "/.dockerenv", "/run/docker.sock", "/dev/kvm", "/dev/mem", "/proc/self/root/home",
    ):  # fmt: skip
        assert await inside("exists", path) != PERMITTED, path
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", secret):
        assert "hidden" not in (text := await inside("read", path)), path
        assert text.strip("\0") == "" or text.startswith("errno") or text.endswith("Exception"), path


async def test_nothing_but_tmp_can_be_written(inside):
    for path in ("/x", "/etc/x", "/usr/x", "/code/x", "/dev/x", "/run/x", "/proc/x", "/proc/sysrq-trigger",
                 "/proc/sys/kernel/core_pattern"):  # fmt: skip
        assert await inside("write", path) != PERMITTED, path
    assert await inside("write", "/tmp/x") == PERMITTED


async def test_neither_the_platforms_environment_nor_its_processes_are_there(inside):
    for text in (
        await inside("env"),
        await inside("read", "/proc/self/environ"),
        await inside("read", "/proc/1/environ"),
    ):
        for name in ("VIRTUAL_ENV", "NOVA_", "SSH_", "PYTEST", "USER="):
            assert name not in text, name
    pids = [name for name in (await inside("list", "/proc")).split() if name.isdigit()]
    assert len(pids) <= 2, pids  # ct-guest and the program
    assert set((await inside("list", "/proc/1/fd")).split()) <= {
        "0",
        "1",
        "2",
        "3",
        "4",
        "errno",
        "AccessDeniedException",
    }


async def test_the_only_network_is_its_own_loopback(inside):
    with socket.create_server(("127.0.0.1", 0)) as host:
        port = host.getsockname()[1]
        for address in (f"127.0.0.1 {port}", "169.254.169.254 80", "1.1.1.1 443", "10.0.0.1 80"):
            assert await inside("connect", address) in NO_NETWORK, address
    devices = (await inside("read", "/proc/self/net/dev")).splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


async def test_it_has_no_power(inside):
    status = dict(line.split(":\t", 1) for line in (await inside("read", "/proc/self/status")).splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are of x86-64")
async def test_dangerous_system_calls_are_refused(probe):
    if probe.runtime == "java":
        pytest.skip("Java makes no system calls by their numbers")
    namespaces = {f"clone {flag:#x}": (56, flag | 17) for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000)}
    refused, left = {}, {**SYSCALLS, **namespaces, "clone3": (435, 0, 0)}
    while left:
        async with probe.started() as inside:
            for name, numbers in list(left.items()):
                del left[name]
                try:
                    refused[name] = await inside("syscall", " ".join(map(str, numbers)))
                except InstanceDied as died:
                    refused[name] = died.cause
                    break
    bad = {
        name: how for name, how in refused.items() if how not in ("errno 1", "errno 38", f"signal {int(signal.SIGSYS)}")
    }
    assert bad == {}


async def test_instances_of_tenants_do_not_meet(probe):
    async with probe.started() as mine, probe.started(tenant="umbrella") as others:
        assert await mine("write", "/tmp/mine") == PERMITTED
        assert await mine("write", "/dev/shm/mine") == PERMITTED
        assert await others("exists", "/tmp/mine") != PERMITTED
        assert await others("exists", "/dev/shm/mine") != PERMITTED
        pids = [name for name in (await others("list", "/proc")).split() if name.isdigit()]
        assert len(pids) <= 2
    async with probe.started() as later:
        assert await later("exists", "/tmp/mine") != PERMITTED
