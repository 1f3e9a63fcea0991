"""Routes that another plane serves: to comet over gRPC `ProxyHTTP`, to nova over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from constellation.base.errors import Unavailable
from constellation.routes.registry import Match
from constellation.rpc.metadata import IDENTITY, REQUEST_ID, TRACEPARENT
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import context_of
from constellation.zenith.control import ControlPlane
from constellation.zenith.execution import Execution
from constellation.zenith.headers import forwarded, returned
from constellation.zenith.limits import BodyBudget
from constellation.zenith.principals import Access
from constellation.zenith.request import Request

_ANSWER_S = 60.0  # chosen: the longest that a question to either plane may take
_STREAM_S = 3600.0  # chosen: a log is followed for an hour, then the client asks again


class ProxyRelay:
    """Comet's data-plane routes. The answer is passed on piece by piece, no faster than the client takes it."""

    def __init__(self, *, execution: Execution, budget: BodyBudget, max_body_bytes: int, read_timeout_s: float) -> None:
        self._execution, self._budget = execution, budget
        self._max_body_bytes, self._read_timeout_s = max_body_bytes, read_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        route = match.route
        context = context_of(request)
        body = await request.body(
            limit_bytes=route.max_body_bytes or self._max_body_bytes,
            timeout_s=self._read_timeout_s,
            budget=self._budget,
        )
        message = nova_pb2.ProxyHTTPRequest(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=[
                nova_pb2.Header(name=name.decode("latin-1"), value=value) for name, value in forwarded(request.headers)
            ],
            body=body,
        )
        async with self._execution.proxy(
            message, token=access.token, context=context, timeout_s=_STREAM_S if route.streams else _ANSWER_S
        ) as stream:
            head = await stream.recv_message()
            if head is None:
                raise Unavailable("comet", reason="its answer has no head")
            headers = returned((header.name.encode("latin-1"), header.value) for header in head.headers)
            if route.streams:  # the client waits for the head of what may be silent for long
                await request.start(head.status, headers)
            if head.body:
                await _pass_on(request, head.status, headers, head.body)
            async for part in stream:
                if part.body:
                    await _pass_on(request, head.status, headers, part.body)
            await stream.recv_trailing_metadata()
        await _end(request, head.status, headers)


class HttpRelay:
    """Nova's routes: bodies streamed both ways over a pooled connection."""

    def __init__(self, *, control: ControlPlane, max_body_bytes: int, read_timeout_s: float) -> None:
        self._control = control
        self._max_body_bytes, self._read_timeout_s = max_body_bytes, read_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        headers = forwarded(request.headers)
        headers = [(name, value) for name, value in headers if name != TRACEPARENT.encode()]
        headers.append(self._control.authorization)
        context = context_of(request)
        headers.append((REQUEST_ID.encode(), str(request.request_id).encode()))
        if context.traceparent:
            headers.append((TRACEPARENT.encode(), context.traceparent.encode()))
        if access is not None:
            headers.append((IDENTITY.encode(), access.token.encode()))
        announced = request.single.get(b"content-length")
        if announced is not None:
            headers.append((b"content-length", announced))
        elif not request.body_done:
            headers.append((b"transfer-encoding", b"chunked"))
        request.expect_body(
            limit_bytes=match.route.max_body_bytes or self._max_body_bytes, timeout_s=self._read_timeout_s
        )
        target = request.path.encode("latin-1") + (b"?" + request.query if request.query else b"")
        async with self._control.relay(
            method=request.method,
            target=target,
            headers=headers,
            body=None if request.body_done else _pieces(request),
            timeout_s=_ANSWER_S,
        ) as answer:
            status, answered = answer.status_code, returned(answer.headers.raw)
            async for chunk in answer.aiter_raw():
                await _pass_on(request, status, answered, chunk)
        await _end(request, status, answered)


# A plane that dies between the head of its answer and the first of the body leaves us free to say so, as long as the
# head was not passed on: the client gets a problem to read instead of a cut connection.


async def _pass_on(request: Request, status: int, headers: Sequence[tuple[bytes, bytes]], piece: bytes) -> None:
    if not request.is_started:
        await request.start(status, headers)
    await request.chunk(piece)


async def _end(request: Request, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    if not request.is_started:
        await request.start(status, headers)
    await request.end()


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    while (piece := await request.piece()) is not None:
        yield piece
