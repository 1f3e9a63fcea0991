"""What a worker asks of the host: answered once, in its time, within bounds, and in the scope of its own instance."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.clock import SystemClock
from constellation.base.errors import NotFound
from constellation.base.ids import RequestId, uuid7
from constellation.comet.asks import desk as desks
from constellation.comet.asks.desk import AskDesk
from constellation.comet.asks.question import Failed, Op, Question
from constellation.comet.backend.contract import Call
from constellation.native.link import Links
from constellation.native.reactor import Reactor
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import agent_pb2

from .test_link import ASK, EXEC, REPLY, RESULT, Peer, frame

pytestmark = pytest.mark.anyio

Answer = Callable[[Question], Awaitable[bytes]]


class Rig:
    def __init__(self, peer: Peer, registry: CollectorRegistry) -> None:
        self.peer, self.registry = peer, registry

    def ask(self, ask_id: int, *, call_id: int = 1, **fields: object) -> None:
        body = agent_pb2.Ask(id=ask_id, **fields).SerializeToString()
        self.peer.send(frame(ASK, call_id, body))

    async def replied(self) -> tuple[int, object]:
        """Return the id of the next reply and its value, or the error's code."""
        kind, _, body = await self.peer.read()
        assert kind == REPLY
        reply = agent_pb2.Reply.FromString(body)
        if reply.error:
            facts = json.loads(reply.error)
            assert {"code", "type", "message"} <= facts.keys()
            return reply.id, facts["code"]
        return reply.id, json.loads(reply.value)

    def counted(self, op: str, outcome: str) -> float:
        labels = {"op": op, "outcome": outcome}
        return self.registry.get_sample_value("constellation_function_asks_total", labels) or 0.0


@asynccontextmanager
async def rigged(answers: dict[int, Answer], call: Call) -> AsyncIterator[Rig]:
    """A worker that has a call in hand, and a desk that answers it."""
    reactor, registry = Reactor(), CollectorRegistry()
    desk = AskDesk(answers, clock=SystemClock(), registry=registry, max_functions=1)
    with reactor.turning():
        links = Links(reactor)
        links.hear_asks(desk.take_nowait)
        peer = Peer(links, is_alone=False)
        await peer.ready()
        async with anyio.create_task_group() as tasks:
            await tasks.start(desk.run)
            tasks.start_soon(peer.channel.call, call)
            kind, call_id, _ = await peer.read()
            assert (kind, call_id) == (EXEC, 1)
            yield Rig(peer, registry)
            peer.send(frame(RESULT, 1, b"1"))
            with anyio.fail_after(5):
                while peer.channel.in_hand:
                    await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        peer.close()


def call_of(*, timeout_s: float = 30, **context: object) -> Call:
    origin = CallContext(request_id=RequestId(uuid7()), **context)
    return Call(request_id=uuid7(), payload=b"1", timeout_s=timeout_s, origin=origin)


async def echo(question: Question) -> bytes:
    return question.json()


async def test_each_ask_is_answered_in_its_call_with_its_id() -> None:
    async with rigged({Op.STATE_GET: echo}, call_of()) as rig:
        for ask_id in (7, 8, 4_000_000_000):
            rig.ask(ask_id, op=Op.STATE_GET, value=b'{"n":%d}' % ask_id)
        got = dict([await rig.replied() for _ in range(3)])
    assert got == {ask_id: {"n": ask_id} for ask_id in (7, 8, 4_000_000_000)}
    assert rig.counted("state_get", "ok") == 3


async def test_whose_function_asks_and_what_led_to_it_is_the_hosts_knowledge() -> None:
    asked: list[Question] = []

    async def look(question: Question) -> bytes:
        asked.append(question)
        return b"null"

    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with rigged({Op.INVOKE: look}, call_of(depth=2, chain=("x", "y"), traceparent=trace)) as rig:
        rig.ask(1, op=Op.INVOKE, name="g")
        await rig.replied()
    (question,) = asked
    assert (question.spec.tenant, question.spec.namespace) == ("t", "n")
    assert (question.context.depth, question.context.chain, question.context.source) == (3, ("x", "y", "f"), "function")
    assert question.context.traceparent == trace


async def test_what_goes_wrong_is_said_with_a_code() -> None:
    async def missing(question: Question) -> bytes:
        raise NotFound("function", question.ask.name)

    async def raised(_: Question) -> bytes:
        raise Failed("function_error", b'{"type":"E","message":"m","stack":"s"}')

    async def broken(_: Question) -> bytes:
        raise RuntimeError("a secret of ours")

    answers = {Op.INVOKE: missing, Op.INVOKE_ASYNC: raised, Op.STEP: broken, Op.STATE_PUT: echo}
    async with rigged(answers, call_of()) as rig:
        for op, code in (
            (Op.INVOKE, "not_found"),
            (Op.INVOKE_ASYNC, "function_error"),
            (Op.STEP, "internal"),
            (Op.STATE_PUT, "invalid_request"),  # its value is no JSON
            (Op.SLEEP, "ask_unknown"),
            (99, "ask_unknown"),
        ):
            rig.ask(1, op=op, value=b"{")
            assert await rig.replied() == (1, code)
        rig.peer.send(frame(ASK, 1, b"\x08\x05\xff\xff"))  # an id and then rubbish
        assert await rig.replied() == (5, "invalid_request")
        rig.peer.send(frame(ASK, 1, b""))
        assert await rig.replied() == (0, "ask_unknown")


async def test_an_ask_ends_with_its_calls_time_and_after_its_call_nothing_is_done() -> None:
    done: list[int] = []

    async def slow(question: Question) -> bytes:
        await anyio.sleep_forever()
        done.append(question.ask.id)
        return b"1"

    async with rigged({Op.INVOKE: slow}, call_of()) as rig:
        rig.ask(1, op=Op.INVOKE)
        rig.peer.send(frame(RESULT, 1, b"1"))
        with anyio.fail_after(5):
            while rig.peer.channel.in_hand:
                await anyio.sleep(0.001)
        rig.ask(2, op=Op.INVOKE)
        assert await rig.replied() == (2, "call_ended")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rig.peer.channel.call, call_of(timeout_s=30))
            await rig.peer.read()
            rig.peer.send(frame(RESULT, 2, b"1"))
        # the one whose answer never came is given up with its worker, in any case
    assert done == []


async def test_a_worker_that_asks_too_fast_waits_for_its_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "PACE_BURST", 3.0)
    monkeypatch.setattr(desks, "PACE_PER_S", 0.001)
    async with rigged({Op.STATE_GET: echo}, call_of()) as rig:
        for ask_id in range(1, 6):
            rig.ask(ask_id, op=Op.STATE_GET, value=b"1")
        got = {(await rig.replied())[0] for _ in range(3)}
        assert got == {1, 2, 3}
        assert rig.registry.get_sample_value("constellation_function_asks_in_hand") == 2


async def test_past_the_bound_of_the_node_asks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "IN_HAND", 1)
    free = anyio.Event()

    async def wait(_: Question) -> bytes:
        await free.wait()
        return b"1"

    async with rigged({Op.STATE_GET: wait}, call_of()) as rig:
        rig.ask(1, op=Op.STATE_GET)
        rig.ask(2, op=Op.STATE_GET)
        assert await rig.replied() == (2, "overloaded")
        free.set()
        assert await rig.replied() == (1, 1)


async def test_functions_past_the_bound_share_one_series() -> None:
    async with rigged({Op.STATE_GET: echo}, call_of()) as rig:
        rig.ask(1, op=Op.STATE_GET, value=b"1")
        await rig.replied()
        series = {"function": "f", "tenant": "t", "namespace": "n"}
        assert rig.registry.get_sample_value("constellation_function_asks_by_function_total", series) == 1
