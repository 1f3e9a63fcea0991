"""Breakers of routes: what opens them, what is answered meanwhile, and who sees their state."""

from __future__ import annotations

import json

import httpx
import pytest
from wsproto.events import AcceptConnection

from constellation.testing.comet import HandlerRaised

from .conftest import ADMIN, problem
from .test_domains import SHOP, serve
from .test_web_socket import opened

pytestmark = pytest.mark.anyio
RULE = {"breaker_error_percent": 50, "breaker_min_samples": 2, "breaker_open_s": 3600}
RAISED = HandlerRaised(b'{"type":"E","message":"m"}')


@pytest.fixture
async def shop(rig):
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20, headers={"Host": SHOP}) as client:
        yield client


def route_id(rig) -> str:
    return rig.nova.domains[SHOP]["routes"][0]["id"]


async def state(rig, http) -> dict:
    answer = await http.get(f"/gateway/routes/{route_id(rig)}/status", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()["breaker"]


async def bad(_payload: bytes) -> bytes:
    return b'{"statusCode": 500}'


async def raising(_payload: bytes) -> bytes:
    raise RAISED


@pytest.mark.parametrize("function", [bad, raising])
async def test_an_open_breaker_answers_without_the_function(rig, shop, http, function):
    rig.comet.functions["bad"] = function
    await serve(rig, {"path": "/", "function": "bad", "policy": RULE | {"max_body_bytes": 10}})
    problem(await shop.post("/", content=b"x" * 11), 413, "payload_too_large")
    for _ in range(2):
        assert (await shop.get("/")).status_code in (500, 502)
    assert len(rig.comet.calls) == 2
    refused = await shop.get("/")
    problem(refused, 503, "route_breaker_open")
    assert 3590 <= int(refused.headers["retry-after"]) <= 3600
    assert len(rig.comet.calls) == 2
    seen = await state(rig, http)
    assert (seen["state"], seen["opened"]) == ("open", 1)
    problem(await shop.post("/", content=b"x" * 11), 503, "route_breaker_open")  # too long, and nothing of it is read
    # a route that is changed goes on with its breaker, and another rule begins anew
    route = rig.nova.domains[SHOP]["routes"][0]
    await serve(rig, {**route, "version": 2})
    problem(await shop.get("/"), 503, "route_breaker_open")
    await serve(rig, {**route, "version": 3, "policy": RULE | {"breaker_min_samples": 3}})
    assert (await shop.get("/")).status_code in (500, 502)


async def test_retries_are_over_before_a_call_counts_and_what_was_refused_counts_not(rig, shop, http):
    answers = [b'{"statusCode": 503}', b'{"statusCode": 200}'] * 3

    async def moody(_payload: bytes) -> bytes:
        return answers.pop(0)

    rig.comet.functions["moody"] = moody
    retry = {"attempts": 2, "backoff_s": 0.001, "statuses": [503]}
    await serve(rig, {"path": "/", "function": "moody", "policy": RULE | {"retry": retry}})
    for _ in range(3):
        assert (await shop.get("/")).status_code == 200
    assert await state(rig, http) == {
        "state": "closed", "good": 3, "bad": 0, "probes": 0, "opened": 0, "left_s": 0.0,
    }  # fmt: skip
    await serve(rig, {"path": "/", "function": "absent", "policy": RULE})
    for _ in range(3):
        problem(await shop.get("/"), 404, "not_found")
    assert (await state(rig, http))["state"] == "closed"


async def test_streams_count_by_how_they_begin_and_end(rig, shop, http):
    async def pieces(payload: bytes):
        query = json.loads(payload)["query_params"]
        if "early" in query:
            raise RAISED
        yield b"one"
        if "late" in query:
            raise RAISED

    rig.comet.streams["pieces"] = pieces
    await serve(rig, {"path": "/", "function": "pieces", "policy": RULE | {"stream": True, "breaker_min_samples": 4}})
    assert (await shop.get("/")).text == "one"
    problem(await shop.get("/?early=1"), 502, "function_failed")
    events = {"Accept": "text/event-stream"}
    assert "event: error" in (await shop.get("/?late=1", headers=events)).text
    assert ((await state(rig, http))["good"], (await state(rig, http))["bad"]) == (1, 2)
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.get("/?late=1")
    problem(await shop.get("/"), 503, "route_breaker_open")


async def test_messages_of_a_web_socket_count_and_are_refused(rig, http):
    seen: list[str] = []

    async def chat(payload: bytes) -> bytes:
        event = json.loads(payload)
        seen.append(event["event"])
        if event["event"] == "message":
            raise RAISED
        return b"null"

    rig.comet.functions["chat"] = chat
    await serve(rig, {"path": "/", "function": "chat", "policy": RULE | {"breaker_min_samples": 3}})
    async with opened(rig, "/", host=SHOP) as socket:
        assert isinstance(await socket.next(), AcceptConnection)
        for code in ("function_failed", "function_failed", "route_breaker_open"):
            await socket.say("x")
            assert json.loads(await socket.hear())["code"] == code
    assert seen[:3] == ["connect", "message", "message"]
    async with opened(rig, "/", host=SHOP) as socket:
        status, body = await socket.rejection()
        assert (status, body["code"]) == (503, "route_breaker_open")


async def test_the_state_is_shown_to_whoever_may_read_routes_of_the_namespace(rig, http):
    await serve(rig, {"path": "/"})
    path = f"/gateway/routes/{route_id(rig)}/status"
    shown = (await http.get(path, headers=ADMIN)).json()
    assert (shown["host"], shown["path"], shown["function"], shown["breaker"]) == (SHOP, "/", "echo", None)
    problem(await http.get(path, headers={"X-API-Key": "sk_acme"}), 404, "not_found")  # of another tenant
    problem(await http.get(path, headers={"X-API-Key": "sk_none"}), 401, "unauthenticated")
    problem(await http.get("/gateway/routes/x/status", headers=ADMIN), 404, "not_found")
