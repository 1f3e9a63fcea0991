"""One HTTP request at the control plane, as ASGI has it: its facts, its body read with a bound, its answer sent once.

No framework is between: what Quart does for a request it does not route cost as much as the request's own work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import anyio

from constellation.base.errors import BodyTimeout, PayloadTooLarge, UnsupportedMediaType

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DISCARDED_BYTES = 64 << 20  # chosen: a client that sends more than this over the limit is cut off
SEND_S = 60.0  # chosen: a gateway that takes nothing of a whole answer for so long is gone


class CallerGone(Exception):
    """Who asked hung up before the end of the body; nobody waits for an answer."""


@dataclass(slots=True, kw_only=True)
class HttpAnswer:
    """An answer: whole, or in pieces that come as they are made."""

    status: int
    content_type: str
    body: bytes | AsyncIterator[bytes]
    headers: dict[str, str] = field(default_factory=dict)


class HttpRequest:
    """What came in over one ASGI scope, and the way back."""

    __slots__ = ("_pairs", "_receive", "_send", "body_done", "cancel", "headers", "method", "path", "query", "watch")

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("ascii")  # percent-encoded, without the query
        self.query: bytes = scope["query_string"]
        self._pairs: list[tuple[bytes, bytes]] = scope["headers"]
        # By their lower-case names; of what comes twice the last, which is the gateway's own.
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in self._pairs
        }
        # A request without either header has no body (RFC 9112 section 6.3).
        self.body_done = "transfer-encoding" not in self.headers and self.headers.get("content-length", "0") == "0"
        self.cancel: anyio.CancelScope | None = None
        self.watch: anyio.CancelScope | None = None

    def first(self, name: str) -> str | None:
        """Return the first of a header that a client may send more than once, None when it sends none."""
        wanted = name.encode()
        return next((value.decode("latin-1") for each, value in self._pairs if each == wanted), None)

    async def body(self, *, limit_bytes: int, wait_s: float, wanted: str = "application/json") -> bytes:
        """Return the whole body.

        A body that is somewhat over the limit is read to its end and thrown away: closing a connection with unread
        bytes in it resets it, and the client would lose the answer.

        Raises:
            UnsupportedMediaType: it is not declared to be what is `wanted`.
            PayloadTooLarge: it is over `limit_bytes`.
            BodyTimeout: it did not arrive within `wait_s` seconds.
            CallerGone: see there.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != wanted:
            raise UnsupportedMediaType(media_type)
        announced = self.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit_bytes + DISCARDED_BYTES:
            raise PayloadTooLarge(limit_bytes=limit_bytes)
        read, size_bytes = bytearray(), 0
        with anyio.CancelScope(deadline=anyio.current_time() + wait_s):
            while not self.body_done and size_bytes <= limit_bytes + DISCARDED_BYTES:
                piece = await self._next_piece()
                size_bytes += len(piece)
                if size_bytes <= limit_bytes:
                    read += piece
            if size_bytes > limit_bytes:
                raise PayloadTooLarge(limit_bytes=limit_bytes)
            return bytes(read)
        raise BodyTimeout(after_s=wait_s)

    async def until_gone(self) -> None:
        """Wait until the caller hangs up. Only once the body is read."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def answer(self, answer: HttpAnswer) -> None:
        """Send an answer; what is left of the request's body meanwhile is read and forgotten, so that it holds nothing up."""
        if self.body_done:
            await self._answer(answer)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.until_gone)
            await self._answer(answer)
            tasks.cancel_scope.cancel()

    async def _answer(self, answer: HttpAnswer) -> None:
        headers = [(b"content-type", answer.content_type.encode("latin-1"))]
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        body = answer.body
        if isinstance(body, bytes):
            headers.append((b"content-length", str(len(body)).encode()))
            with anyio.move_on_after(SEND_S):
                await self._send(start)
                await self._send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await self._send(start)
        async with aclosing(body) if isinstance(body, AsyncGenerator) else nullcontext():
            async for piece in body:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next_piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        self.body_done = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece
