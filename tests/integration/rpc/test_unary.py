"""Unary calls to a grpclib server, and to sockets that break."""

from __future__ import annotations

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from constellation.base.address import parse_address
from constellation.base.errors import DeadlineExceeded, RemoteProblem, Unavailable
from constellation.base.sockets import listen_tcp
from constellation.rpc import unary
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.gather import Gathering
from constellation.rpc.server import serving
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceBase, NovaServiceStub

pytestmark = pytest.mark.anyio


class Slow(NovaServiceBase):
    """Answers "fails" with an error, "waits" never, "gate" when told, and what it was sent to all else."""

    def __init__(self) -> None:
        self.waiting, self.most = 0, 0
        self.cancelled = anyio.Event()
        self.go = anyio.Event()

    async def Invoke(self, stream) -> None:
        request = await stream.recv_message()
        if request.function == "fails":
            raise GRPCError(Status.NOT_FOUND, "nobody has it")
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            if request.function == "waits":
                await anyio.sleep_forever()
            if request.function == "gate":
                await self.go.wait()
        except BaseException:
            self.cancelled.set()
            raise
        finally:
            self.waiting -= 1
        await stream.send_message(nova_pb2.InvokeResponse(output=request.payload))

    async def other(self, stream) -> None:
        raise GRPCError(Status.UNIMPLEMENTED)

    InvokeStream = InvokeAsync = InvokeDurable = ProxyHTTP = Stats = Tunnel = other


@pytest.fixture
async def slow():
    return Slow()


@pytest.fixture
async def channel(slow):
    listener, address = listen_tcp(parse_address("127.0.0.1:0"))
    async with serving([slow], listener=listener):
        channel = PlaneChannel(name="comet", service_token="t", address=address)
        yield channel
        channel.close()


async def ask(channel: PlaneChannel, function: str = "", payload: bytes = b"", *, timeout_s: float = 10.0) -> bytes:
    reply = await channel.unary(
        NovaServiceStub(channel.grpc).Invoke,
        nova_pb2.InvokeRequest(function=function, payload=payload),
        metadata=channel.metadata(),
        timeout_s=timeout_s,
    )
    return reply.output


async def test_messages_of_any_size(channel):
    for size_bytes in (0, 1, 16_379, 16_380, 100_000, 9 << 20):
        message = b"x" * size_bytes
        assert await ask(channel, payload=message) == message


async def test_a_refusal_and_a_deadline(channel, slow):
    with pytest.raises(RemoteProblem) as refused:
        await ask(channel, "fails")
    assert refused.value.http_status == 404
    assert "nobody has it" in str(refused.value)
    with pytest.raises(DeadlineExceeded):
        await ask(channel, "waits", timeout_s=0.05)
    assert await ask(channel, payload=b"1") == b"1"


async def test_a_call_that_is_given_up_is_cancelled_at_the_other_side(channel, slow):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, channel, "waits")
        with anyio.fail_after(5):
            while not slow.waiting:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        await slow.cancelled.wait()


async def test_calls_over_what_the_server_takes_wait_their_turn(channel, slow):
    async with anyio.create_task_group() as tasks:
        for _ in range(130):
            tasks.start_soon(ask, channel, "gate")
        with anyio.fail_after(10):
            while slow.waiting < 100:
                await anyio.sleep(0.01)
        slow.go.set()
    assert slow.most == 100


async def test_a_connection_that_breaks_is_not_written_to_before_the_loop_says_so(channel, monkeypatch):
    made = []
    monkeypatch.setattr(unary, "Gathering", lambda transport: made.append(transport) or Gathering(transport))
    assert await ask(channel, payload=b"1") == b"1"
    made[0].abort()  # closed from here on, and `connection_lost` comes in the loop's next turn
    assert await ask(channel, payload=b"2") == b"2"
    assert len(made) == 2


async def test_nobody_there_then_somebody():
    listener, address = listen_tcp(parse_address("127.0.0.1:0"))
    listener.close()
    channel = PlaneChannel(name="comet", service_token="t", address=address)
    with pytest.raises(Unavailable) as error:
        await ask(channel)
    assert not error.value.may_have_begun
    listener, _ = listen_tcp(address)
    async with serving([Slow()], listener=listener):
        assert await ask(channel, payload=b"1") == b"1"
    listener, _ = listen_tcp(address)
    async with serving([Slow()], listener=listener):
        assert await ask(channel, payload=b"1") == b"1"
    channel.close()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_who_speaks_something_else_was_not_asked(said):
    async def serve(stream) -> None:
        async with stream:
            await stream.receive()
            if said:
                await stream.send(said)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        channel = PlaneChannel(name="comet", service_token="t", address=parse_address(f"127.0.0.1:{port}"))
        with pytest.raises(Unavailable) as error:
            await ask(channel)
        assert not error.value.may_have_begun
        channel.close()
        tasks.cancel_scope.cancel()


async def test_a_server_that_says_nothing_ends_in_time():
    listener, address = listen_tcp(parse_address("127.0.0.1:0"))
    channel = PlaneChannel(name="comet", service_token="t", address=address)
    with pytest.raises(Unavailable, match="no connection within") as error:
        await ask(channel, timeout_s=0.1)
    assert not error.value.may_have_begun
    channel.close()
    listener.close()
