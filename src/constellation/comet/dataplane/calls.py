"""Calls over data-plane routes: streamed and durable.

A streamed answer is `text/plain; charset=utf-8`, piece by piece as the handler makes it; with
`Accept: text/event-stream` each piece is an event, the last one `done`, or `error` when something failed on the way.
What fails before the first byte has its own status. What fails after it can only cut the plain stream off: the body
never ends properly, so no client takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import UNSET, UnsetType

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.dataplane import events
from constellation.comet.dataplane.jobs import body_of
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.executor.executor import Executor
from constellation.routes.models.invocations import AsyncInvoke
from constellation.rpc.invoker import AsyncOptions, Invoked

_PIECES_IN_HAND = 8  # chosen: then the handler waits for the client
_PLAIN = "text/plain; charset=utf-8"


class HandlerFailed(ConstellationError):
    """The handler raised after a part of its answer was out."""

    code, http_status = "function_error", 502

    def __init__(self, function: str, error: bytes) -> None:
        super().__init__(f"{function}: the handler raised: {error[:2048].decode('utf-8', 'replace')}")


Item = bytes | Invoked | ConstellationError  # pieces, then how it ended


class CallRoutes:
    """Operations that run functions."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def invoke_stream(self, request: DataRequest) -> Answer:
        function = request.function
        send, receive = anyio.create_memory_object_stream[Item](_PIECES_IN_HAND)
        # The call lives in a task of the request: it ends with it even when the answer is never sent.
        request.tasks.start_soon(self._produce, request, function, send)
        first = await receive.receive()
        if isinstance(first, ConstellationError):
            receive.close()
            raise first
        if request.accepts_events:
            return Answer(body=_as_events(first, receive), headers=events.HEADERS, content_type=events.CONTENT_TYPE)
        if isinstance(first, Invoked) and first.error is not None:
            receive.close()
            return _handler_error(first, first.error)
        return Answer(
            body=_as_text(function, first, receive),
            headers={"X-Content-Type-Options": "nosniff"},
            content_type=_PLAIN,
        )

    async def _produce(self, request: DataRequest, function: str, send: MemoryObjectSendStream[Item]) -> None:
        with send:
            try:
                async with self._executor.stream(
                    request.caller, function, request.body, budget=request.budget
                ) as answer:
                    async for piece in answer:
                        await send.send(piece)
                await send.send(answer.end)
            except ConstellationError as error:
                await send.send(error)
            except anyio.BrokenResourceError:
                return  # the client hung up; leaving the block gave the call up

    async def invoke_async(self, request: DataRequest) -> Answer:
        wanted: AsyncInvoke = request.json(AsyncInvoke)
        key = idempotency_key(request, wanted.idempotency_key)
        options = AsyncOptions(
            max_attempts=wanted.max_attempts,
            backoff_base_ms=wanted.backoff_base_ms,
            backoff_max_ms=wanted.backoff_max_ms,
            idempotency_key=key,
            idempotency_ttl_s=wanted.idempotency_ttl_s,
        )
        payload = b"" if wanted.payload is UNSET else bytes(wanted.payload)
        enqueued = await self._executor.invoke_async(
            request.caller, request.function, payload, options, budget=request.budget
        )
        headers = {"Location": f"/async-invocations/{enqueued.job.id}"}
        if enqueued.is_replay:
            headers["X-Idempotency-Status"] = "replay"
        return Answer(body=body_of(enqueued.job), status=200 if enqueued.is_replay else 202, headers=headers)


async def _as_text(function: str, first: Item, rest: MemoryObjectReceiveStream[Item]) -> AsyncIterator[bytes]:
    with rest:
        item = first
        while isinstance(item, bytes):
            yield item
            item = await rest.receive()
    if isinstance(item, ConstellationError):
        raise item
    if item.error is not None:
        raise HandlerFailed(function, item.error)


async def _as_events(first: Item, rest: MemoryObjectReceiveStream[Item]) -> AsyncIterator[bytes]:
    pieces = events.TextPieces()
    with rest:
        item = first
        while isinstance(item, bytes):
            text = pieces.feed(item)
            if text:
                yield events.event(text)
            item = await rest.receive()
    left = pieces.feed(b"", is_last=True)
    if left:
        yield events.event(left)
    if isinstance(item, ConstellationError):
        yield events.event(_text(item.problem()), kind="error")
    elif item.error is not None:
        yield events.event(item.error.decode("utf-8", "replace"), kind="error")
    else:
        yield events.event(_text(_end_of(item)), kind="done")


def _handler_error(end: Invoked, error: bytes) -> Answer:
    """The handler raised before it made anything: answered as a plain call is."""
    body = _end_of(end) | {"output": None, "error": msgspec.Raw(error)}
    try:
        kind = msgspec.json.decode(error, type=_ErrorType).type
    except msgspec.DecodeError:
        kind = "Error"
    name = kind.encode("ascii", "replace")[:128].decode()
    return Answer(body=body, headers={"X-Nova-Function-Error": name if name.isprintable() else "Error"})


class _ErrorType(msgspec.Struct):
    type: str = "Error"


def _end_of(end: Invoked) -> dict[str, Any]:
    return {
        "request_id": end.request_id,
        "duration_ms": round(end.duration_ms, 3),
        "cold_start": end.cold_start,
        "version": end.version,
    }


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def idempotency_key(request: DataRequest, in_body: str | UnsetType) -> str:
    """Return the key that a request gives in its header or body, "" when it gives none."""
    header = request.headers.get("idempotency-key")
    if header is None:
        return "" if isinstance(in_body, UnsetType) else in_body
    if not 1 <= len(header) <= 256 or not header.isprintable():
        raise InvalidRequest("Idempotency-Key must be 1 to 256 printable characters", field="Idempotency-Key")
    if in_body not in (UNSET, header):
        raise InvalidRequest("Idempotency-Key and idempotency_key differ", field="idempotency_key")
    return header
