"""What a route's schemas, rules and retries do to answers in pieces and to WebSockets."""

from __future__ import annotations

import json

import httpx
import pytest
from wsproto.events import AcceptConnection

from constellation.base.errors import Overloaded
from constellation.testing.comet import HandlerRaised

from .conftest import problem
from .test_domains import SHOP, serve
from .test_web_socket import Chat, opened

pytestmark = pytest.mark.anyio
RETRY = {"attempts": 3, "backoff_s": 0.001, "max_backoff_s": 0.002}
EVENTS = {"Accept": "text/event-stream"}
RULES = {
    "who": {"from": "path.who", "required": True},
    "page": {"from": "query.page", "type": "integer", "default": 1},
    "lang": "headers.x-lang",
}


@pytest.fixture
async def shop(rig):
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20, headers={"Host": SHOP}) as client:
        yield client


async def test_the_event_of_a_stream_is_what_the_rules_make_and_fits_the_schemas(rig, shop):
    async def pieces(payload: bytes):
        yield payload

    rig.comet.streams["pieces"] = pieces
    schema = {"query": {"properties": {"page": {"type": "integer", "maximum": 9}}}}
    policy = {"stream": True, "request": RULES, "schema": schema}
    await serve(rig, {"path": "/of/{who}", "function": "pieces", "policy": policy})
    answer = await shop.get("/of/ann?page=7", headers=EVENTS | {"X-Lang": "eo"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert json.loads(answer.text.partition("\n")[0].removeprefix("data: ")) == {"who": "ann", "page": 7, "lang": "eo"}
    problem(await shop.get("/of/ann?page=10", headers=EVENTS), 400, "validation_failed")
    problem(await shop.get("/of/ann?page=x", headers=EVENTS), 400, "validation_failed")
    assert len(rig.comet.calls) == 1


async def test_a_stream_is_asked_for_again_until_its_first_byte_is_out(rig, shop):
    begun: list[str] = []
    failures: list[str] = []

    async def pieces(_payload: bytes):
        begun.append("x")
        match failures.pop(0) if failures else "":
            case "raised":
                raise HandlerRaised(b'{"type":"E","message":"m"}')
            case "said":
                yield b'{"statusCode": 503}'
            case "late":
                yield b"one"
                raise HandlerRaised(b'{"type":"E","message":"m"}')
            case _:
                yield b'{"statusCode": 201}'
                yield b"two"

    rig.comet.streams["pieces"] = pieces
    policy = {"stream": True, "retry": RETRY | {"statuses": [502, 503]}}
    await serve(rig, {"path": "/", "function": "pieces", "policy": policy})
    failures[:] = ["raised", "said"]
    answer = await shop.get("/")
    assert (answer.status_code, answer.text, answer.headers["x-nova-attempts"]) == (201, "two", "3")
    begun.clear()
    failures[:] = ["late"]
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.get("/")
    assert len(begun) == 1
    begun.clear()
    failures[:] = ["said"] * 3
    answer = await shop.get("/")  # the last try's is the answer
    assert (answer.status_code, answer.headers["x-nova-attempts"], len(begun)) == (503, "3", 3)
    begun.clear()
    failures[:] = ["raised"]
    problem(await shop.post("/"), 502, "function_failed")  # what is no idempotent method is made once
    assert len(begun) == 1


async def test_the_event_of_a_web_socket_is_what_the_rules_make(rig, shop):
    chat = rig.comet.functions["chat"] = Chat()
    schema = {"query": {"properties": {"page": {"type": "integer"}}}}
    policy = {"websocket": True, "request": RULES, "schema": schema, "timeout_s": 1.5}
    await serve(rig, {"path": "/of/{who}", "function": "chat", "policy": policy})
    async with opened(rig, "/of/ann?page=2", host=SHOP, headers=[("X-Lang", "eo")]) as socket:
        assert isinstance(await socket.next(), AcceptConnection)
        await socket.say("hello")
        assert await socket.hear() == "hello"
    made = {"who": "ann", "page": 2, "lang": "eo"}
    connect, message = chat.events[:2]
    assert {name: connect[name] for name in made} == made
    assert connect.keys() - made.keys() == {"type", "event", "connection_id", "request_id", "subprotocols"}
    assert message == message | made | {"event": "message", "body": "hello", "isBase64Encoded": False}
    assert {call.timeout_ms for call, _ in rig.comet.calls[:2]} == {1500}
    async with opened(rig, "/of/ann?page=x", host=SHOP) as socket:
        status, body = await socket.rejection()
    assert (status, body["code"]) == (400, "validation_failed")


async def test_a_web_socket_without_rules_is_told_of_its_route(rig):
    chat = rig.comet.functions["chat"] = Chat()
    await serve(rig, {"path": "/of/{who}", "function": "chat", "auth": "api_key"})
    async with opened(rig, "/of/ann", host=SHOP, headers=[("X-API-Key", "sk_admin")]) as socket:
        assert isinstance(await socket.next(), AcceptConnection)
    told = {name: chat.events[0][name] for name in ("host", "route", "path_params", "caller")}
    assert told == {"host": SHOP, "route": "/of/{who}", "path_params": {"who": "ann"}, "caller": "apikey:admin"}


async def test_a_web_socket_is_opened_again_and_a_message_only_if_it_never_began(rig):
    events: list[str] = []
    failures = {"connect": [b"said", b"raised"], "message": [b"full", b"raised"]}

    async def chat(payload: bytes) -> bytes:
        event = json.loads(payload)["event"]
        events.append(event)
        match failures.get(event, []).pop(0) if failures.get(event) else b"":
            case b"said":
                return b'{"statusCode": 503}'
            case b"raised":
                raise HandlerRaised(b'{"type":"E","message":"m"}')
            case b"full":
                raise Overloaded("comet", limit=1)
        return b'"well"' if event == "message" else b"null"

    rig.comet.functions["chat"] = chat
    policy = {"websocket": True, "retry": RETRY | {"statuses": [502, 503], "max_backoff_s": 2}}  # overload says 1 s
    await serve(rig, {"path": "/", "function": "chat", "policy": policy})
    async with opened(rig, "/", host=SHOP) as socket:
        assert isinstance(await socket.next(), AcceptConnection)
        await socket.say("x")
        assert json.loads(await socket.hear())["code"] == "function_failed"
        await socket.say("x")
        assert await socket.hear() == "well"
    assert events[:6] == ["connect"] * 3 + ["message"] * 3


async def test_a_route_of_web_sockets_takes_no_other_requests(rig, shop):
    await serve(rig, {"path": "/", "policy": {"websocket": True}})
    problem(await shop.get("/"), 426, "websocket_mismatch")
    assert rig.comet.calls == []


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"schema": {"body": {"type": "object"}}}, "policy.schema.body"),
        ({"request": {"a": "body.b"}}, "policy.request"),
        ({"response": {"remove_headers": ["x"]}}, "policy.response"),
        ({"stream": True}, "policy.stream"),
    ],
)
async def test_what_a_web_socket_can_not_keep_refuses_it_by_name(rig, policy, field):
    await serve(rig, {"path": "/", "policy": policy})
    async with opened(rig, "/", host=SHOP) as socket:
        status, body = await socket.rejection()
    assert (status, body["code"]) == (426, "websocket_mismatch")
    assert field in body["detail"]
    assert rig.comet.calls == []
