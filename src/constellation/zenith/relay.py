"""Routes that another plane serves: to comet over gRPC `ProxyHTTP`, to nova over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from math import inf
from typing import Any

from grpclib.client import Stream

from constellation.base.errors import ConstellationError, Unavailable
from constellation.routes.registry import Match
from constellation.routes.telling import FIELDS, MADE
from constellation.rpc.metadata import CLIENT, IDENTITY, REQUEST_ID, TRACEPARENT
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import context_of
from constellation.zenith.control import ControlPlane
from constellation.zenith.execution import Execution
from constellation.zenith.headers import forwarded, returned
from constellation.zenith.limits import Budget
from constellation.zenith.principals import Access
from constellation.zenith.request import Request

_ANSWER_S = 60.0  # chosen: the longest that a question to either plane may take
_STREAM_S = 3600.0  # chosen: a log is followed for an hour, then the client asks again


class ProxyRelay:
    """Comet's data-plane routes. The answer is passed on piece by piece, no faster than the client takes it."""

    def __init__(self, *, execution: Execution, budget: Budget, max_body_bytes: int, read_timeout_s: float) -> None:
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
            peer=request.peer,
        )
        answer = _Passing(request)
        try:
            async with self._execution.proxy(
                message, token=access.token, context=context, timeout_s=_STREAM_S if route.streams else _ANSWER_S
            ) as stream:
                head = await _head(stream)
                answer.head(head.status, ((header.name.encode("latin-1"), header.value) for header in head.headers))
                if route.streams:  # the client waits for the head of what may be silent for long
                    await answer.start()
                if head.body:
                    await answer.piece(head.body)
                async for part in stream:
                    if part.body:
                        await answer.piece(part.body)
                await stream.recv_trailing_metadata()
        except ConstellationError:
            if not answer.is_whole:
                raise
        await answer.end()


async def _head(stream: Stream[Any, Any]) -> Any:
    message = await stream.recv_message()
    if message is None:
        raise Unavailable("comet", reason="its answer has no head")
    return message


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
        if request.client is not None:
            headers.append((CLIENT.encode(), request.client[0].encode("ascii", "replace")))
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
            timeout_s=_STREAM_S if match.route.streams else _ANSWER_S,
        ) as answer:
            passing = _Passing(request)
            passing.head(answer.status, answer.headers)
            async for chunk in answer.body:
                await passing.piece(chunk)
        await passing.end()


class _Passing:
    """An answer on its way through.

    Its head waits for the first of the body: a plane that dies between the two leaves us free to send a problem. And
    one that dies behind the last of an announced body leaves an answer that is whole: to cut the connection then
    would hit the client's next request on it.
    """

    def __init__(self, request: Request) -> None:
        self._request, self._status = request, 0
        self._headers: Sequence[tuple[bytes, bytes]] = ()
        self._left_bytes = inf

    @property
    def is_whole(self) -> bool:
        """Every byte that the head announced was passed on."""
        return self._left_bytes == 0

    def head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        headers = list(headers)
        self._status, self._headers = status, returned(headers)
        for name, value in headers:
            if name.lower() == MADE.encode():
                self._request.made = value.decode("latin-1")
            elif name.lower() == FIELDS.encode():
                self._request.fields = tuple(value.decode("latin-1").split(","))
        for name, value in self._headers:
            if name.lower() == b"content-length" and value.isdigit():
                self._left_bytes = int(value)

    async def start(self) -> None:
        if not self._request.is_started:
            await self._request.start(self._status, self._headers)

    async def piece(self, body: bytes) -> None:
        await self.start()
        await self._request.chunk(body)
        self._left_bytes -= len(body)

    async def end(self) -> None:
        await self.start()
        await self._request.end()


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    while (piece := await request.piece()) is not None:
        yield piece
