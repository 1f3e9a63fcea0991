"""`POST /functions/{name}/invoke`: the route that everything else is measured by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import msgspec

from constellation.base.errors import InvalidRequest
from constellation.routes.registry import Match
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import (
    MAX_KEY_BYTES,
    REPLAYED,
    check_json_type,
    context_of,
    idempotency_key_of,
    qualifier_of,
    sticky_key_of,
    timeout_of,
    version_header,
)
from constellation.zenith.errors import FunctionFailed
from constellation.zenith.event import EventReader
from constellation.zenith.execution import Execution
from constellation.zenith.headers import text
from constellation.zenith.principals import Access
from constellation.zenith.request import Request

# Comet ends a call at its deadline and says how; its answer must not meet a gateway that has given up already.
GRACE_S = 2.0
_COMMIT_S = 10.0  # an accepted job is one insert away


class _HandlerError(msgspec.Struct):
    type: str = "Error"
    message: str = ""


class Invoke:
    """Calls a function with a JSON event, and splices its output, untouched, into the answer."""

    def __init__(self, *, execution: Execution, events: EventReader, max_timeout_s: float) -> None:
        self._execution, self._events, self._max_timeout_s = execution, events, max_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        name = unquote(match.params["name"])
        check_json_type(request)
        timeout_s = timeout_of(request, max_s=self._max_timeout_s)
        context = context_of(request)
        is_event = _is_event(request)
        payload = await self._events.read(request, match.route)
        if is_event:
            await self._accept(request, name, payload, access)
            return
        key = idempotency_key_of(request)
        reply = await self._execution.invoke(
            nova_pb2.InvokeRequest(
                function=name,
                payload=payload,
                timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
                qualifier=qualifier_of(request),
                sticky_key=sticky_key_of(request),
                peer=request.peer,
            ),
            token=access.token,
            context=replace(context, idempotency_key=key) if key else context,
            timeout_s=(self._max_timeout_s if timeout_s is None else timeout_s) + GRACE_S,
        )
        if reply.replayed:
            request.also.append(REPLAYED)
        await answer_whole(request, reply)

    async def _accept(self, request: Request, name: str, payload: bytes, access: Access) -> None:
        """Hand the call over as a durable one; 202 once it is committed."""
        given = request.single.get(b"idempotency-key", b"")
        key = text(given, header="Idempotency-Key", max_bytes=MAX_KEY_BYTES)
        reply = await self._execution.invoke_async(
            nova_pb2.InvokeAsyncRequest(
                function=name,
                payload=payload,
                idempotency_key=key,
                source="api",
                qualifier=qualifier_of(request),
                peer=request.peer,
            ),
            token=access.token,
            context=context_of(request),
            timeout_s=_COMMIT_S,
        )
        headers = [(b"location", f"/async-invocations/{reply.id}".encode())]
        is_replay = reply.status == "replay"
        if is_replay:
            headers.append((b"x-idempotency-status", b"replay"))
        body = msgspec.json.encode({"id": reply.id, "status": reply.status, "function": name})
        await request.answer(200 if is_replay else 202, body, headers=headers)


async def answer_whole(request: Request, reply: Any) -> None:
    """Answer with what comet says of a call in one message: its output, or what the handler raised."""
    tail = b',"duration_ms":%.3f,"cold_start":%s,"version":%s}' % (
        reply.duration_ms,
        b"true" if reply.cold_start else b"false",
        msgspec.json.encode(reply.version),
    )
    head = b'{"request_id":"%s","output":' % (reply.request_id or str(request.request_id)).encode()
    error: bytes = reply.error
    if error:
        await request.answer(
            200,
            b"".join((head, b'null,"error":', error, tail)),
            headers=[(b"x-nova-function-error", error_type(error)), version_header(reply.version)],
        )
    else:
        await request.answer(
            200,
            b"".join((head, reply.output or b"null", b',"error":null', tail)),
            headers=[version_header(reply.version)],
        )


def error_type(error: bytes) -> bytes:
    """Return the type in a handler's error, fit for a header."""
    return _decode_error(error).type.encode("ascii", "replace")[:128].translate(None, b"\r\n\0") or b"Error"


def failure_of(function: str, error: bytes) -> FunctionFailed:
    """Return what a handler raised, as those are told who did not call it themselves."""
    told = _decode_error(error)
    return FunctionFailed(function, type=told.type, message=told.message[:1000])


def _decode_error(error: bytes) -> _HandlerError:
    try:
        return msgspec.json.decode(error, type=_HandlerError)
    except msgspec.DecodeError:
        return _HandlerError()


def _is_event(request: Request) -> bool:
    given = request.single.get(b"x-nova-invocation-type")
    if given is None or given.lower() == b"requestresponse":
        return False
    if given.lower() == b"event":
        return True
    raise InvalidRequest("X-Nova-Invocation-Type must be RequestResponse or Event", field="X-Nova-Invocation-Type")
