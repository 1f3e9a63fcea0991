"""WebSockets on function URLs, by a real client over a real socket; comet is a fake."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from constellation.base.errors import Overloaded
from constellation.nova.config.sections import SocketSettings
from constellation.testing.comet import HandlerRaised
from constellation.testing.gateway import GatewayRig, gateway_rig

pytestmark = pytest.mark.anyio


@dataclass(slots=True, eq=False)
class Socket:
    """A client's end."""

    stream: anyio.abc.SocketStream
    wire: WSConnection
    events: list[Event] = field(default_factory=list)
    pings: int = 0

    async def send(self, event: Event) -> None:
        await self.stream.send(self.wire.send(event))

    async def say(self, data: str | bytes) -> None:
        await self.send(TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data))

    async def next(self) -> Event:
        """The next event that is not a ping; a message as a whole."""
        parts: list[Any] = []
        with anyio.fail_after(10):
            while True:
                while not self.events:
                    self.wire.receive_data(await self.stream.receive())
                    self.events.extend(self.wire.events())
                event = self.events.pop(0)
                if isinstance(event, Ping):
                    self.pings += 1
                    await self.send(event.response())
                elif isinstance(event, TextMessage | BytesMessage):
                    parts.append(event.data)
                    if event.message_finished:
                        return replace(event, data=parts[0][:0].join(parts))
                else:
                    return event

    async def hear(self) -> str | bytes:
        event = await self.next()
        assert isinstance(event, TextMessage | BytesMessage), event
        return event.data

    async def rejection(self) -> tuple[int, Any]:
        """The status and the JSON of a handshake that was refused."""
        event = await self.next()
        assert isinstance(event, RejectConnection), event
        body = b""
        while True:
            part = await self.next()
            assert isinstance(part, RejectData)
            body += part.data
            if part.body_finished:
                return event.status_code, json.loads(body)


@asynccontextmanager
async def opened(
    rig: GatewayRig, target: str, *, headers: Any = (), host: str = "", **more: Any
) -> AsyncIterator[Socket]:
    """A client that has sent its handshake; `host`: to the gateway by another name."""
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        socket = Socket(stream, WSConnection(ConnectionType.CLIENT))
        given = [(name.encode(), value.encode()) for name, value in headers]
        await socket.send(Request(host=host or str(rig.address), target=target, extra_headers=given, **more))
        yield socket


class Chat:
    """A function that keeps its events and answers by `reply`."""

    def __init__(self, reply: Any = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.reply = reply or (lambda event: event["body"])

    async def __call__(self, payload: bytes) -> bytes:
        event = json.loads(payload)
        self.events.append(event)
        answer = self.reply(event) if event["event"] == "message" else None
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer).encode()

    async def until(self, kind: str) -> dict[str, Any]:
        with anyio.fail_after(10):
            while not self.events or self.events[-1]["event"] != kind:
                await anyio.sleep(0.01)
        return self.events[-1]


async def test_each_message_is_a_call_and_its_answer_a_message(rig):
    chat = rig.comet.functions["chat"] = Chat()
    async with opened(rig, "/fn/chat/room/1?a=b", subprotocols=["x"], headers=[("X-Mine", "1")]) as socket:
        accepted = await socket.next()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.extensions == []
        for data in ("hello", "caf\xe9 \u2603"):
            await socket.say(data)
            assert await socket.hear() == data
        await socket.say(b"\0\xff")
        assert await socket.hear() == b64encode(b"\0\xff").decode()
        await socket.send(Ping(payload=b"?"))
        assert (await socket.next()).payload == b"?"
        await socket.send(CloseConnection(code=1000))
    gone = await chat.until("disconnect")
    first = chat.events[0]
    assert (first["event"], first["type"], first["path"], first["query_params"]) == (
        "connect", "websocket", "/room/1", {"a": "b"},
    )  # fmt: skip
    assert (first["subprotocols"], first["headers"]["x-mine"], first["source_ip"]) == (["x"], "1", "127.0.0.1")
    assert {event["connection_id"] for event in chat.events} == {gone["connection_id"]}
    assert len({event["request_id"] for event in chat.events}) == 5
    assert [event["isBase64Encoded"] for event in chat.events[1:4]] == [False, False, True]
    assert {caller.context.source for _, caller in rig.comet.calls} == {"websocket"}


async def test_what_a_function_returns_decides_what_is_sent(rig):
    replies = {
        "nothing": (None, None),
        "object": ({"a": 1, "body": "x"}, '{"a": 1, "body": "x"}'),
        "number": (7, "7"),
        "body": ({"body": "x"}, "x"),
        "json": ({"body": {"b": 2}}, '{"b":2}'),
        "bytes": ({"body": "AP8=", "isBase64Encoded": True}, b"\0\xff"),
    }
    rig.comet.functions["chat"] = Chat(lambda event: replies[event["body"]][0] if event["body"] != "end" else "end")
    async with opened(rig, "/fn/chat") as socket:
        await socket.next()
        for name in replies:
            await socket.say(name)
        await socket.say("end")
        for _, expected in replies.values():
            if expected is not None:
                assert await socket.hear() == expected
        assert await socket.hear() == "end"


async def test_a_failure_is_a_message_and_the_connection_goes_on(rig):
    failures = {
        "raise": HandlerRaised(b'{"type":"ValueError","message":"no"}'),
        "full": Overloaded("queue", limit=3),
        "bad": {"close": 1002},
    }
    rig.comet.functions["chat"] = Chat(lambda event: failures.get(event["body"], "well"))
    async with opened(rig, "/fn/chat") as socket:
        await socket.next()
        for name, code in (("raise", "function_failed"), ("full", "overloaded"), ("bad", "function_answer_invalid")):
            await socket.say(name)
            problem = json.loads(await socket.hear())
            assert problem["code"] == code
            assert problem["connection_id"]
        await socket.say("x")
        assert await socket.hear() == "well"


async def test_a_function_closes_its_connection(rig):
    chat = rig.comet.functions["chat"] = Chat(lambda _event: {"body": "bye", "close": 4001})
    async with opened(rig, "/fn/chat") as socket:
        await socket.next()
        await socket.say("x")
        assert await socket.hear() == "bye"
        closed = await socket.next()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 4001
    assert (await chat.until("disconnect"))["code"] == 4001


async def test_a_function_refuses_who_comes_or_chooses_how_to_speak(rig):
    async def picks(_payload: bytes) -> bytes:
        return b'{"subprotocol": "y"}'

    async def refuses(_payload: bytes) -> bytes:
        return b'{"statusCode": 418, "body": {"why": "tea"}}'

    async def raises(_payload: bytes) -> bytes:
        raise HandlerRaised(b'{"type":"ValueError","message":"no"}')

    rig.comet.functions |= {"picks": picks, "refuses": refuses, "raises": raises}
    async with opened(rig, "/fn/picks", subprotocols=["x", "y"]) as socket:
        accepted = await socket.next()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "y"
    for target, status, code in (
        ("/fn/picks", 502, "function_answer_invalid"),  # nobody offered it
        ("/fn/raises", 502, "function_failed"),
        ("/fn/none", 404, "not_found"),
        ("/functions/picks/invoke-stream", 405, "method_not_allowed"),
        ("/functions", 426, "websocket_mismatch"),
        ("/nothing", 404, "route_not_found"),
    ):
        async with opened(rig, target) as socket:
            assert await socket.rejection() == (status, anything := Problem(code)), anything.seen
    async with opened(rig, "/fn/refuses") as socket:
        assert await socket.rejection() == (418, {"why": "tea"})
    calls = len(rig.comet.calls)
    async with opened(rig, "/fn/picks", headers=[("X-API-Key", "sk_wrong")]) as socket:
        assert await socket.rejection() == (401, Problem("unauthenticated"))
    async with opened(rig, "/fn/picks", headers=[("Origin", "http://evil.example")]) as socket:
        assert await socket.rejection() == (401, Problem("unauthenticated"))
    assert len(rig.comet.calls) == calls


class Problem:
    """Equal to a problem of a code."""

    def __init__(self, code: str) -> None:
        self.code, self.seen = code, None

    def __eq__(self, other: object) -> bool:
        self.seen = other
        return isinstance(other, dict) and other.get("code") == self.code

    __hash__ = None  # type: ignore[assignment]  # it is compared, never kept


async def test_who_leaves_stops_what_runs_for_them(rig):
    begun = anyio.Event()

    async def waits(payload: bytes) -> bytes:
        if json.loads(payload)["event"] == "message":
            begun.set()
            await anyio.sleep_forever()
        return b"null"

    rig.comet.functions["waits"] = waits
    async with opened(rig, "/fn/waits") as socket:
        await socket.next()
        await socket.say("x")
        await begun.wait()
    with anyio.fail_after(10):
        while rig.comet.cancelled == 0:
            await anyio.sleep(0.01)


async def test_nothing_of_a_connection_outlives_it(rig):
    rig.comet.functions["chat"] = Chat()
    async with opened(rig, "/fn/chat") as socket:
        await socket.next()
    with anyio.fail_after(10):  # its next ping would be due after 20
        while any("_send_pings" in repr(task.get_coro()) for task in asyncio.all_tasks()):
            await anyio.sleep(0.01)


async def test_a_key_that_is_revoked_ends_its_connections(rig):
    rig.comet.functions["chat"] = Chat()
    async with opened(rig, "/fn/chat", headers=[("X-API-Key", "sk_acme")]) as socket:
        await socket.next()
        await socket.say("x")
        assert await socket.hear() == "x"
        del rig.nova.keys["sk_acme"]
        rig.nova.change("api_key", "acme", "prod", "acme")
        closed = None
        while not isinstance(closed, CloseConnection):  # the change arrives when it does
            await socket.say("y")
            closed = await socket.next()
        assert closed.code == 1008


@pytest.fixture
async def tight(settings, native_lane, tmp_path) -> AsyncIterator[GatewayRig]:
    """A gateway that allows little."""
    sockets = SocketSettings(max_open=3, max_open_per_key=2, max_message_bytes=1000, idle_timeout_s=0.5)
    async with gateway_rig(replace(settings, sockets=sockets), state_dir=tmp_path, is_native=native_lane) as rig:
        rig.nova.keys["sk_acme"] = {"subject": "k", "tenant": "acme", "namespace": "prod", "role": "operator"}
        rig.nova.scopes["acme", "prod"] = "active"
        rig.comet.functions["chat"] = Chat()
        yield rig


async def test_connections_are_bounded_by_key_and_in_all_and_their_places_come_back(tight):
    async def is_open(socket: Socket) -> bool:
        return isinstance(await socket.next(), AcceptConnection)

    key = [("X-API-Key", "sk_acme")]
    async with opened(tight, "/fn/chat") as one, opened(tight, "/fn/chat") as two:
        assert [await is_open(one), await is_open(two)] == [True, True]
        async with opened(tight, "/fn/chat") as third:
            assert await third.rejection() == (429, Problem("socket_limit"))
        async with opened(tight, "/fn/chat", headers=key) as theirs:
            assert await is_open(theirs)
            async with opened(tight, "/fn/chat", headers=key) as fourth:
                assert await fourth.rejection() == (503, Problem("overloaded"))
    with anyio.fail_after(10):
        while True:
            async with opened(tight, "/fn/chat") as again:
                if isinstance(await again.next(), AcceptConnection):
                    break


async def test_a_message_that_is_too_long_and_a_silence_that_is_end_a_connection(tight):
    async with opened(tight, "/fn/chat") as socket:
        await socket.next()
        await socket.say("x" * 1000)
        assert await socket.hear() == "x" * 1000
        await socket.say("x" * 1001)
        closed = await socket.next()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1009
    async with opened(tight, "/fn/chat") as socket:
        await socket.next()
        closed = await socket.next()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1001


async def test_a_gateway_that_stops_says_so(settings, native_lane, tmp_path):
    async with anyio.create_task_group() as tasks:
        connected, told = anyio.Event(), []

        async def stay(rig: GatewayRig) -> None:
            async with opened(rig, "/fn/chat") as socket:
                await socket.next()
                connected.set()
                told.append(await socket.next())

        async with gateway_rig(settings, state_dir=tmp_path, is_native=native_lane) as rig:
            rig.comet.functions["chat"] = Chat()
            tasks.start_soon(stay, rig)
            await connected.wait()
    assert [event.code for event in told if isinstance(event, CloseConnection)] == [1001]
