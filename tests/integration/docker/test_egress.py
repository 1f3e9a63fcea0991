"""Containers with a network: what they reach, that nothing of it stays, and that the image has no word in it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess

import anyio
import pytest

from constellation.comet.backend.contract import Call, InstanceDied, SandboxStartFailed
from constellation.comet.network import probe
from constellation.nova.domain.network import Egress
from constellation.testing.sandboxes import running_docker
from tests.integration.namespace.calls import allow, asking
from tests.integration.namespace.internet import API, DATABASE, METADATA, OPEN_RESOLVER, OTHER, on_a_host

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

UNREACHED = "OSError No route to host"


@pytest.fixture
def internet(dockerd, tmp_path):
    """The test's thread is on a host with a way out; the daemon is on the machine's own network."""
    with on_a_host(tmp_path) as internet:
        yield internet


@pytest.fixture
async def wired(internet, dockerd, settings):
    async with running_docker(settings(dockerd, resolv_conf=internet.resolv_conf)) as backend:
        if backend.support().egress_reason:
            pytest.skip(backend.support().egress_reason)
        yield backend


def _tables() -> str:
    return subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True, timeout=30).stdout


async def test_allow_lists_hold_for_names_networks_and_ports(wired, internet, tmp_path):
    network = allow(
        {"host": "api.example.org", "ports": (443,)}, {"cidr": "10.1.0.0/16", "ports": (5432,)}, deny=("10.1.2.0/24",)
    )
    async with asking(wired, tmp_path, network) as one:
        assert await one.reach(
            ("api.example.org", 443), ("api.example.org", 8443), (DATABASE, 5432), (DATABASE, 22), (OTHER, 443),
            ("other.test", 443), (METADATA, 80), ("192.0.2.2", 8080), (OPEN_RESOLVER, 53), ("10.1.2.1", 5432),
        ) == [
            f"{API}:443", UNREACHED, f"{DATABASE}:5432", UNREACHED, UNREACHED,
            "no name", UNREACHED, UNREACHED, UNREACHED, UNREACHED,
        ]  # fmt: skip
        assert await one.run(
            "result = [open('/etc/resolv.conf').read(), socket.gethostbyname('localhost'),"
            " sorted(line.split(':')[0].strip() for line in list(open('/proc/net/dev'))[2:])]"
        ) == ["nameserver 127.0.0.1\n", "127.0.0.1", ["eth0", "lo"]]
        raw = "try:\n    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)\nexcept OSError as e:\n    result = e.errno"
        assert await one.run(raw) == errno.EPERM  # no source can be forged
    assert {name for name, _ in internet.asked} == {"api.example.org"}
    assert {sender for _, sender in internet.served} == {"192.0.2.2"}


async def test_the_internet_is_what_is_public_and_neighbours_are_not_it(wired, tmp_path):
    open_to_all = allow(egress=Egress.INTERNET)
    async with asking(wired, tmp_path, open_to_all) as one, asking(wired, tmp_path, open_to_all) as other:
        assert await one.reach(("api.example.org", 8443), (OTHER, 443), (DATABASE, 5432), (METADATA, 80)) == [
            f"{API}:8443", f"{OTHER}:443", UNREACHED, UNREACHED,
        ]  # fmt: skip
        address = "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:\n    wire.connect(('8.8.8.8', 53))\n    result = wire.getsockname()[0]"
        theirs = await other.run(address)
        await other.run("global held; held = socket.create_server(('0.0.0.0', 7777)); result = 1")
        assert await one.reach((theirs, 7777)) == [UNREACHED]
        async with asking(wired, tmp_path) as alone:  # a function without one, beside them
            assert await alone.reach((API, 443), (theirs, 7777), ("api.example.org", 443)) == [
                "OSError Network is unreachable", "OSError Network is unreachable", "no name",
            ]  # fmt: skip


async def test_a_lost_helper_ends_what_relied_on_it_and_a_new_one_serves_the_next(wired, tmp_path):
    assert "constellation" not in _tables()  # nothing that nobody needs
    network = allow({"cidr": f"{API}/32"})
    async with asking(wired, tmp_path, network) as one, asking(wired, tmp_path) as bystander:
        assert await one.reach((API, 443)) == [f"{API}:443"]
        assert "constellation" in _tables()
        os.kill(wired._network.pid, signal.SIGKILL)
        with anyio.fail_after(20):
            await one.instance.died.wait()
        with pytest.raises(InstanceDied, match="its network was lost"):
            await one.instance.invoke(Call(request_id=one.instance.spec.function_id, payload=b"{}", timeout_s=5))
        async with asking(wired, tmp_path, network) as again:
            assert await again.reach((API, 443)) == [f"{API}:443"]
        assert await bystander.reach((API, 443)) == ["OSError Network is unreachable"]


async def test_a_host_that_can_not_says_so_and_runs_the_others(
    internet, dockerd, settings, tmp_path, monkeypatch, daemon
):
    monkeypatch.setattr(probe, "missing", lambda: "it needs root")
    async with running_docker(settings(dockerd)) as backend:
        assert (backend.support().egress_reason, backend.support().limits["egress"]) == ("it needs root", "none")
        with pytest.raises(SandboxStartFailed, match="it needs root"):
            async with asking(backend, tmp_path, allow(egress=Egress.INTERNET)):
                pass
        assert daemon.get("/containers/json?all=true").json() == []
        async with asking(backend, tmp_path) as one:
            assert await one.run("result = 1") == 1
