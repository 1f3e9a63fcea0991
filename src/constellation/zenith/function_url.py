"""`/fn/{name}`: the HTTP request is the function's event, and what it returns is the HTTP answer."""

from __future__ import annotations

from dataclasses import replace

from constellation.nova.domain.function_url import InvokeMode
from constellation.routes.registry import Match
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import (
    REPLAYED,
    context_of,
    idempotency_key_of,
    sticky_key_of,
    timeout_of,
    version_header,
)
from constellation.zenith.event import BodyReader
from constellation.zenith.execution import Execution
from constellation.zenith.http_event import answer_of, event_of, fingerprint_of
from constellation.zenith.invoke import GRACE_S, failure_of
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.socket_request import SocketRequest
from constellation.zenith.stream import STREAM_S, pass_on
from constellation.zenith.url_door import Preflight, UrlDoor, Visit
from constellation.zenith.url_stream import UrlAnswer
from constellation.zenith.web_socket import WebSockets

SOURCE = "url"


class FunctionUrl:
    """Calls a function with an HTTP event, or with those of a WebSocket. Credentials of the platform are not part of the event."""

    def __init__(
        self, *, execution: Execution, door: UrlDoor, sockets: WebSockets, bodies: BodyReader, max_timeout_s: float
    ) -> None:
        self._execution, self._door, self._sockets, self._bodies = execution, door, sockets, bodies
        self._max_timeout_s = max_timeout_s

    async def __call__(self, request: Request, match: Match, _access: Access | None, /) -> None:
        visit = await self._door.enter(request, match)
        if isinstance(visit, Preflight):
            await request.answer(204, b"", headers=visit.headers)
        elif isinstance(request, SocketRequest):
            await self._sockets.serve(request, match, visit.access)
        else:
            await self._serve(request, match, visit)

    async def _serve(self, request: Request, match: Match, visit: Visit) -> None:
        timeout_s = timeout_of(request, max_s=self._max_timeout_s)
        context = replace(context_of(request), source=SOURCE)
        body = await self._bodies.read(request, match.route)
        path = "/" + match.params.get("rest", "")
        key = idempotency_key_of(request)
        if key:
            fingerprint = fingerprint_of(request, path=path, body=body)
            context = replace(context, idempotency_key=key, idempotency_fingerprint=fingerprint)
        call = nova_pb2.InvokeRequest(
            function=visit.name,
            payload=event_of(request, path=path, body=body),
            timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
            qualifier=visit.qualifier,
            sticky_key=sticky_key_of(request),
            peer=request.peer,
        )
        token = visit.access.token
        if visit.url.invoke_mode is InvokeMode.STREAM:
            stream = self._execution.stream(call, token=token, context=context, timeout_s=STREAM_S)
            await pass_on(stream, request, UrlAnswer(request, visit.name))
            return
        limit_s = (self._max_timeout_s if timeout_s is None else timeout_s) + GRACE_S
        reply = await self._execution.invoke(call, token=token, context=context, timeout_s=limit_s)
        if reply.replayed:
            request.also.append(REPLAYED)
        if reply.error:
            raise failure_of(visit.name, reply.error)
        request.also.append(version_header(reply.version))
        answer = answer_of(visit.name, reply.output or b"null")
        await request.answer(answer.status, answer.body, content_type=answer.content_type, headers=answer.headers)
