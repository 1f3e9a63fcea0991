"""A plane that goes away at every step of an exchange: its callers get its answer, or a refusal that says to try again."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes

from constellation.base.address import parse_address
from constellation.base.errors import ConstellationError, Unavailable
from constellation.rpc import channel as rpc_channel
from constellation.rpc.channel import PlaneChannel
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceStub
from tests.integration.rpc.peer import Peer

pytestmark = pytest.mark.anyio

BODY = b"b" * 1000
MESSAGE = nova_pb2.ProxyHTTPResponse(status=202, body=BODY).SerializeToString()
FRAMED = struct.pack(">BI", 0, len(MESSAGE)) + MESSAGE
ANSWER_S = 60.0


Step = Callable[[Peer], Awaitable[None]]
# Each goes on from the one before; what ends a connection comes behind any of them.
STEPS: dict[str, Step] = {
    "accepted": lambda peer: anyio.sleep(0),
    "greeted": Peer.greet,
    "headers read": lambda peer: peer.until(RequestReceived),
    "message read": lambda peer: peer.until(DataReceived),
    "request read": lambda peer: peer.until(StreamEnded),
    "head": Peer.head,
    "half a prefix": lambda peer: peer.data(FRAMED[:3]),
    "prefix": lambda peer: peer.data(FRAMED[3:5]),
    "half a message": lambda peer: peer.data(FRAMED[5:500]),
    "message": lambda peer: peer.data(FRAMED[500:]),
    "trailers": Peer.trailers,
}
BREAKS: dict[str, Step] = {
    "fin": Peer.fin,
    "rst": Peer.rst,
    "noise": Peer.noise,
    "goaway, and waits": Peer.goaway_and_wait,
    **{
        f"goaway {code}, {last}": lambda peer, c=code, n=last: peer.goaway(c, n)
        for code in (0, 2, 11)
        for last in (0, 1)
    },
}
RESETS: dict[str, Step] = {
    **{f"reset {int(code)}": lambda peer, c=int(code): peer.reset(c) for code in ErrorCodes},
    "reset 99": lambda peer: peer.reset(99),
}
NO_CALL = ("accepted", "greeted")  # there is nothing to reset yet


def going_as_far_as(last_step: str, end: Step) -> Step:
    async def script(peer: Peer) -> None:
        for name, step in STEPS.items():
            await step(peer)
            if name == last_step:
                break
        await end(peer)

    return script


@asynccontextmanager
async def plane(script: Step):
    """A channel to a plane that does the same in every connection."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await script(Peer(stream))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        channel = PlaneChannel(name="comet", service_token="t", address=parse_address(f"127.0.0.1:{port}"))
        try:
            yield channel
        finally:
            channel.close()
            tasks.cancel_scope.cancel()


async def whole(channel: PlaneChannel) -> bytes:
    """A call whose answer is one message."""
    reply = await channel.unary(
        NovaServiceStub(channel.grpc).ProxyHTTP,
        nova_pb2.ProxyHTTPRequest(body=BODY),
        metadata=channel.metadata(),
        timeout_s=ANSWER_S,
    )
    return reply.body


async def streamed(channel: PlaneChannel) -> bytes:
    """A call whose answer comes in pieces."""
    method = NovaServiceStub(channel.grpc).ProxyHTTP
    async with channel.open(method, metadata=channel.metadata(), timeout_s=ANSWER_S) as stream:
        await stream.send_message(nova_pb2.ProxyHTTPRequest(body=BODY), end=True)
        answer = b"".join([part.body async for part in stream])
        await stream.recv_trailing_metadata()
    return answer


def is_fine(result: object) -> bool:
    if isinstance(result, ConstellationError):
        return result.http_status in (502, 503) and result.retryable
    return result == BODY


@pytest.mark.parametrize("call", [whole, streamed])
@pytest.mark.parametrize("last_step", STEPS)
async def test_a_call_is_answered_or_may_be_tried_again(call, last_step):
    told: dict[str, list[object]] = {}

    async def ask(channel: PlaneChannel, results: list[object]) -> None:
        try:
            results.append(await call(channel))
        except Exception as error:  # noqa: BLE001  # whatever is not ours is what the test looks for
            results.append(error)

    ends = BREAKS if last_step in NO_CALL else BREAKS | RESETS | {"end": Peer.end}
    for end, step in ends.items():
        results = told[end] = []
        async with plane(going_as_far_as(last_step, step)) as channel, anyio.create_task_group() as tasks:
            for _ in range(3 if end in BREAKS else 1):  # the others come to a connection that is just breaking
                tasks.start_soon(ask, channel, results)
    assert {end: results for end, results in told.items() if not all(map(is_fine, results))} == {}


async def is_refused_before_it_begins(channel: PlaneChannel) -> None:
    with anyio.fail_after(60), pytest.raises(Unavailable) as refused:
        await streamed(channel)
    assert not refused.value.may_have_begun


async def fails(channel: PlaneChannel) -> None:
    with pytest.raises(Unavailable):
        await streamed(channel)


@pytest.mark.parametrize("end", ["fin", "rst", "goaway 0, 0", "goaway 0, 1"])
async def test_a_stream_that_waits_for_its_turn_when_the_connection_breaks(end, monkeypatch):
    monkeypatch.setattr(rpc_channel, "_BEGIN_S", 0.2)
    is_taken, is_waiting = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        await peer.until(StreamEnded)
        await peer.until(SettingsAcknowledged)
        is_taken.set()
        await is_waiting.wait()
        await BREAKS[end](peer)

    async with plane(script) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(fails, channel)
        await is_taken.wait()
        tasks.start_soon(is_refused_before_it_begins, channel)
        await anyio.wait_all_tasks_blocked()
        is_waiting.set()
