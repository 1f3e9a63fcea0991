"""Calling functions on an owner's behalf: the Protocol that nebula and corona use, and its gRPC form.

The other form is `comet.local`: the same Protocol over an executor in the same process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from constellation.base.address import parse_address
from constellation.nova.config.tls import CallerTlsSettings
from constellation.nova.domain.execution import Run
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.metadata import CallContext
from constellation.rpc.tls import caller_tls, renewing
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceStub


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoked:
    """The answer of one call; exactly one of `output` and `error` holds bytes of JSON."""

    request_id: str
    output: bytes | None
    error: bytes | None  # {type, message, stack}: the handler raised
    duration_ms: float
    cold_start: bool
    version: str
    is_replay: bool = False  # of the call that had this one's idempotency key first


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncOptions:
    """How a durable call is tried."""

    max_attempts: int = 3
    backoff_base_ms: int = 1000
    backoff_max_ms: int = 60_000
    idempotency_key: str = ""
    idempotency_ttl_s: int = 86_400
    source: str = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A durable call that is committed. `is_replay`: the idempotency key was known, `id` is the first one's."""

    id: str
    is_replay: bool


class Invoker(Protocol):
    """Calls a function in the scope of an identity token. Errors are `ConstellationError`s, whole problems."""

    async def invoke(
        self, function: str, payload: bytes, *, token: str, context: CallContext, timeout_s: float
    ) -> Invoked: ...

    async def invoke_durable(
        self, function: str, payload: bytes, *, run: Run, token: str, context: CallContext, timeout_s: float
    ) -> Invoked | None:
        """Run an execution on from its record; None: it waits for a time or an event."""
        ...

    async def invoke_async(
        self,
        function: str,
        payload: bytes,
        *,
        token: str,
        context: CallContext,
        options: AsyncOptions,
        timeout_s: float,
    ) -> Accepted: ...


class GrpcInvoker:
    """Comet at the other end of a channel."""

    def __init__(self, channel: PlaneChannel) -> None:
        self._channel = channel
        self._stub = NovaServiceStub(channel.grpc)

    async def invoke(
        self, function: str, payload: bytes, *, token: str, context: CallContext, timeout_s: float
    ) -> Invoked:
        reply = await self._channel.unary(
            self._stub.Invoke,
            nova_pb2.InvokeRequest(function=function, payload=payload, qualifier=context.qualifier),
            metadata=self._channel.metadata(token=token, context=context),
            timeout_s=timeout_s,
        )
        return _invoked(reply)

    async def invoke_durable(
        self, function: str, payload: bytes, *, run: Run, token: str, context: CallContext, timeout_s: float
    ) -> Invoked | None:
        reply = await self._channel.unary(
            self._stub.InvokeDurable,
            nova_pb2.InvokeDurableRequest(
                function=function,
                payload=payload,
                execution=str(run.execution_id),
                token=run.token,
                qualifier=context.qualifier,
            ),
            metadata=self._channel.metadata(token=token, context=context),
            timeout_s=timeout_s,
        )
        return _invoked(reply.answer) if reply.HasField("answer") else None

    async def invoke_async(
        self,
        function: str,
        payload: bytes,
        *,
        token: str,
        context: CallContext,
        options: AsyncOptions,
        timeout_s: float,
    ) -> Accepted:
        reply = await self._channel.unary(
            self._stub.InvokeAsync,
            nova_pb2.InvokeAsyncRequest(
                function=function,
                payload=payload,
                max_attempts=options.max_attempts,
                backoff_base_ms=options.backoff_base_ms,
                backoff_max_ms=options.backoff_max_ms,
                idempotency_key=options.idempotency_key,
                idempotency_ttl_s=options.idempotency_ttl_s,
                source=options.source,
                qualifier=context.qualifier,
            ),
            metadata=self._channel.metadata(token=token, context=context),
            timeout_s=timeout_s,
        )
        return Accepted(id=reply.id, is_replay=reply.status == "replay")


def _invoked(reply: nova_pb2.InvokeResponse) -> Invoked:
    return Invoked(
        request_id=reply.request_id,
        output=None if reply.error else reply.output,
        error=reply.error or None,
        duration_ms=reply.duration_ms,
        cold_start=reply.cold_start,
        version=reply.version,
        is_replay=reply.replayed,
    )


@asynccontextmanager
async def grpc_invoker(
    address: str, *, service_token: str, tls: CallerTlsSettings, where: str
) -> AsyncIterator[GrpcInvoker]:
    """Lend comet at HOST:PORT for the length of the block; it need not be there yet.

    Args:
        where: the place of `tls` in the configuration, such as "queue.comet_tls".

    Raises:
        InvalidRequest: `address` is not one.
        ConfigInvalid: a file of `tls` can not be used.
    """
    parsed = parse_address(address, default_host="127.0.0.1")
    secured = await caller_tls(tls, where=where, host=parsed.host)
    channel = PlaneChannel(name="comet", service_token=service_token, address=parsed, tls=secured)
    try:
        async with renewing(secured):
            yield GrpcInvoker(channel)
    finally:
        channel.close()
