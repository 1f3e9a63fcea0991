"""One request at the gateway: its facts read once, its body read with a bound, its answer sent once."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from constellation.base.errors import BodyTimeout, ConstellationError, InvalidRequest, PayloadTooLarge
from constellation.base.ids import RequestId, uuid7
from constellation.nova.domain.ingress import Address
from constellation.rpc.hypercorn_parts import OF_CONNECTION
from constellation.rpc.metadata import request_id_from
from constellation.rpc.problems import PROBLEM_JSON, headers_of
from constellation.zenith.errors import ClientGone, HeadersTooLarge, UriTooLong
from constellation.zenith.limits import Budget

if TYPE_CHECKING:  # it is handed through
    from constellation.zenith.principals import Access

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PEER_EXTENSION = "constellation.peer"  # in the ASGI scope: what the edge tells beyond the standard
MAX_HEADERS = 100  # chosen: browsers send about 20
MAX_HEADER_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10
_LINGER_S = 1.0  # chosen: a client that is still sending reads our refusal in this time or never
_SEND_STALL_S = 60.0  # chosen: a client that takes nothing for so long is gone
_PIECE_BYTES = 64 << 10  # of an answer over HTTP/2: what must be taken in that time

# Read more than once a request or by more than one part; a second copy of any is refused: which one would count?
_SINGLE = frozenset({
    b"x-api-key", b"authorization", b"content-type", b"content-length", b"x-request-id", b"traceparent",
    b"x-nova-tenant", b"x-nova-namespace", b"x-nova-timeout-s", b"x-nova-invocation-type", b"x-nova-qualifier", b"x-nova-sticky",
    b"x-nova-call-depth", b"x-nova-call-chain", b"idempotency-key",
})  # fmt: skip


class Request:
    """What came in over one ASGI scope, and the way back."""

    __slots__ = (
        "_ends_at_s", "_limit_bytes", "_read_bytes", "_receive", "_send", "_timeout_s", "access", "address", "also", "body_done", "cancel",
        "client", "connection", "fields", "gone", "headers", "held_bytes", "http_version", "is_direct", "is_started", "made", "method", "of_connection", "path",
        "query", "request_id", "scheme", "server", "single", "status", "watch",
    )  # fmt: skip

    def __init__(self, scope: Message, receive: Receive, send: Send, *, path: str) -> None:
        self._receive, self._send = receive, send
        self._limit_bytes, self._timeout_s, self._ends_at_s, self._read_bytes = 0, 0.0, 0.0, 0
        self.held_bytes = 0
        self.http_version: str = scope["http_version"]
        self.scheme: str = scope.get("scheme", "http")  # of the client's connection
        self.method: str = scope["method"]
        self.path = path  # percent-encoded, without /v1
        self.query: bytes = scope["query_string"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.client: tuple[str, int] | None = scope["client"]
        self.server: tuple[str, int] | None = scope["server"]
        # Of the edge in front of us, if there is one: its handle of the connection, and whether no proxy's trace was seen.
        told: tuple[int, bool] | None = scope.get("extensions", {}).get(PEER_EXTENSION)
        self.connection, self.is_direct = told or (0, True)
        self.address: Address | None = None  # where it comes from; the gateway sees to it
        # What is known of the client's connection, if it is ours: the edge's carry the requests of many clients.
        self.of_connection: dict[str, Any] = {} if told else scope.get("state", {}).get(OF_CONNECTION, {})
        self.single: dict[bytes, bytes] = {}
        self.request_id: RequestId = RequestId(uuid7())
        self.also: list[tuple[bytes, bytes]] = []  # headers of whatever the answer will be
        self.access: Access | None = None  # once it is known who asks
        # What the plane behind says of it for the audit: the name of what was made, and which fields the body had.
        self.made = ""
        self.fields: tuple[str, ...] = ()
        self.is_started = False
        self.status = 0
        self.body_done = False
        self.gone = False
        self.cancel: anyio.CancelScope | None = None  # around the handler; a hang-up cancels it
        self.watch: anyio.CancelScope | None = None  # around the task that waits for the hang-up

    @property
    def peer(self) -> bytes:
        """Where it comes from, as comet is told."""
        return b"" if self.address is None else self.address.packed

    def read_head(self) -> None:
        """Read the headers that mean something here.

        Raises:
            UriTooLong, HeadersTooLarge: over the bounds.
                InvalidRequest: a header that must be single comes twice, or the end of the body is told twice.
        """
        single, size_bytes = self.single, 0
        repeated = None
        for name, value in self.headers:
            size_bytes += len(name) + len(value)
            if name in _SINGLE:
                if name in single:
                    repeated = name
                single[name] = value
        given = single.get(b"x-request-id")
        if given is not None:
            self.request_id = request_id_from(given.decode("latin-1"))
        is_chunked = self._is_chunked()
        self.body_done = single.get(b"content-length", b"0") == b"0" and not is_chunked
        if len(self.path) + len(self.query) > MAX_TARGET_BYTES:
            raise UriTooLong(limit_bytes=MAX_TARGET_BYTES)
        if len(self.headers) > MAX_HEADERS or size_bytes > MAX_HEADER_BYTES:
            raise HeadersTooLarge(limit_count=MAX_HEADERS, limit_bytes=MAX_HEADER_BYTES)
        if repeated is not None:
            raise InvalidRequest(f"the header {repeated.decode()} comes more than once", field=repeated.decode())
        if is_chunked and b"content-length" in single:
            # RFC 9112 section 6.3: a sign of request smuggling. A proxy before us may have gone by the other one.
            raise InvalidRequest("both Content-Length and Transfer-Encoding are given", field="Content-Length")

    def expect_body(self, *, limit_bytes: int, timeout_s: float) -> None:
        """Set the bounds of the body before any of it is read; refuse one that announces more."""
        self._limit_bytes, self._timeout_s = limit_bytes, timeout_s
        self._ends_at_s = anyio.current_time() + timeout_s
        announced = self.single.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limit_bytes:
            raise PayloadTooLarge(limit_bytes=limit_bytes)

    async def piece(self) -> bytes | None:
        """Return the next piece of the body, None at its end.

        Raises:
            PayloadTooLarge: more came than the bound, whatever was announced.
            BodyTimeout: the body is not complete, and its time is over.
            ClientGone: the client hung up before its end.
        """
        with anyio.CancelScope(deadline=self._ends_at_s):
            return await self._next_piece()
        raise BodyTimeout(after_s=self._timeout_s)

    async def body(self, *, limit_bytes: int, timeout_s: float, budget: Budget) -> bytes:
        """Return the whole body, its bytes counted in `budget` until the request is over; errors as in `piece`."""
        self.expect_body(limit_bytes=limit_bytes, timeout_s=timeout_s)
        if self.body_done:
            return b""
        pieces: list[bytes] = []
        with anyio.CancelScope(deadline=self._ends_at_s):
            while (piece := await self._next_piece()) is not None:
                budget.take(len(piece))
                self.held_bytes += len(piece)
                pieces.append(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        raise BodyTimeout(after_s=timeout_s)

    async def _next_piece(self) -> bytes | None:
        while not self.body_done:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            piece: bytes = message.get("body", b"")
            self.body_done = not message.get("more_body", False)
            self._read_bytes += len(piece)
            if self._read_bytes > self._limit_bytes:
                raise PayloadTooLarge(limit_bytes=self._limit_bytes)
            if piece:
                return piece
        return None

    async def until_gone(self) -> None:
        """Wait until the client hangs up. Only once the body is read."""
        while not self.gone:
            message = await self._receive()
            self.gone = message["type"] == "http.disconnect"

    async def answer(
        self, status: int, body: bytes, *, content_type: bytes = b"application/json",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:  # fmt: skip
        """Send a whole answer."""
        await self.start(
            status,
            [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *headers]
            if status != 204
            else headers,
        )
        if self.http_version == "2":
            # One client's streams could else hold as many requests in hand as they like, by a window that stays shut.
            for at in range(0, len(body), _PIECE_BYTES):
                await self.chunk(body[at : at + _PIECE_BYTES])
            await self.end()
        elif self.body_done:
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
        else:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._end_early()

    async def refuse(self, error: ConstellationError) -> None:
        """Answer with an error's problem, whose headers follow from it."""
        problem = error.problem()
        problem["request_id"] = str(self.request_id)
        headers = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
        if not self.body_done and self.http_version.startswith("1"):
            headers.append((b"connection", b"close"))
        await self.answer(
            error.http_status,
            json.dumps(problem, separators=(",", ":")).encode(),
            content_type=PROBLEM_JSON.encode(),
            headers=headers,
        )

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer."""
        self.is_started, self.status = True, status
        await self._send({
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, *self.also, (b"x-request-id", str(self.request_id).encode())],
        })  # fmt: skip

    async def chunk(self, body: bytes) -> None:
        """Send a piece of the body; waits while the client reads slower than we produce.

        Raises:
            ClientGone: it took nothing for a minute.
        """
        await self._send_body(body, is_last=False)

    async def end(self) -> None:
        """Say that the body is complete. An answer left without this is seen as cut off by the client.

        Raises:
            ClientGone: it took nothing for a minute.
        """
        if self.body_done:
            await self._send_body(b"", is_last=True)
        else:
            await self._end_early()

    async def _send_body(self, body: bytes, *, is_last: bool) -> None:
        with anyio.move_on_after(_SEND_STALL_S) as stalled:
            await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})
        if stalled.cancelled_caught:
            raise ClientGone

    async def _end_early(self) -> None:
        """End an answer given before the request's body was read.

        The rest is read and forgotten meanwhile: closing on unread bytes would reset the connection and take the
        answer with it, and the server's bounded queue, were nobody to empty it, would hold its own close up.
        """

        async def forget() -> None:
            while not self.gone:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self.gone = True
                elif not message.get("more_body", False):
                    self.body_done = True
                    complete.set()

        complete = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget)
            with anyio.move_on_after(_LINGER_S):
                await complete.wait()
            with anyio.move_on_after(_LINGER_S):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()

    def _is_chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)
