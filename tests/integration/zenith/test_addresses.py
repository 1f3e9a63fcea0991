"""Where a request comes from reaches comet, and only proxies of ours are believed about it; in C as in Python."""

from __future__ import annotations

from ipaddress import ip_address

import httpx
import pytest

from constellation.nova.config.load import ConfigInvalid
from constellation.nova.config.sections import ZenithSettings
from constellation.testing.gateway import gateway_rig
from constellation.wire.gen import nova_pb2
from constellation.zenith.proxies import proxies_of

from .both_ways import STREAM, both_ways, check, post
from .conftest import ADMIN, KEYS, echo

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"
TOLD = ["6.6.6.6, 1.2.3.4", "1.2.3.4:99, 127.9.9.9", "[2001:db8::7]:1", "1.2.3.4, unknown", "", "127.0.0.5, 127.0.0.6"]
CLIENT = ["1.2.3.4", "1.2.3.4", "2001:db8::7", HERE, HERE, "127.0.0.5"]


def seen(rig) -> str:
    return str(ip_address(rig.comet.calls[-1][0].peer))


async def test_the_address_of_a_call_is_the_same_both_ways(tmp_path):
    async with both_ways(tmp_path) as pair:
        for target in ("/functions/{}/invoke", STREAM):
            name = "echo" if target != STREAM else "pieces"
            await check(pair, post(name, b"[]", "X-Forwarded-For: 1.2.3.4", target=target), is_hot=True)
            assert seen(pair.native) == seen(pair.python) == HERE


async def test_a_proxy_of_ours_is_believed_both_ways(tmp_path):
    async with both_ways(tmp_path, ZenithSettings(trusted_proxies="10.0.0.0/8, 127.0.0.0/8")) as pair:
        for told, client in zip(TOLD, CLIENT, strict=True):
            request = post("echo", b"1", f"X-Forwarded-For: {told}", "Forwarded: for=9.9.9.9")
            await check(pair, request, is_hot=True)
            assert seen(pair.native) == seen(pair.python) == client, told
            assert isinstance(pair.native.comet.calls[-1][0], nova_pb2.InvokeRequest)


async def test_another_header_is_read_by_python(tmp_path):
    settings = ZenithSettings(trusted_proxies="127.0.0.1", forwarded_header="forwarded")
    async with both_ways(tmp_path, settings) as pair:
        request = post(
            "echo", b"1", 'Forwarded: for=9.9.9.9, For="[2001:db8::7]:1";proto=https', "X-Forwarded-For: 6.6.6.6"
        )
        await check(pair, request, is_hot=False)
        assert seen(pair.native) == seen(pair.python) == "2001:db8::7"


@pytest.mark.parametrize("is_native", [True, False])
async def test_every_way_in_tells_comet_and_the_function(tmp_path, is_native):
    settings = ZenithSettings(trusted_proxies="127.0.0.0/8")
    async with (
        gateway_rig(settings, state_dir=tmp_path, is_native=is_native) as rig,
        httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as http,
    ):
        rig.nova.keys.update(KEYS)
        rig.comet.functions["echo"] = echo
        told = ADMIN | {"X-Forwarded-For": "1.2.3.4"}
        answer = await http.get("/fn/echo", headers=told)
        assert answer.json()["source_ip"] == "1.2.3.4"
        assert "x-forwarded-for" not in answer.json()["headers"]
        assert seen(rig) == "1.2.3.4"
        await http.get("/invocations", headers=told)
        assert seen(rig) == "1.2.3.4"
        await http.post("/functions/echo/invoke", json=1, headers=told | {"X-Nova-Invocation-Type": "Event"})
        assert str(ip_address(rig.comet.accepted[-1].peer)) == "1.2.3.4"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "somewhere", ",".join(f"10.0.{at}.0/24" for at in range(65))])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ConfigInvalid, match=r"zenith\.trusted_proxies"):
        proxies_of(text, header="x-forwarded-for")
