"""The gRPC face of the executor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from grpclib.server import Stream

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.dataplane.mount import Mount
from constellation.comet.dataplane.status import StatusRoutes
from constellation.comet.executor.budget import Budget, budget
from constellation.comet.executor.executor import Executor
from constellation.comet.executor.meters import Meters
from constellation.comet.executor.once import Once, refuse_key
from constellation.comet.executor.turn import Turn
from constellation.comet.qualified import divided, qualified
from constellation.comet.sandboxes.tunnels import Piece, Tunnels, relay
from constellation.nova.domain.access import Permission, authorize
from constellation.nova.domain.alias import MAX_KEY_CHARS
from constellation.nova.domain.execution import Run
from constellation.rpc.asgi import HttpHead, exchange
from constellation.rpc.caller import CALLER, Caller
from constellation.rpc.invoker import AsyncOptions, Invoked
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceBase

_CHUNK_BYTES = 256 << 10  # of a proxied body; chosen: well below what HTTP/2 windows hold


class NovaServicer(NovaServiceBase):
    """Answers planes of this platform; who calls is checked before (see `rpc.server.Guarded`)."""

    def __init__(
        self,
        executor: Executor,
        once: Once,
        dataplane: Mount,
        status: StatusRoutes,
        meters: Meters,
        clock: Clock,
        *,
        learn: Callable[[Caller], None],
        tunnels: Tunnels | None = None,
    ) -> None:
        self._tunnels = tunnels
        self._executor, self._once, self._dataplane, self._status = executor, once, dataplane, status
        self._meters, self._clock, self._learn = meters, clock, learn

    async def Invoke(self, stream: Stream[Any, Any]) -> None:  # noqa: N802  # names of the proto
        request = await _request(stream)
        caller, function = _addressed(_caller(request.peer), request)
        self._learn(caller)
        calls = self._once if caller.context.idempotency_key else self._executor
        answer = await calls.invoke(caller, function, request.payload, budget=self._budget(stream, request.timeout_ms))
        await stream.send_message(_answer(answer))

    async def InvokeDurable(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _request(stream)
        caller = qualified(CALLER.get(), request.qualifier)
        turn = Turn(Run(tenant=caller.identity.tenant, execution_id=_uuid(request.execution), token=request.token))
        answer = await self._executor.invoke_durable(
            caller, request.function, request.payload, turn, budget=self._budget(stream, 0)
        )
        response = nova_pb2.InvokeDurableResponse(answer=None if answer is None else _answer(answer))
        await stream.send_message(response)

    async def InvokeStream(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _request(stream)
        caller, function = _addressed(_caller(request.peer), request)
        refuse_key(caller.context.idempotency_key)
        self._learn(caller)
        limit = self._budget(stream, request.timeout_ms)
        async with self._executor.stream(caller, function, request.payload, budget=limit) as answer:
            async for piece in answer:
                await stream.send_message(nova_pb2.InvokeChunk(data=piece))
        await stream.send_message(nova_pb2.InvokeChunk(end=_end(answer.end)))

    async def InvokeAsync(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _request(stream)
        defaults = AsyncOptions()
        options = AsyncOptions(
            max_attempts=request.max_attempts or defaults.max_attempts,
            backoff_base_ms=request.backoff_base_ms or defaults.backoff_base_ms,
            backoff_max_ms=request.backoff_max_ms or defaults.backoff_max_ms,
            idempotency_key=request.idempotency_key,
            idempotency_ttl_s=request.idempotency_ttl_s or defaults.idempotency_ttl_s,
            source=request.source or defaults.source,
        )
        function, qualifier = divided(request.function, request.qualifier)
        caller = qualified(_caller(request.peer), qualifier)
        enqueued = await self._executor.invoke_async(
            caller, function, request.payload, options, budget=self._budget(stream, 0)
        )
        status = "replay" if enqueued.is_replay else "queued"
        await stream.send_message(nova_pb2.InvokeAsyncResponse(id=str(enqueued.job.id), status=status))

    async def ProxyHTTP(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        request = await _request(stream)
        CALLER.set(_caller(request.peer))
        self._dataplane.limited(stream.deadline.time_remaining() if stream.deadline else None)
        headers = [(header.name.lower().encode("latin-1", "replace"), header.value) for header in request.headers]
        try:
            async with exchange(
                self._dataplane,
                method=request.method,
                path=request.path,
                query=request.query,
                headers=headers,
                body=request.body,
            ) as answer:
                # An answer of known, small length goes out in one message with its head: a gateway that saw the one
                # has the other, whatever happens to this process in between.
                whole = b"".join([body async for body in answer.body]) if _is_small(answer.head) else b""
                await stream.send_message(
                    nova_pb2.ProxyHTTPResponse(
                        status=answer.head.status,
                        headers=[
                            nova_pb2.Header(name=name.decode("latin-1"), value=value)
                            for name, value in answer.head.headers
                        ],
                        body=whole,
                    )
                )
                async for body in answer.body:
                    for at in range(0, len(body), _CHUNK_BYTES):
                        await stream.send_message(nova_pb2.ProxyHTTPResponse(body=body[at : at + _CHUNK_BYTES]))
        except BaseExceptionGroup as group:
            # A stream that broke off after its first byte: say why in the trailer, so that the gateway cuts it off too.
            cause = _only(group)
            if cause is None:
                raise
            raise cause from group

    async def Tunnel(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        first = await _request(stream)
        if self._tunnels is None:
            raise InvalidRequest("this plane has no sandboxes")
        try:
            async with self._tunnels.open(CALLER.get().identity, first.open.path, first.open.query) as tunnel:
                await stream.send_message(nova_pb2.TunnelPiece())
                await relay(
                    tunnel, inwards=_pieces(stream), outwards=lambda piece: stream.send_message(_message(piece))
                )
        except BaseExceptionGroup as group:
            cause = _only(group)
            if cause is None:
                raise
            raise cause from group

    async def Stats(self, stream: Stream[Any, Any]) -> None:  # noqa: N802
        await _request(stream)
        identity = CALLER.get().identity
        authorize(identity, Permission.METRICS_READ)
        functions = self._status.functions(identity, every_scope=identity.is_platform_admin)
        await stream.send_message(
            nova_pb2.StatsResponse(
                functions=[
                    nova_pb2.FunctionStats(
                        tenant=tenant,
                        namespace=namespace,
                        function=each.function,
                        idle=each.idle,
                        busy=each.busy,
                        booting=each.booting,
                        inflight=each.inflight,
                        queued=each.queued,
                    )
                    for tenant, namespace, each in functions
                ],
                instances=sum(each.idle + each.busy + each.booting for _, _, each in functions),
                invocations=self._meters.invocations_total,
                cold_starts=self._meters.cold_starts_total,
                uptime_s=self._status.uptime_s,
            )
        )

    def _budget(self, stream: Stream[Any, Any], timeout_ms: int) -> Budget:
        deadline_s = stream.deadline.time_remaining() if stream.deadline else None
        return budget(self._clock.monotonic_s(), timeout_ms=timeout_ms, deadline_s=deadline_s)


def _caller(peer: bytes) -> Caller:
    """Return who calls, and from where."""
    caller = CALLER.get()
    return replace(caller, context=replace(caller.context, peer=peer)) if peer else caller


def _is_small(head: HttpHead) -> bool:
    length = next((value for name, value in head.headers if name.lower() == b"content-length"), None)
    return length is not None and int(length) <= _CHUNK_BYTES


async def _pieces(stream: Stream[Any, Any]) -> AsyncIterator[Piece]:
    while (message := await stream.recv_message()) is not None:
        yield Piece(data=message.data, control=message.control, end=message.end)


def _message(piece: Piece) -> nova_pb2.TunnelPiece:
    return nova_pb2.TunnelPiece(data=piece.data, error=piece.error, control=piece.control, end=piece.end)


async def _request(stream: Stream[Any, Any]) -> Any:
    request = await stream.recv_message()
    if request is None:
        raise InvalidRequest("the call carries no message")
    return request


def _addressed(caller: Caller, request: Any) -> tuple[Caller, str]:
    """Return the caller with the version that its request asks for, and the function's name."""
    function, qualifier = divided(request.function, request.qualifier)
    if not qualifier:
        return caller, function
    if len(request.sticky_key) > MAX_KEY_CHARS:
        raise InvalidRequest(f"at most {MAX_KEY_CHARS} characters", field="sticky_key")
    return qualified(caller, qualifier, sticky=request.sticky_key), function


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidRequest("the execution's id is no UUID", field="execution") from error


def _answer(answer: Invoked) -> nova_pb2.InvokeResponse:
    return nova_pb2.InvokeResponse(
        request_id=answer.request_id,
        output=answer.output or b"",
        error=answer.error or b"",
        duration_ms=answer.duration_ms,
        cold_start=answer.cold_start,
        version=answer.version,
        replayed=answer.is_replay,
    )


def _end(answer: Invoked) -> nova_pb2.StreamEnd:
    return nova_pb2.StreamEnd(
        request_id=answer.request_id,
        error=answer.error or b"",
        duration_ms=answer.duration_ms,
        cold_start=answer.cold_start,
        version=answer.version,
    )


def _only(group: BaseExceptionGroup[BaseException]) -> ConstellationError | None:
    """Return the one error of ours that a group of task failures is made of."""
    found: Sequence[BaseException] = group.exceptions
    while len(found) == 1 and isinstance(found[0], BaseExceptionGroup):
        found = found[0].exceptions
    return found[0] if len(found) == 1 and isinstance(found[0], ConstellationError) else None
