"""Streams that share one connection, some of which nobody reads."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from constellation.base.address import parse_address
from constellation.base.sockets import listen_tcp
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.server import serving
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceBase, NovaServiceStub

pytestmark = pytest.mark.anyio

STREAMS = 40
PIECE = b"x" * (64 << 10)
TOO_MUCH = 100 << 20  # for what a connection may hold


class Pipes(NovaServiceBase):
    """A tunnel says what it is told; one to "flood" writes without end, one to "deaf" does not listen."""

    async def Tunnel(self, stream) -> None:
        first = await stream.recv_message()
        await stream.send_message(nova_pb2.TunnelPiece())
        if first.open.path == "flood":
            for _ in range(TOO_MUCH // len(PIECE)):
                await stream.send_message(nova_pb2.TunnelPiece(data=PIECE))
        if first.open.path in ("flood", "deaf"):
            await anyio.sleep_forever()
        async for piece in stream:
            await stream.send_message(piece)

    async def other(self, stream) -> None:
        raise GRPCError(Status.UNIMPLEMENTED)

    Invoke = InvokeStream = InvokeAsync = InvokeDurable = ProxyHTTP = Stats = other


@pytest.fixture
async def channel():
    listener, address = listen_tcp(parse_address("127.0.0.1:0"))
    async with serving([Pipes()], listener=listener):
        channel = PlaneChannel(name="comet", service_token="t", address=address)
        yield channel
        channel.close()


async def opened(streams: AsyncExitStack, channel: PlaneChannel, path: str):
    stream = await streams.enter_async_context(
        channel.open(NovaServiceStub(channel.grpc).Tunnel, metadata=channel.metadata(), timeout_s=30.0)
    )
    await stream.send_message(nova_pb2.TunnelPiece(open=nova_pb2.TunnelOpen(path=path)))
    await stream.recv_message()
    return stream


async def talks(stream) -> bool:
    for _ in range(20):
        await stream.send_message(nova_pb2.TunnelPiece(data=PIECE))
        if (await stream.recv_message()).data != PIECE:
            return False
    return True


async def stops(stream) -> None:
    """Write until it is taken no more."""
    for _ in range(TOO_MUCH // len(PIECE)):
        with anyio.move_on_after(0.1) as waiting:
            await stream.send_message(nova_pb2.TunnelPiece(data=PIECE))
        if waiting.cancelled_caught:
            return
    raise AssertionError("what nobody reads was taken without end")


async def test_answers_that_nobody_reads_do_not_stop_their_neighbours(channel):
    with anyio.fail_after(30):
        async with AsyncExitStack() as streams:
            for _ in range(STREAMS):
                await opened(streams, channel, "flood")
            assert await talks(await opened(streams, channel, "echo"))
            channel.close()


async def test_requests_that_nobody_reads_do_not_stop_their_neighbours(channel):
    with anyio.fail_after(30):
        async with AsyncExitStack() as streams:
            for _ in range(STREAMS):
                await stops(await opened(streams, channel, "deaf"))
            assert await talks(await opened(streams, channel, "echo"))
            channel.close()
