"""Who gets in: keys, roles, scopes, and local callers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing

import anyio
import httpx
import pytest

from constellation.base.address import Address
from constellation.nova.config.sections import ZenithSettings
from constellation.testing.gateway import gateway_rig
from constellation.zenith.peer import PeerLookup
from tests.integration.zenith.conftest import ADMIN, echo, problem, received

pytestmark = pytest.mark.anyio


async def call(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await http.post(
        "/functions/echo/invoke", json=1, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def until(check) -> None:
    with anyio.fail_after(5):
        while not await check():
            await anyio.sleep(0.02)


async def test_every_form_of_a_key(rig, http):
    for headers in (
        {"X-API-Key": "sk_admin"},
        {"Authorization": "ApiKey sk_admin"},
        {"Authorization": "Bearer sk_admin"},
    ):
        assert (await http.post("/functions/echo/invoke", json=1, headers=headers)).status_code == 200
    assert rig.nova.asked == ["sk_admin"]


async def test_a_wrong_key_is_no_local_caller(rig, http):
    for headers in ({"X-API-Key": "sk_wrong"}, {"Authorization": "Bearer sk_wrong"}, {"Authorization": "Basic eDp5"}):
        answer = await http.post("/functions/echo/invoke", json=1, headers=headers)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="constellation"'
        assert "sk_wrong" not in answer.text
    assert rig.nova.asked == ["sk_wrong"]  # the second refusal came from memory


async def test_roles_and_scopes(rig, http):
    problem(await call(http, X_API_Key="sk_viewer"), 403, "forbidden")
    assert (await call(http, X_API_Key="sk_acme")).status_code == 200
    assert rig.comet.calls[-1][1].identity.tenant == "acme"
    problem(await call(http, X_API_Key="sk_acme", X_Nova_Tenant="default"), 403, "scope_denied")
    problem(await call(http, X_API_Key="sk_acme", X_Nova_Namespace="other"), 403, "scope_denied")
    problem(await call(http, X_API_Key="sk_admin", X_Nova_Tenant="nobody"), 404, "not_found")
    problem(await call(http, X_API_Key="sk_admin", X_Nova_Tenant="no/body"), 400, "tenant_scope_error")
    assert (await call(http, X_API_Key="sk_admin", X_Nova_Tenant="acme", X_Nova_Namespace="prod")).status_code == 200


def _grant(effect: str, *functions: str) -> dict[str, object]:
    return {"permissions": ["function:invoke"], "effect": effect, "namespace": "p*", "functions": functions}


async def test_who_may_call_some_functions_is_let_in_to_those_without_python(rig, http):
    some = {"subject": "apikey:some", "tenant": "acme", "namespace": "prod"}
    rig.nova.keys["sk_some"] = some | {"grants": [_grant("allow", "ec*"), _grant("deny", "echo-[x-z]")]}

    async def status(name: str) -> int:
        return (await http.post(f"/functions/{name}/invoke", json=1, headers={"X-API-Key": "sk_some"})).status_code

    assert await status("echo") == 200  # of Python, which learns of the caller
    edge = None if rig.parts.lane is None else rig.parts.lane.edge
    called = 0 if edge is None else edge.counts.called
    assert [await status(name) for name in ("echo", "other", "echo-y", "echo")] == [200, 403, 403, 200]
    if edge is not None:
        assert edge.counts.called == called + 2
    rig.nova.keys["sk_some"] = some | {"grants": [_grant("allow", "ec*"), _grant("deny", "echo")]}
    rig.nova.change("principal", "acme", name="apikey:some")

    async def refused() -> bool:
        return await status("echo") == 403

    await until(refused)
    assert await status("echo-y") == 404  # let in, and not there


async def test_a_suspended_tenant_can_not_invoke(rig, http):
    assert (await call(http, X_API_Key="sk_acme")).status_code == 200
    rig.nova.scopes["acme", "prod"] = "suspended"
    rig.nova.change("tenant", "acme")

    async def refused() -> bool:
        return (await call(http, X_API_Key="sk_acme")).status_code == 403

    await until(refused)
    problem(await call(http, X_API_Key="sk_acme"), 403, "tenant_suspended")
    for path in ("/fn/hello", "/sandboxes/x/ports/80/", "/sandboxes/x/files?path=a", "/sandboxes/x/terminal"):
        answer = await http.get(path, headers={"X-API-Key": "sk_acme"})
        problem(answer, 403, "tenant_suspended")  # a GET, and yet it runs something


async def test_a_revoked_key_is_refused_at_once(rig, http):
    assert (await call(http, X_API_Key="sk_acme")).status_code == 200
    del rig.nova.keys["sk_acme"]
    assert (await call(http, X_API_Key="sk_acme")).status_code == 200  # from memory: nothing changed yet
    rig.nova.change("api_key", "acme", "prod", "acme")

    async def refused() -> bool:
        return (await call(http, X_API_Key="sk_acme")).status_code == 401

    await until(refused)


async def test_cut_off_from_nova_it_serves_from_memory_and_then_says_so(native_lane, tmp_path):
    async with gateway_rig(ZenithSettings(cache_ttl_s=1.0), state_dir=tmp_path, is_native=native_lane) as rig:
        rig.nova.keys["sk_admin"] = {"subject": "a", "tenant": "*", "namespace": "*", "role": "admin"}
        rig.comet.functions["echo"] = echo
        async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as http:
            assert (await call(http, **{"X-API-Key": "sk_admin"})).status_code == 200
            rig.nova.is_mute = True
            assert (await call(http, **{"X-API-Key": "sk_admin"})).status_code == 200

            async def unavailable() -> bool:
                return (await call(http, **{"X-API-Key": "sk_admin"})).status_code == 503

            await until(unavailable)
            problem(await call(http, **{"X-API-Key": "sk_admin"}), 503, "unavailable")
            health = await http.get("/health")
            assert health.status_code == 503
            assert health.json()["status"] == "degraded"
            assert health.json()["components"]["zenith"].startswith("unhealthy")
            assert (await http.get("/health/live")).status_code == 200
            rig.nova.is_mute = False

            async def back() -> bool:
                return (await call(http, **{"X-API-Key": "sk_admin"})).status_code == 200

            await until(back)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "evil.example"},
        {"Host": "evil.example:9000"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_loopback_trust_ends_with_each_sign_of_another_hand(rig, http, headers):
    assert (await call(http)).status_code == 200
    problem(await call(http, **headers), 401, "unauthenticated")
    assert (await call(http, **headers, **ADMIN)).status_code == 200  # a key opens all the same


async def test_nobody_is_trusted_when_a_key_is_required(native_lane, tmp_path):
    async with (
        gateway_rig(ZenithSettings(), state_dir=tmp_path, is_native=native_lane) as rig,
        httpx.AsyncClient(base_url=rig.url) as http,
    ):
        problem(await call(http), 401, "unauthenticated")
        assert rig.nova.asked == []


async def test_a_stranger_of_this_host_is_not_trusted(native_lane, tmp_path):
    """The platform belongs to another user than the caller."""
    settings = ZenithSettings(auth="loopback", trusted_uid=os.getuid() + 4242)
    async with (
        gateway_rig(settings, state_dir=tmp_path, is_native=native_lane) as rig,
        httpx.AsyncClient(base_url=rig.url) as http,
    ):
        problem(await call(http), 401, "unauthenticated")


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs uid 0 to call as somebody else")
@pytest.mark.parametrize("uid", [0, 4242, 65534])
async def test_a_call_by_another_uid_is_refused(rig, http, uid):
    assert (await call(http, Host="localhost")).status_code == 200  # from now on this caller and name are well known
    code = (
        "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]));"
        "c.request('POST', '/functions/echo/invoke', '1', {'Host': 'localhost'}); print(c.getresponse().status)"
    )
    done = await anyio.run_process(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/env", "python3", "-I", "-c", code,
         str(rig.address.port)] if uid else [sys.executable, "-I", "-c", code, str(rig.address.port)],
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.stdout.split()[-1] == (b"200" if uid == os.getuid() else b"401"), done.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_kernel_names_the_owner_of_each_kind_of_socket(host, client):
    if (host == "127.0.0.1" and client == "::1") or (host == "::1" and client != "::1"):
        pytest.skip("no way from this client to this listener")
    family = socket.AF_INET if host == "127.0.0.1" else socket.AF_INET6
    options = {} if host else {"dualstack_ipv6": True}
    with (
        closing(PeerLookup()) as peers,
        socket.create_server((host, 0), family=family, **options) as listener,
        socket.socket(socket.AF_INET6 if ":" in client else socket.AF_INET) as ours,
    ):
        port = listener.getsockname()[1]
        ours.connect((client, port))
        theirs, _ = listener.accept()
        with theirs:
            ends = (theirs.getpeername()[:2], theirs.getsockname()[:2])
            assert peers.uid(*ends) == os.getuid()
            assert peers.uid(ends[0], (ends[1][0], 1)) is None
            assert peers.uid((ends[0][0], port), ends[1]) is None  # the listener on that port is not the peer
            ours.close()
            assert peers.uid(*ends) is None


@pytest.mark.parametrize("address", [Address("::1", 0), Address("", 0)])
async def test_local_callers_are_trusted_over_ipv6_and_mapped_ipv4(native_lane, tmp_path, address):
    settings = ZenithSettings(auth="loopback", trusted_uid=os.getuid())
    async with gateway_rig(settings, state_dir=tmp_path, listen=address, is_native=native_lane) as rig:
        rig.comet.functions["echo"] = echo
        host = "[::1]" if address.host else "127.0.0.1"
        async with httpx.AsyncClient(base_url=f"http://{host}:{rig.address.port}", trust_env=False) as http:
            assert (await call(http)).status_code == 200


@pytest.mark.parametrize("native_lane", [False], indirect=True)
async def test_whose_socket_a_connection_is_is_asked_once(rig, monkeypatch):
    asked = []
    uid = rig.parts.peers.uid

    def counting(client, server):
        asked.append(client)
        return uid(client, server)

    monkeypatch.setattr(rig.parts.peers, "uid", counting)
    for _ in range(2):
        async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
            for _ in range(3):
                await stream.send(b"GET /functions HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert not (await received(stream)).startswith(b"HTTP/1.1 401 ")
    assert len(asked) == len(set(asked)) == 2
