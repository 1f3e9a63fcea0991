"""Comet, as the gateway sees it: enough connections for every call in hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from grpclib.client import ServiceMethod, Stream
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from constellation.base.errors import Overloaded, Unavailable
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceStub

# An HTTP/2 server of h2 takes 100 streams a connection; what is over would wait in silence inside grpclib.
_CALLS_A_CHANNEL = 90
_HEALTH_S = 2.0


@dataclass(slots=True)
class _Lane:
    channel: PlaneChannel
    stub: NovaServiceStub
    calls: int = field(default=0)


class Execution:
    """Calls to comet. The first connection with room takes a call, so that few stay in use; more open under load."""

    def __init__(self, connect: Callable[[], PlaneChannel], *, max_calls: int) -> None:
        self._connect = connect
        self._max_calls = max_calls
        self._max_lanes = -(-max_calls // _CALLS_A_CHANNEL)
        self._lanes: list[_Lane] = []

    async def invoke(
        self, request: nova_pb2.InvokeRequest, *, token: str, context: CallContext, timeout_s: float
    ) -> nova_pb2.InvokeResponse:
        """Call a function; errors as in `PlaneChannel.unary`. If cancelled, the call is reset at comet."""
        with self._lane() as lane:
            metadata = lane.channel.metadata(token=token, context=context)
            reply: nova_pb2.InvokeResponse = await lane.channel.unary(
                lane.stub.Invoke, request, metadata=metadata, timeout_s=timeout_s
            )
            return reply

    async def invoke_async(
        self, request: nova_pb2.InvokeAsyncRequest, *, token: str, context: CallContext, timeout_s: float
    ) -> nova_pb2.InvokeAsyncResponse:
        """Hand over a durable call; the answer comes once it is committed."""
        with self._lane() as lane:
            metadata = lane.channel.metadata(token=token, context=context)
            reply: nova_pb2.InvokeAsyncResponse = await lane.channel.unary(
                lane.stub.InvokeAsync, request, metadata=metadata, timeout_s=timeout_s
            )
            return reply

    def stream(
        self, request: nova_pb2.InvokeRequest, *, token: str, context: CallContext, timeout_s: float
    ) -> AbstractAsyncContextManager[Stream[Any, Any]]:
        """Call a function and lend the stream of its answer."""
        return self._open(lambda stub: stub.InvokeStream, request, token=token, context=context, timeout_s=timeout_s)

    def proxy(
        self, request: nova_pb2.ProxyHTTPRequest, *, token: str, context: CallContext, timeout_s: float
    ) -> AbstractAsyncContextManager[Stream[Any, Any]]:
        """Lend the stream of answers to a data-plane request."""
        return self._open(lambda stub: stub.ProxyHTTP, request, token=token, context=context, timeout_s=timeout_s)

    @asynccontextmanager
    async def _open(
        self,
        method: Callable[[NovaServiceStub], ServiceMethod[Any, Any]],
        request: Any,
        *,
        token: str,
        context: CallContext,
        timeout_s: float,
    ) -> AsyncIterator[Stream[Any, Any]]:
        with self._lane() as lane:
            metadata = lane.channel.metadata(token=token, context=context)
            async with lane.channel.open(method(lane.stub), metadata=metadata, timeout_s=timeout_s) as stream:
                await stream.send_message(request, end=True)
                yield stream

    @asynccontextmanager
    async def tunnel(self, *, token: str, context: CallContext, timeout_s: float) -> AsyncIterator[Stream[Any, Any]]:
        """Lend a stream both ways, of which nothing is said yet."""
        with self._lane() as lane:
            metadata = lane.channel.metadata(token=token, context=context)
            async with lane.channel.open(lane.stub.Tunnel, metadata=metadata, timeout_s=timeout_s) as stream:
                yield stream

    async def check_health(self) -> None:
        """Raise `Unavailable` unless comet says that it serves."""
        with self._lane() as lane:
            await check_health(lane.channel)

    def close(self) -> None:
        for lane in self._lanes:
            lane.channel.close()

    @contextmanager
    def _lane(self) -> Iterator[_Lane]:
        lane = self._pick()
        lane.calls += 1
        try:
            yield lane
        finally:
            lane.calls -= 1

    def _pick(self) -> _Lane:
        for lane in self._lanes:
            if lane.calls < _CALLS_A_CHANNEL:
                return lane
        if len(self._lanes) >= self._max_lanes:
            raise Overloaded("calls to comet", limit=self._max_calls)
        channel = self._connect()
        lane = _Lane(channel, NovaServiceStub(channel.grpc))
        self._lanes.append(lane)
        return lane


async def check_health(channel: PlaneChannel) -> None:
    """Ask `grpc.health.v1` of a plane; raise `Unavailable` unless it serves."""
    reply = await channel.unary(HealthStub(channel.grpc).Check, HealthCheckRequest(), metadata={}, timeout_s=_HEALTH_S)
    if reply.status != HealthCheckResponse.SERVING:
        raise Unavailable(channel.name, reason="it says that it does not serve")
