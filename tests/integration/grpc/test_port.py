"""Comet's port in C, with grpclib at both ends: what passes through is the same call."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from grpclib.client import Channel, StreamStreamMethod, StreamUnaryMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest

from constellation.base.address import Address
from constellation.base.errors import RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.base.sockets import listen_tcp, listen_unix
from constellation.native.h2 import Port, Ports
from constellation.native.reactor import Reactor
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.metadata import CallContext
from constellation.rpc.problems import trailer_of
from constellation.rpc.server import serving
from constellation.wire.gen.nova_pb2 import InvokeRequest as Message

pytestmark = pytest.mark.anyio
MIB = 1 << 20


@dataclass(slots=True)
class Behind:
    """The gRPC server behind the port."""

    metadata: dict[str, object] = field(default_factory=dict)
    deadline_s: float | None = None
    cancelled: anyio.Event = field(default_factory=anyio.Event)
    sent: int = 0
    go: anyio.Event = field(default_factory=anyio.Event)

    def __mapping__(self) -> dict[str, Handler]:
        methods = {
            "Echo": (self.echo, Cardinality.UNARY_UNARY),
            "Refuse": (self.refuse, Cardinality.UNARY_UNARY),
            "Hang": (self.hang, Cardinality.UNARY_UNARY),
            "Count": (self.count, Cardinality.UNARY_STREAM),
            "Flood": (self.flood, Cardinality.UNARY_STREAM),
            "Sum": (self.sum, Cardinality.STREAM_UNARY),
            "Early": (self.early, Cardinality.STREAM_UNARY),
            "Chat": (self.chat, Cardinality.STREAM_STREAM),
        }
        return {f"/t.T/{name}": Handler(func, kind, Message, Message) for name, (func, kind) in methods.items()}

    async def echo(self, stream):
        self.metadata = dict(stream.metadata)
        self.deadline_s = stream.deadline and stream.deadline.time_remaining()
        await stream.send_message(await stream.recv_message())

    async def refuse(self, stream):
        await stream.recv_message()
        problem = RemoteProblem({"title": "no", "status": 429, "code": "shed", "detail": "ä % full"})
        await stream.send_trailing_metadata(
            status=Status.RESOURCE_EXHAUSTED, status_message="ä % full", metadata=trailer_of(problem)
        )

    async def hang(self, stream):
        await stream.recv_message()
        self.go.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()

    async def count(self, stream):
        request = await stream.recv_message()
        for number in range(request.timeout_ms):
            await stream.send_message(Message(function=str(number)))

    async def flood(self, stream):
        await stream.recv_message()
        block = Message(payload=bytes(64 << 10))
        for _ in range(16 * 64):
            await stream.send_message(block)
            self.sent += 1

    async def sum(self, stream):
        await self.go.wait()
        total = 0
        async for message in stream:
            total += len(message.payload)
        await stream.send_message(Message(function=str(total)))

    async def early(self, stream):
        await stream.recv_message()
        await stream.send_trailing_metadata(status=Status.INVALID_ARGUMENT, status_message="enough")

    async def chat(self, stream):
        async for message in stream:
            await stream.send_message(Message(function=message.function.upper()))


@dataclass(slots=True)
class Rig:
    behind: Behind
    port: Port
    address: Address
    channel: Channel
    upstream: str

    def unary(self, name: str) -> UnaryUnaryMethod[Message, Message]:
        return UnaryUnaryMethod(self.channel, f"/t.T/{name}", Message, Message)


@asynccontextmanager
async def _rig(tmp_path: Path) -> AsyncIterator[Rig]:
    reactor, behind, stop = Reactor(), Behind(), anyio.Event()
    listener, address = listen_tcp(Address("127.0.0.1", 0))
    with reactor.turning(), listener:

        async def serve(*, task_status) -> None:
            async with serving([behind], listener=listen_unix(tmp_path / "behind.sock")):
                task_status.started()
                await stop.wait()

        async with anyio.create_task_group() as tasks:
            await tasks.start(serve)
            async with (
                Ports(reactor).serving([listener], tmp_path / "behind.sock", linger_s=0.5) as port,
                Channel(address.host, address.port) as channel,
            ):
                yield Rig(behind, port, address, channel, str(tmp_path / "behind.sock"))
            stop.set()


@pytest.fixture
async def rig(tmp_path):
    async with _rig(tmp_path) as made:
        yield made


async def test_a_unary_call_is_the_same_call_behind(rig):
    with anyio.fail_after(10):
        metadata = {"x-request-id": "r1", "data-bin": b"\x00\xff", "constellation-peer": "forged"}
        reply = await rig.unary("Echo")(Message(function="hi"), metadata=metadata, timeout=5)
    assert reply.function == "hi"
    assert rig.behind.metadata["x-request-id"] == "r1"
    assert rig.behind.metadata["data-bin"] == b"\x00\xff"
    assert "constellation-peer" not in rig.behind.metadata
    assert 0 < rig.behind.deadline_s <= 5
    counts = rig.port.counts()
    assert (counts.forwarded, counts.taken, counts.unserved, counts.connections) == (1, 0, 0, 1)


async def test_health_answers_through_the_port(rig):
    with anyio.fail_after(10):
        assert (await HealthStub(rig.channel).Check(HealthCheckRequest())).status == 1


async def test_a_problem_arrives_whole(rig):
    with anyio.fail_after(10), pytest.raises(GRPCError) as refused:
        await rig.unary("Refuse")(Message())
    assert refused.value.status is Status.RESOURCE_EXHAUSTED
    assert refused.value.message == "ä % full"


async def test_our_channel_reads_a_problem_through_the_port(rig):
    channel = PlaneChannel(name="comet", service_token="t", address=rig.address)
    method = UnaryUnaryMethod(channel.grpc, "/t.T/Refuse", Message, Message)
    metadata = channel.metadata(token="i", context=CallContext(request_id=RequestId(uuid7())))
    with anyio.fail_after(10), pytest.raises(RemoteProblem) as raised:
        await channel.unary(method, Message(), metadata=metadata, timeout_s=5)
    assert raised.value.problem()["code"] == "shed"
    channel.close()


async def test_a_method_nobody_has_is_refused_as_behind(rig):
    answers = []
    with anyio.fail_after(10):
        async with Channel(path=rig.upstream) as direct:
            for channel in (rig.channel, direct):
                with pytest.raises(GRPCError) as refused:
                    await UnaryUnaryMethod(channel, "/t.T/Nothing", Message, Message)(Message())
                answers.append((refused.value.status, refused.value.message))
    assert answers[0] == answers[1]


async def test_messages_stream_down_in_order(rig):
    with anyio.fail_after(30):
        replies = await UnaryStreamMethod(rig.channel, "/t.T/Count", Message, Message)(Message(timeout_ms=2000))
    assert [int(reply.function) for reply in replies] == list(range(2000))


async def test_messages_stream_both_ways_at_once(rig):
    with anyio.fail_after(30):
        async with StreamStreamMethod(rig.channel, "/t.T/Chat", Message, Message).open() as stream:
            for word in ("a", "b", "c"):
                await stream.send_message(Message(function=word))
                assert (await stream.recv_message()).function == word.upper()
            await stream.end()
            assert await stream.recv_message() is None


async def test_large_messages_pass_both_ways(rig):
    payload = bytes(range(256)) * (8 * MIB // 256)
    with anyio.fail_after(60):
        reply = await rig.unary("Echo")(Message(payload=payload))
    assert reply.payload == payload
    assert rig.port.counts().held_bytes == 0


async def test_a_cancelled_call_is_cancelled_behind(rig):
    with anyio.fail_after(10):
        async with rig.unary("Hang").open() as stream:
            await stream.send_message(Message(), end=True)
            await rig.behind.go.wait()
            await stream.cancel()
        await rig.behind.cancelled.wait()


async def test_a_deadline_ends_the_call_behind(rig):
    with anyio.fail_after(10):
        with pytest.raises((TimeoutError, GRPCError)):
            await rig.unary("Hang")(Message(), timeout=0.2)
        await rig.behind.cancelled.wait()


async def test_a_client_that_hangs_up_cancels_its_calls(rig):
    async with anyio.create_task_group() as tasks:
        hasty = Channel(rig.address.host, rig.address.port)

        async def call() -> None:
            with pytest.raises(StreamTerminatedError):
                await UnaryUnaryMethod(hasty, "/t.T/Hang", Message, Message)(Message())

        tasks.start_soon(call)
        with anyio.fail_after(10):
            await rig.behind.go.wait()
            hasty.close()
            await rig.behind.cancelled.wait()


async def test_an_early_answer_ends_a_call_that_still_sends(rig):
    async def call() -> None:
        async with StreamUnaryMethod(rig.channel, "/t.T/Early", Message, Message).open() as stream:
            await stream.send_message(Message(function="x"))
            await stream.recv_message()

    with anyio.fail_after(10), pytest.raises(GRPCError) as refused:
        await call()
    assert refused.value.status is Status.INVALID_ARGUMENT


async def test_thirty_two_connections_at_once(rig):
    async def client(number: int) -> None:
        async with Channel(rig.address.host, rig.address.port) as channel:
            method = UnaryUnaryMethod(channel, "/t.T/Echo", Message, Message)
            for call in range(20):
                reply = await method(Message(function=f"{number}.{call}"))
                assert reply.function == f"{number}.{call}"

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(32):
                tasks.start_soon(client, number)
    assert rig.port.counts().forwarded == 32 * 20


async def test_more_streams_than_one_connection_behind_allows(rig):
    async def call(number: int) -> None:
        assert (await rig.unary("Echo")(Message(function=str(number)))).function == str(number)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(400):
                tasks.start_soon(call, number)


async def _settled(read) -> int:
    """Return what `read` says once it says the same twice, a moment apart."""
    seen, before = -1, -2
    while seen != before:
        before = seen
        await anyio.sleep(0.2)
        seen = read()
    return seen


async def test_a_slow_reader_stops_the_sender_and_not_its_neighbours(rig):
    method = UnaryStreamMethod(rig.channel, "/t.T/Flood", Message, Message)
    with anyio.fail_after(60):
        async with method.open() as stream:
            await stream.send_message(Message(), end=True)
            sent = await _settled(lambda: rig.behind.sent)
            assert sent < 16 * 64  # of 64 MiB
            assert 0 < rig.port.counts().held_bytes < 4 * MIB
            async with Channel(rig.address.host, rig.address.port) as neighbour:  # on the same connection behind
                echo = UnaryUnaryMethod(neighbour, "/t.T/Echo", Message, Message)
                assert (await echo(Message(payload=bytes(2 * MIB)))).ByteSize() > 2 * MIB
            assert rig.port.counts().upstreams == 1
            received = 0
            async for message in stream:
                received += len(message.payload)
    assert received == 64 * MIB
    assert rig.port.counts().held_bytes == 0


async def test_a_slow_receiver_stops_the_client(rig):
    method = StreamUnaryMethod(rig.channel, "/t.T/Sum", Message, Message)
    block, sent = Message(payload=bytes(64 << 10)), 0
    with anyio.fail_after(60):
        async with method.open() as stream:

            async def send() -> None:
                nonlocal sent
                for _ in range(16 * 64):
                    await stream.send_message(block)
                    sent += 1
                await stream.end()

            await stream.send_request()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                assert await _settled(lambda: sent) < 16 * 64
                assert rig.port.counts().held_bytes < 4 * MIB
                rig.behind.go.set()
            reply = await stream.recv_message()
    assert int(reply.function) == 64 * MIB
    assert rig.port.counts().held_bytes == 0


SERVER = """
import anyio, sys
from pathlib import Path
from constellation.base.sockets import listen_unix
from constellation.rpc.server import serving

async def main():
    async with serving([], listener=listen_unix(Path(sys.argv[1]))):
        print("ready", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_a_server_that_dies_behind_is_said(tmp_path):
    reactor, path = Reactor(), tmp_path / "behind.sock"
    listener, address = listen_tcp(Address("127.0.0.1", 0))
    with anyio.fail_after(60), reactor.turning(), listener:
        async with (
            await anyio.open_process([sys.executable, "-c", SERVER, str(path)]) as behind,
            Ports(reactor).serving([listener], path, linger_s=0.5) as port,
            Channel(address.host, address.port) as channel,
        ):
            assert behind.stdout is not None
            assert (await behind.stdout.receive()).strip() == b"ready"

            async def watch() -> None:
                async with HealthStub(channel).Watch.open() as stream:
                    await stream.send_message(HealthCheckRequest(), end=True)
                    assert (await stream.recv_message()).status == 1
                    behind.kill()
                    await stream.recv_message()

            with pytest.raises(GRPCError) as lost:
                await watch()
            assert lost.value.status is Status.UNAVAILABLE
            with pytest.raises(GRPCError) as lost:
                await HealthStub(channel).Check(HealthCheckRequest())
            assert lost.value.status is Status.UNAVAILABLE
            counts = port.counts()
            assert (counts.connections, counts.upstreams, counts.unserved) == (1, 0, 2)


async def test_stopping_finishes_what_is_in_hand_and_cuts_the_rest(tmp_path):
    outcome = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, _rig(tmp_path) as rig:

            async def call() -> None:
                with pytest.raises((StreamTerminatedError, GRPCError)) as ended:
                    await rig.unary("Hang")(Message())
                outcome.append(ended.value)

            tasks.start_soon(call)
            await rig.behind.go.wait()
            stopping = anyio.Event()

            async def stop() -> None:
                await rig.port.stop(within_s=0.3)
                stopping.set()

            tasks.start_soon(stop)
            await stopping.wait()
            assert rig.port.counts().connections == 0
    assert len(outcome) == 1
