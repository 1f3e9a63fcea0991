"""Functions with a network: what they reach, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.network import probe
from constellation.comet.network.nft import NftFailed
from constellation.comet.network.places import Names
from constellation.nova.domain.network import Egress
from constellation.testing.sandboxes import running_backend
from tests.integration.namespace.calls import allow, asking
from tests.integration.namespace.internet import API, DATABASE, OPEN_RESOLVER, OTHER, on_a_host

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

MEMORY = 256 << 20
SOURCES = {
    "node": (
        "main.js",
        """
const net = require('net');
exports.handler = (event) => new Promise((done) => {
  const wire = net.connect(443, event.host);
  let said = '';
  wire.on('data', (data) => { said += data; }).on('end', () => done(said)).on('error', (error) => done(error.code));
});
""",
    ),
    "ruby": (
        "main.rb",
        """
require 'socket'
def handler(event, context)
  TCPSocket.new(event['host'], 443).read
rescue SocketError
  'ENOTFOUND'
end
""",
    ),
}


def tables() -> list[str]:
    """The tables of this thread's network namespace."""
    return [line for line in _said("nft", "list", "tables").splitlines() if "constellation" in line]


def devices() -> list[str]:
    return sorted(each["ifname"] for each in json.loads(_said("ip", "-j", "link")))


def _said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


def forwards(device: str) -> bool:
    return Path(f"/proc/sys/net/ipv4/conf/{device}/forwarding").read_text().strip() == "1"


async def test_allowed_names_are_reached_at_allowed_ports(wired, internet, tmp_path):
    network = allow({"host": "api.example.org", "ports": (443,)}, {"host": "other.test"})
    async with asking(wired, tmp_path, network) as one:
        assert await one.reach(("api.example.org", 443), ("api.example.org", 8443)) == [
            f"{API}:443", "OSError No route to host",
        ]  # fmt: skip
        assert await one.reach(("other.test", 443), ("www.example.org", 443)) == [f"{OTHER}:443", "no name"]
    assert {name for name, _ in internet.asked} == {"api.example.org", "other.test"}


async def test_wildcards_cover_what_is_below_alone(wired, internet, tmp_path):
    async with asking(wired, tmp_path, allow({"host": "*.example.org", "ports": (443,)})) as one:
        assert await one.reach(("www.example.org", 443), ("example.org", 443), ("API.Example.ORG", 443)) == [
            f"{API}:443", "no name", f"{API}:443",
        ]  # fmt: skip


async def test_networks_are_reached_without_names_and_denied_ones_not(wired, tmp_path):
    network = allow({"cidr": "10.1.0.0/16", "ports": (5432,)}, {"cidr": "5.6.7.0/24"}, deny=("5.6.7.8/32",))
    async with asking(wired, tmp_path, network) as one:
        assert await one.reach((DATABASE, 5432), (DATABASE, 22), (OTHER, 443), (API, 443)) == [
            f"{DATABASE}:5432", *["OSError No route to host"] * 3,
        ]  # fmt: skip


async def test_the_internet_is_what_is_public(wired, tmp_path):
    async with asking(wired, tmp_path, allow(egress=Egress.INTERNET, deny=("5.6.0.0/16",))) as one:
        assert await one.reach(("api.example.org", 8443), (API, 443), (OPEN_RESOLVER, 443)) == [
            f"{API}:8443", f"{API}:443", f"{OPEN_RESOLVER}:443",
        ]  # fmt: skip
        assert await one.reach(("other.test", 443), (OTHER, 443), (DATABASE, 5432), ("nobody.test", 1)) == [
            "no name", "OSError No route to host", "OSError No route to host", "no name",
        ]  # fmt: skip


async def test_a_function_without_one_has_a_loopback_device_alone(wired, tmp_path):
    async with asking(wired, tmp_path) as one:
        assert await one.run("result = [line.split(':')[0].strip() for line in list(open('/proc/net/dev'))[2:]]") == [
            "lo"
        ]
        assert await one.reach((API, 443), ("api.example.org", 443)) == ["OSError Network is unreachable", "no name"]
        assert tables() == []  # nor is anything there that nobody needs
        assert devices() == ["eth0", "lo"]


@pytest.mark.parametrize("runtime", ["node", "ruby"])
async def test_other_languages_resolve_and_connect(wired, tmp_path, runtime):
    if runtime not in wired.runtimes.installed:
        pytest.skip(f"there is no {runtime} here")
    name, source = SOURCES[runtime]
    async with asking(
        wired, tmp_path, allow({"host": "api.example.org", "ports": (443,)}), runtime=runtime, file=(name, source)
    ) as one:
        assert await one.ask({"host": "api.example.org"}) == f"{API}:443"
        assert await one.ask({"host": "other.test"}) in ("ENOTFOUND", "EAI_AGAIN")


async def test_templates_are_wired_ahead(wired, tmp_path):
    await wired.keep_templates({"python"}, memory_bytes=MEMORY)
    network = allow({"host": "api.example.org", "ports": (443,)})
    pids = []
    for _ in range(3):
        with anyio.fail_after(60):
            await wired.templates_ready()
        ready = {
            sandbox.spawned.pid
            for shape, sandboxes in wired._spares._ready.items()
            for sandbox in sandboxes
            if shape.is_wired
        }
        async with asking(wired, tmp_path, network) as one:
            assert await one.reach(("api.example.org", 443)) == [f"{API}:443"]
            pids.append(one.instance.pid in ready)
    assert pids == [False, True, True]  # the first asked for the shape


async def test_sandboxes_that_come_up_together_keep_their_own_policies(wired, tmp_path):
    places = [(API, 443), (API, 8443), (OTHER, 443), (DATABASE, 5432), (DATABASE, 22), (OPEN_RESOLVER, 443)]
    said: dict[int, list[str]] = {}

    async def reach(which: int) -> None:
        address, port = places[which]
        async with asking(wired, tmp_path, allow({"cidr": f"{address}/32", "ports": (port,)})) as one:
            said[which] = await one.reach(*places)

    async with anyio.create_task_group() as tasks:
        for which in range(len(places)):
            tasks.start_soon(reach, which)
    for which, (address, port) in enumerate(places):
        expected = ["OSError No route to host"] * len(places)
        expected[which] = f"{address}:{port}"
        assert said[which] == expected


async def test_no_namespace_that_had_a_wire_is_used_again(wired, tmp_path):
    where = "import os; result = os.readlink('/proc/self/ns/net')"
    async with asking(wired, tmp_path, allow({"cidr": "10.1.0.0/16"})) as one:
        had = await one.run(where)
    async with asking(wired, tmp_path) as one:
        assert await one.run(where) != had


async def test_what_an_instance_had_goes_with_it(wired, internet, tmp_path):
    network = allow({"host": "api.example.org", "ports": (443,)}, {"host": "other.test"})
    async with asking(wired, tmp_path, network), asking(wired, tmp_path, network) as one:
        await one.reach(("api.example.org", 443), ("other.test", 443))
        held = _router(wired)
        assert '"v1"' in held
        assert API in held
    left = _router(wired)
    assert [each for each in ("198.18.0.3", "198.18.0.5", '"v', API, OTHER) if each in left] == []
    assert "chain s" not in left
    assert (
        _said("nsenter", f"--net={_router_of(wired)}", "ip", "-o", "link").count("\n") == 2
    )  # loopback and the way out


def _router_of(backend) -> str:
    pid = backend._network.pid
    own = Path(f"/proc/{pid}/ns/net").readlink()
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "ns/net").readlink() != own:
            return str(task / "ns/net")
    raise AssertionError("the helper has no router")


def _router(backend) -> str:
    return _said("nsenter", f"--net={_router_of(backend)}", "nft", "list", "ruleset")


async def test_a_stop_leaves_the_host_as_it_was(internet, tmp_path):
    settings = NamespaceSettings(
        run_dir=tmp_path / "run", group="none", use_cgroups=False, resolv_conf=internet.resolv_conf
    )
    assert not forwards("eth0")
    network = allow({"cidr": "10.1.0.0/16"})
    async with running_backend(settings) as backend, asking(backend, tmp_path, network) as one:
        assert await one.reach((DATABASE, 5432)) == [f"{DATABASE}:5432"]
        assert forwards("eth0")
        assert tables() == [f"table inet {Names.of(settings.run_dir).table}"]
    assert tables() == []
    assert devices() == ["eth0", "lo"]
    assert not forwards("eth0")


def test_a_host_that_forwards_already_is_left_alone(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root makes networks")
    with on_a_host(tmp_path, forwards=True) as internet:
        anyio.run(_come_and_go, internet, tmp_path)
        assert forwards("all")
        assert forwards("eth0")


async def _come_and_go(internet, tmp_path):
    settings = NamespaceSettings(
        run_dir=tmp_path / "run", group="none", use_cgroups=False, resolv_conf=internet.resolv_conf
    )
    network = allow({"cidr": "10.1.0.0/16"})
    async with running_backend(settings) as backend, asking(backend, tmp_path, network) as one:
        assert await one.reach((DATABASE, 5432)) == [f"{DATABASE}:5432"]


async def test_a_host_that_drops_what_is_forwarded_is_reported(internet, tmp_path):
    _said(
        "nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )
    settings = NamespaceSettings(run_dir=tmp_path / "run", group="none", use_cgroups=False)
    async with running_backend(settings) as backend:
        assert backend.support().limits["egress"] == "nftables; what passes ip filter FORWARD"


async def test_the_helper_is_started_ahead(wired):
    wired.start_network_nowait()
    wired.start_network_nowait()
    with anyio.fail_after(30):
        while not wired._network.pid:
            await anyio.sleep(0.01)
    assert len(tables()) == 1


async def test_the_helper_has_no_descriptor_of_a_sandbox(wired, tmp_path):
    await wired.keep_templates({"python"}, memory_bytes=MEMORY)
    with anyio.fail_after(60):
        await wired.templates_ready()
    async with asking(wired, tmp_path, allow({"cidr": "10.1.0.0/16"})):
        held = [str(each.readlink()) for each in Path(f"/proc/{wired._network.pid}/fd").iterdir()]
        assert [each for each in held if "pidfd" in each] == []


async def test_a_killed_helper_takes_all_with_it_and_is_started_again(wired, tmp_path):
    network = allow({"cidr": "10.1.0.0/16"})
    async with asking(wired, tmp_path, network) as one, asking(wired, tmp_path) as other:
        os.kill(wired._network.pid, signal.SIGKILL)
        with anyio.fail_after(30):
            await one.instance.died.wait()
        assert await other.reach((DATABASE, 5432)) == ["OSError Network is unreachable"]  # it is not concerned
    with anyio.fail_after(30):
        while tables() or devices() != ["eth0", "lo"]:
            await anyio.sleep(0.01)
    async with asking(wired, tmp_path, network) as one:
        assert await one.reach((DATABASE, 5432)) == [f"{DATABASE}:5432"]


async def test_two_platforms_share_a_host(wired, internet, tmp_path):
    second = NamespaceSettings(
        run_dir=tmp_path / "second",
        group="none",
        use_cgroups=False,
        uid_base=2_000_000,
        resolv_conf=internet.resolv_conf,
    )
    network = allow({"cidr": "10.1.0.0/16"})
    async with asking(wired, tmp_path, network) as one:
        async with running_backend(second) as backend, asking(backend, tmp_path, network) as other:
            assert await one.reach((DATABASE, 5432)) == [f"{DATABASE}:5432"]
            assert await other.reach((DATABASE, 5432)) == [f"{DATABASE}:5432"]
        assert await one.reach((DATABASE, 5432)) == [f"{DATABASE}:5432"]  # the other's end shut nothing


def _drop_root() -> str:
    read, write = os.pipe()
    if os.fork() == 0:
        os.setresuid(65534, 65534, 65534)
        os.write(write, probe.missing().encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        text = said.read()
    os.wait()
    return text


def test_an_ordinary_user_is_told_what_is_missing():
    if os.geteuid() != 0:
        pytest.skip("it is one already")
    assert _drop_root() == "it needs root"


async def test_a_host_that_can_not_refuses_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "missing", lambda: str(NftFailed("no such thing")))
    settings = NamespaceSettings(run_dir=tmp_path / "run", group="none", use_cgroups=False)
    async with running_backend(settings) as backend:
        assert backend.support().limits["egress"] == "none"
        assert "no such thing" in backend.support().egress_reason
        with pytest.raises(SandboxStartFailed, match="no such thing"):
            async with asking(backend, tmp_path, allow({"cidr": "10.1.0.0/16"})):
                pass
        async with asking(backend, tmp_path) as one:
            assert await one.run("result = 1") == 1
