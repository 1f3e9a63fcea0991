"""Custom domains: requests whose Host is a tenant's are its routes', with and without the lane in C."""

from __future__ import annotations

import json
import ssl
from typing import Any

import anyio
import httpx
import pytest
from wsproto.events import AcceptConnection, CloseConnection

from constellation.nova.config.sections import ZenithSettings
from constellation.nova.config.tls import HostCertificate, PublicTlsSettings
from constellation.rpc.tls import public_tls
from constellation.testing.gateway import GatewayRig, gateway_rig
from tests.certificates import Authority

from .both_ways import both_ways, post, told
from .conftest import KEYS, echo, problem
from .test_access import until
from .test_web_socket import Chat, opened

pytestmark = pytest.mark.anyio
SHOP = "shop.example.org"


async def serve(rig: GatewayRig, *routes: dict[str, Any], host: str = SHOP, **more: Any) -> None:
    """Let the gateway know a domain with these routes, and wait until it does."""
    rig.nova.serve(host, *routes, **more)
    wanted = {(route["id"], route["version"]) for route in rig.nova.domains[host]["routes"]}

    def served() -> bool:
        site = rig.parts.sites.find([(b"host", host.encode())])
        return (
            site is not None
            and {(str(route.id), route.version) for route in site.all} == wanted
            and site.is_suspended == more.get("is_suspended", False)
        )

    with anyio.fail_after(5):
        while not served():
            await anyio.sleep(0.005)


@pytest.fixture
async def shop(rig: GatewayRig):
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20, headers={"Host": SHOP}) as client:
        yield client


async def test_a_request_is_the_event_of_its_routes_function(rig, shop):
    await serve(rig, {"path": "/v1/users/{id}"}, {"path": "/v1/users/me", "function": "absent"})
    answer = await shop.post(
        "/v1/users/a%2Fb?x=1&x=2", content=b"caf\xc3\xa9", headers={"X-Mine": "1", "Authorization": "Bearer own"}
    )
    assert answer.status_code == 200, answer.text
    event = answer.json()
    assert (event["method"], event["path"], event["route"]) == ("POST", "/v1/users/a%2Fb", "/v1/users/{id}")
    assert (event["host"], event["path_params"], event["query_params"]) == (SHOP, {"id": "a/b"}, {"x": "1"})
    assert (event["body"], event["headers"]["x-mine"], event["headers"]["authorization"]) == (
        "caf\xe9",
        "1",
        "Bearer own",
    )
    problem(await shop.get("/v1/users/me"), 404, "not_found")
    (_, caller), *_ = rig.comet.calls
    route = rig.nova.domains[SHOP]["routes"][0]["id"]
    assert (caller.identity.tenant, caller.identity.subject) == ("default", f"gateway:{route}")
    assert caller.identity.permissions == {"function:invoke"}


async def test_the_answer_is_what_the_function_says_of_http(rig, shop):
    async def teapot(_payload: bytes) -> bytes:
        return json.dumps({"statusCode": 418, "headers": {"X-A": "b"}, "body": "short"}).encode()

    rig.comet.functions["teapot"] = teapot
    await serve(rig, {"path": "/*", "function": "teapot"})
    answer = await shop.get("/x/y")
    assert (answer.status_code, answer.headers["x-a"], answer.text) == (418, "b", "short")


async def test_methods_and_paths_that_no_route_takes(rig, shop):
    await serve(rig, {"path": "/a", "methods": ["GET"]}, {"path": "/a", "methods": ["PUT"]})
    refused = await shop.post("/a")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD, PUT"
    assert (await shop.head("/a")).status_code == 200
    for path in ("/b", "/a/../b", "/health", "/openapi.json", "/functions"):
        problem(await shop.get(path), 404, "not_found")


@pytest.mark.parametrize("host", ["SHOP.example.org", "shop.example.org.", "shop.example.org:9000", "x.wild.example"])
async def test_a_host_is_known_however_it_is_written(rig, http, host):
    await serve(rig, {"path": "/"})
    await serve(rig, {"path": "/"}, host="*.wild.example")
    assert (await http.get("/", headers={"Host": host})).json()["host"] in (SHOP, "*.wild.example")


@pytest.mark.parametrize(
    "host", ["example.org", "x.shop.example.org", "wild.example", "a.b.wild.example", "evil.example"]
)
async def test_another_host_is_the_platforms(rig, http, host):
    await serve(rig, {"path": "/"})
    await serve(rig, {"path": "/"}, host="*.wild.example")
    assert (await http.get("/health/live", headers={"Host": host})).status_code == 200
    problem(await http.get("/", headers={"Host": host}), 404, "route_not_found")


async def test_an_exact_host_goes_before_a_wildcard(rig, http):
    await serve(rig, {"path": "/"}, host="*.example.org", tenant="acme")
    await serve(rig, {"path": "/"}, tenant="acme")
    for host, domain in ((SHOP, SHOP), ("other.example.org", "*.example.org")):
        assert (await http.get("/", headers={"Host": host})).json()["host"] == domain
    assert {caller.identity.tenant for _, caller in rig.comet.calls} == {"acme"}


@pytest.mark.parametrize("auth", ["api_key", "any"])
async def test_a_route_with_auth_serves_keys_that_may_invoke_there(rig, shop, auth):
    await serve(rig, {"path": "/", "auth": auth}, tenant="acme")
    problem(await shop.get("/"), 401, "unauthenticated")
    problem(await shop.get("/", headers={"X-API-Key": "sk_wrong"}), 401, "unauthenticated")
    problem(await shop.get("/", headers={"X-API-Key": "sk_viewer"}), 403, "scope_denied")
    answer = await shop.get("/", headers={"Authorization": "Bearer sk_acme", "X-Nova-Tenant": "default"})
    assert answer.status_code == 200
    assert "authorization" not in answer.json()["headers"]
    _, caller = rig.comet.calls[-1]
    assert (caller.identity.subject, caller.identity.tenant, caller.identity.namespace) == (
        "apikey:acme",
        "acme",
        "prod",
    )
    rig.nova.keys["sk_looker"] = {"subject": "l", "tenant": "acme", "namespace": "prod", "role": "viewer"}
    problem(await shop.get("/", headers={"X-API-Key": "sk_looker"}), 403, "forbidden")


async def test_an_open_route_serves_everybody_and_hides_our_keys_from_the_function(rig, shop):
    await serve(rig, {"path": "/"})
    answer = await shop.get("/", headers={"Authorization": "Bearer sk_wrong", "X-API-Key": "sk_admin"})
    assert answer.status_code == 200
    assert "sk_" not in answer.text


async def test_the_trusted_local_user_is_nobody_there(rig, shop):
    await serve(rig, {"path": "/", "auth": "any"})
    problem(await shop.get("/"), 401, "unauthenticated")


async def test_a_suspended_tenants_domain_serves_nobody(rig, shop):
    await serve(rig, {"path": "/"}, is_suspended=True)
    problem(await shop.get("/"), 403, "tenant_suspended")
    await serve(rig, {"path": "/"})
    assert (await shop.get("/")).status_code == 200
    rig.nova.domains[SHOP]["is_suspended"] = True
    rig.nova.change("tenant", "default")

    async def refused() -> bool:
        return (await shop.get("/")).status_code == 403

    await until(refused)


async def test_a_domain_that_is_given_up_is_the_platforms_again(rig, http):
    await serve(rig, {"path": "/"})
    assert (await http.get("/", headers={"Host": SHOP})).status_code == 200
    del rig.nova.domains[SHOP]
    rig.nova.change("domain", "default", name=SHOP)

    async def gone() -> bool:
        return (await http.get("/health/live", headers={"Host": SHOP})).status_code == 200

    await until(gone)


async def test_a_handler_that_raised_is_a_502_and_a_body_too_large_a_413(rig, shop):
    await serve(rig, {"path": "/"})
    problem(await shop.post("/", content=b"x" * (5 << 20)), 413, "payload_too_large")


async def test_until_the_domains_are_read_nobody_is_served(tmp_path, native_lane, rig, http):
    await serve(rig, {"path": "/"})
    assert (await http.post("/functions/echo/invoke", headers={"X-API-Key": "sk_admin"}, json=1)).status_code == 200
    rig.parts.sites.forget_everything()
    assert not rig.parts.sites.is_loaded
    with anyio.fail_after(5):
        while not rig.parts.sites.is_loaded:
            await anyio.sleep(0.005)
    assert (await http.get("/", headers={"Host": SHOP})).status_code == 200


async def test_a_call_of_the_api_sent_to_a_domain_is_none_for_a_known_key(tmp_path):
    """What the edge in C answers without Python for the platform's own host, it leaves to Python for a tenant's."""
    async with both_ways(tmp_path) as pair:
        ours = post("echo", b"1")
        theirs = [
            ours.replace(b"Host: localhost", f"Host: {host}".encode())
            for host in (SHOP, SHOP.upper(), SHOP + ".", SHOP + ":9000", "x.wild.example", "x.wild.example:1")
        ]
        others = [
            ours.replace(b"Host: localhost", f"Host: {host}".encode())
            for host in ("example.org", "wild.example", "a.b.wild.example", ".wild.example", SHOP + "..", "other:9000")
        ]
        for rig in (pair.native, pair.python):
            await serve(rig, {"path": "/functions/{name}/invoke", "methods": ["GET"]})
            await serve(rig, {"path": "/other"}, host="*.wild.example")
        edge = pair.native.parts.lane.edge  # type: ignore[union-attr]
        for request in (*theirs, *others):
            before = edge.counts.called
            native = await told(pair.native, request, known_at=b"localhost")
            python = await told(pair.python, request, known_at=b"localhost")
            assert native == python
            if request in theirs:
                assert native[0].startswith((b"HTTP/1.1 405", b"HTTP/1.1 404")), native[0]
                assert native[1] == []
            else:
                assert native[0].startswith(b"HTTP/1.1 200")
                assert edge.counts.called > before
        await serve(pair.native, {"path": "/functions/{name}/{verb}"})
        answer, calls = await told(pair.native, theirs[0], known_at=b"localhost")
        assert b'"path_params":{"name":"echo","verb":"invoke"}' in answer
        assert len(calls) == 1


async def test_a_web_socket_of_a_domain_is_its_routes(rig, http):
    chat = rig.comet.functions["chat"] = Chat()
    await serve(rig, {"path": "/rooms/{room}", "function": "chat"})
    async with opened(rig, "/rooms/7?a=b", host=SHOP) as socket:
        assert isinstance(await socket.next(), AcceptConnection)
        await socket.say("hello")
        assert await socket.hear() == "hello"
        rig.nova.domains[SHOP]["routes"] = []
        rig.nova.change("domain", "default", name=SHOP)

        async def gone() -> bool:
            return (await http.get("/rooms/7", headers={"Host": SHOP})).status_code == 404

        await until(gone)
        await socket.say("more")
        closing = await socket.next()
        assert isinstance(closing, CloseConnection)
        assert closing.code == 1008
    assert (chat.events[0]["path"], chat.events[0]["query_params"]) == ("/rooms/7", {"a": "b"})
    async with opened(rig, "/nowhere", host=SHOP) as socket:
        assert (await socket.rejection())[0] == 404


async def test_a_domain_has_its_own_certificate(native_lane, tmp_path):
    authority = Authority(tmp_path / "ca")
    ours, theirs, wild = (
        authority.issue("ours", "IP:127.0.0.1", "DNS:localhost"),
        authority.issue("shop", f"DNS:{SHOP}"),
        authority.issue("wild", "DNS:*.wild.example"),
    )
    settings = PublicTlsSettings(
        **ours.settings(),
        hosts=(
            HostCertificate(host=SHOP, **theirs.settings()),
            HostCertificate(host="*.wild.example", **wild.settings()),
        ),
    )
    trust = ssl.create_default_context(cafile=authority.cert)
    async with gateway_rig(
        ZenithSettings(), state_dir=tmp_path, tls=await public_tls(settings), is_native=native_lane
    ) as rig:
        rig.nova.keys.update(KEYS)
        rig.comet.functions["echo"] = echo
        await serve(rig, {"path": "/"})
        await serve(rig, {"path": "/"}, host="*.wild.example")
        for is_http2 in (False, True):
            async with httpx.AsyncClient(verify=trust, trust_env=False, timeout=20, http2=is_http2) as client:
                for host, domain in ((SHOP, SHOP), ("x.wild.example", "*.wild.example")):
                    answer = await client.get(
                        f"https://{rig.address}/", headers={"Host": host}, extensions={"sni_hostname": host}
                    )
                    assert answer.json()["host"] == domain
                    assert answer.http_version == ("HTTP/2" if is_http2 else "HTTP/1.1")
                assert (await client.get(f"https://{rig.address}/health/live")).status_code == 200
