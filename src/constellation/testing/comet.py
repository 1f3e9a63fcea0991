"""A comet without sandboxes: functions are coroutines of the test, the wire is real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpclib.server import Stream

from constellation.base.address import Address
from constellation.base.errors import NotFound
from constellation.base.ids import uuid7
from constellation.base.sockets import listen_tcp
from constellation.rpc.caller import CALLER, Caller, CallerVerifier
from constellation.rpc.server import Guarded, serving
from constellation.rpc.tls import ServerTls
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceBase

Function = Callable[[bytes], Awaitable[bytes]]  # JSON in, JSON out; raises HandlerRaised or a ConstellationError
Streaming = Callable[[bytes], AsyncGenerator[bytes, None]]  # JSON in, pieces out; raises the same


class HandlerRaised(Exception):
    """What a function raises to stand for a handler that raised; `error` is the JSON of it."""

    def __init__(self, error: bytes) -> None:
        super().__init__(error.decode())
        self.error = error


@dataclass(slots=True)
class FakeComet(NovaServiceBase):
    """Answers `Invoke` and `InvokeAsync` from `functions`, `InvokeStream` from `streams`, `ProxyHTTP` from `proxied`; keeps what it saw."""

    functions: dict[str, Function] = field(default_factory=dict)
    streams: dict[str, Streaming] = field(default_factory=dict)
    proxied: Callable[[Any, Stream[Any, Any]], Awaitable[None]] | None = None
    calls: list[tuple[Any, Caller]] = field(default_factory=list)
    accepted: list[Any] = field(default_factory=list)
    cancelled: int = 0
    keys: set[str] = field(default_factory=set)  # of calls with an idempotency key

    async def Invoke(self, stream: Stream[Any, Any]) -> None:  # noqa: N802  # the names of the proto
        request = await _message(stream)
        caller = CALLER.get()
        self.calls.append((request, caller))
        try:
            function = self.functions.get(request.function)
            if function is None:
                raise NotFound("function", request.function)
            reply = nova_pb2.InvokeResponse(
                request_id=str(caller.context.request_id),
                duration_ms=1.25,
                cold_start=False,
                version="1",
                replayed=caller.context.idempotency_key in self.keys,
            )
            if caller.context.idempotency_key:
                self.keys.add(caller.context.idempotency_key)
            try:
                reply.output = await function(request.payload)
            except HandlerRaised as raised:
                reply.error = raised.error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await stream.send_message(reply)

    async def InvokeStream(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _message(stream)
        caller = CALLER.get()
        self.calls.append((request, caller))
        function = self.streams.get(request.function)
        if function is None:
            raise NotFound("function", request.function)
        end = nova_pb2.StreamEnd(
            request_id=str(caller.context.request_id), duration_ms=1.25, cold_start=False, version="1"
        )
        try:
            async with aclosing(function(request.payload)) as pieces:
                async for piece in pieces:
                    await stream.send_message(nova_pb2.InvokeChunk(data=piece))
        except HandlerRaised as raised:
            end.error = raised.error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await stream.send_message(nova_pb2.InvokeChunk(end=end))

    async def InvokeDurable(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        raise NotFound("execution", (await _message(stream)).execution)

    async def InvokeAsync(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _message(stream)
        is_replay = any(
            request.idempotency_key and request.idempotency_key == known.idempotency_key for known in self.accepted
        )
        self.accepted.append(request)
        await stream.send_message(
            nova_pb2.InvokeAsyncResponse(id=str(uuid7()), status="replay" if is_replay else "queued")
        )

    async def ProxyHTTP(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _message(stream)
        self.calls.append((request, CALLER.get()))
        if self.proxied is None:
            raise NotFound("route", request.path)
        try:
            await self.proxied(request, stream)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def Tunnel(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _message(stream)
        raise NotFound("route", request.open.path)

    async def Stats(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        await stream.recv_message()
        await stream.send_message(nova_pb2.StatsResponse(instances=0))

    @asynccontextmanager
    async def serving(
        self, verifier: CallerVerifier, *, port: int = 0, tls: ServerTls | None = None
    ) -> AsyncIterator[Address]:
        """Serve on loopback for the length of the block, and lend the address."""
        listener, address = listen_tcp(Address("127.0.0.1", port))
        async with serving([Guarded(self, verifier)], listener=listener, tls=tls):
            yield address


async def _message(stream: Stream[Any, Any]) -> Any:
    request = await stream.recv_message()
    assert request is not None
    return request
