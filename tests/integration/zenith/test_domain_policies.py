"""What routes of custom domains say of their requests: addresses, pages of other origins, sizes, rates, mocks, streams."""

from __future__ import annotations

import json

import httpx
import pytest

from .conftest import problem
from .test_domains import SHOP, serve

pytestmark = pytest.mark.anyio
PAGE = "https://app.example.org"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}


@pytest.fixture
async def shop(rig):
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20, headers={"Host": SHOP}) as client:
        yield client


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ({"ip_allow": ["127.0.0.0/8"]}, 200),
        ({"ip_allow": ["10.0.0.0/8", "127.0.0.1"]}, 200),
        ({"ip_allow": ["10.0.0.0/8", "::1"]}, 403),
        ({"ip_deny": ["127.0.0.1"]}, 403),
        ({"ip_deny": ["10.0.0.0/8"]}, 200),
        ({"ip_allow": ["127.0.0.0/8"], "ip_deny": ["127.0.0.1/32"]}, 403),
    ],
)
async def test_addresses_are_the_peers_own(rig, shop, policy, status):
    await serve(rig, {"path": "/", "policy": policy})
    answer = await shop.get("/", headers={"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1"})
    assert answer.status_code == status
    if status == 403:
        problem(answer, 403, "address_refused")
        assert rig.comet.calls == []


async def test_a_preflight_is_answered_by_the_gateway_for_the_method_that_is_asked_about(rig, shop):
    cors = {"allow_origins": [PAGE], "allow_methods": ["PUT"], "allow_headers": ["x-mine"], "max_age_s": 60}
    await serve(
        rig,
        {"path": "/a", "methods": ["PUT"], "auth": "api_key", "policy": {"cors": cors}},
        {"path": "/a", "methods": ["GET"]},
    )
    answer = await shop.options("/a", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "PUT"
    assert answer.headers["access-control-max-age"] == "60"
    problem(await shop.options("/a", headers=PREFLIGHT | {"Origin": "https://evil.example"}), 403, "origin_refused")
    problem(
        await shop.options("/a", headers=PREFLIGHT | {"Access-Control-Request-Method": "GET"}),
        405,
        "method_not_allowed",
    )
    assert rig.comet.calls == []
    refused = await shop.put("/a", headers={"Origin": PAGE})  # and the page sees why it is refused
    problem(refused, 401, "unauthenticated")
    assert refused.headers["access-control-allow-origin"] == PAGE
    asked = await shop.put("/a", headers={"Origin": PAGE, "X-API-Key": "sk_admin"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, PAGE)
    other = await shop.put("/a", headers={"Origin": "https://evil.example", "X-API-Key": "sk_admin"})
    assert "access-control-allow-origin" not in other.headers


async def test_a_body_has_the_routes_own_limit(rig, shop):
    await serve(rig, {"path": "/", "policy": {"max_body_bytes": 10}})
    assert (await shop.post("/", content=b"x" * 10)).status_code == 200
    problem(await shop.post("/", content=b"x" * 11), 413, "payload_too_large")


async def test_a_mock_answers_in_place_of_the_function(rig, shop):
    mock = {"status": 202, "headers": {"Content-Type": "application/json", "X-Mock": "1"}, "body": '{"a":1}'}
    await serve(rig, {"path": "/", "auth": "api_key", "policy": {"mock": mock}})
    problem(await shop.get("/"), 401, "unauthenticated")
    answer = await shop.get("/", headers={"X-API-Key": "sk_admin"})
    assert (answer.status_code, answer.json(), answer.headers["x-mock"]) == (202, {"a": 1}, "1")
    assert answer.headers["content-type"] == "application/json"
    assert rig.comet.calls == []


async def test_rate_and_time_are_for_comet_to_keep(rig, shop):
    await serve(rig, {"path": "/", "policy": {"rate_per_s": 2.5, "timeout_s": 1.5}})
    assert (await shop.get("/")).status_code == 200
    call, caller = rig.comet.calls[-1]
    assert (caller.identity.rate_per_s, caller.identity.burst, call.timeout_ms) == (2.5, 3, 1500)
    assert caller.context.source == "gateway"
    await serve(rig, {"path": "/", "id": rig.nova.domains[SHOP]["routes"][0]["id"], "version": 2})

    async def lifted() -> bool:
        await shop.get("/")
        return bool(rig.comet.calls[-1][1].identity.rate_per_s == 0)

    assert await lifted()


async def test_an_answer_is_streamed_as_it_is_made(rig, shop):
    async def pieces(_payload: bytes):
        yield json.dumps({"statusCode": 201, "headers": {"X-A": "b"}}).encode()
        yield b"one"
        yield b"two"

    rig.comet.streams["pieces"] = pieces
    await serve(rig, {"path": "/", "function": "pieces", "policy": {"stream": True}})
    answer = await shop.get("/")
    assert (answer.status_code, answer.headers["x-a"], answer.text) == (201, "b", "onetwo")

    async def plain(_payload: bytes):
        yield b"one"
        yield b"two"

    rig.comet.streams["pieces"] = plain
    events = await shop.get("/", headers={"Accept": "text/event-stream"})
    assert events.headers["content-type"].startswith("text/event-stream")
    assert "data: one" in events.text
