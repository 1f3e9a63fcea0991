"""`/fn/{name}`: the HTTP request is the function's event, and what it returns is the HTTP answer."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

from constellation.routes.registry import Match
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import REPLAYED, context_of, idempotency_key_of, timeout_of
from constellation.zenith.event import BodyReader
from constellation.zenith.execution import Execution
from constellation.zenith.http_event import answer_of, event_of, fingerprint_of
from constellation.zenith.invoke import GRACE_S, failure_of
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.socket_request import SocketRequest
from constellation.zenith.web_socket import WebSockets


class FunctionUrl:
    """Calls a function with an HTTP event, or with those of a WebSocket. Credentials of the platform are not part of the event."""

    def __init__(self, *, execution: Execution, sockets: WebSockets, bodies: BodyReader, max_timeout_s: float) -> None:
        self._execution, self._sockets, self._bodies, self._max_timeout_s = execution, sockets, bodies, max_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        if isinstance(request, SocketRequest):
            await self._sockets.serve(request, match, access)
            return
        name = unquote(match.params["name"])
        timeout_s = timeout_of(request, max_s=self._max_timeout_s)
        context = context_of(request)
        body = await self._bodies.read(request, match.route)
        path = "/" + match.params.get("rest", "")
        key = idempotency_key_of(request)
        if key:
            fingerprint = fingerprint_of(request, path=path, body=body)
            context = replace(context, idempotency_key=key, idempotency_fingerprint=fingerprint)
        reply = await self._execution.invoke(
            nova_pb2.InvokeRequest(
                function=name,
                payload=event_of(request, path=path, body=body),
                timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
            ),
            token=access.token,
            context=context,
            timeout_s=(self._max_timeout_s if timeout_s is None else timeout_s) + GRACE_S,
        )
        if reply.replayed:
            request.also.append(REPLAYED)
        if reply.error:
            raise failure_of(name, reply.error)
        answer = answer_of(name, reply.output or b"null")
        await request.answer(answer.status, answer.body, content_type=answer.content_type, headers=answer.headers)
