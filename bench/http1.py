"""A lean HTTP/1.1 client for load: one connection, one request at a time, kept alive, parsed strictly.

httpx costs several hundred microseconds a request on one core and would be what is measured. This one writes bytes
that were made beforehand and reads the status and the body's end, nothing else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 64 << 20


class BadAnswer(Exception):
    """The server's bytes are not an HTTP/1.1 answer as this client can read it."""


class Broken(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go."""

    host: str
    port: int
    is_tls: bool
    prefix: str  # of every path
    authority: str


def target_of(url: str) -> Target:
    """Read "http://host:port/prefix".

    Raises:
        ValueError: it is not such an address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not http://HOST:PORT")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(
        host=parts.hostname,
        port=port,
        is_tls=parts.scheme == "https",
        prefix=parts.path.rstrip("/"),
        authority=parts.netloc.rpartition("@")[2],
    )


def request_bytes(
    target: Target, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a whole request, ready to be written again and again."""
    lines = [f"{method} {target.prefix}{path} HTTP/1.1", f"host: {target.authority}"]
    given = {"content-type": "application/json", **(headers or {})} if body else dict(headers or {})
    lines += [f"{name}: {value}" for name, value in given.items()]
    if body or method not in ("GET", "HEAD", "DELETE"):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    is_reusable: bool


class AnswerReader:
    """Parses one answer from bytes as they come; no I/O."""

    __slots__ = ("_at", "_buffer", "_head", "_parts")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[int, int | None, bool] | None = None  # status, length (None: chunked), keep-alive
        self._parts: list[bytes] = []
        self._at = 0  # where the next chunk begins

    def feed(self, data: bytes) -> Answer | None:
        """Return the answer once it is whole.

        Raises:
            BadAnswer: it is malformed, too large, or more came than one answer.
        """
        self._buffer += data
        while self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise BadAnswer("the head does not end")
                return None
            head = _head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if head[0] >= 200:
                self._head = head
        status, length, is_kept = self._head
        if length is None:
            return self._chunked(status, is_kept)
        if len(self._buffer) < length:
            return None
        if len(self._buffer) > length:
            raise BadAnswer("bytes behind the answer")
        return Answer(status, bytes(self._buffer), is_kept)

    def _chunked(self, status: int, is_kept: bool) -> Answer | None:
        while True:
            end = self._buffer.find(b"\r\n", self._at)
            if end < 0:
                if len(self._buffer) - self._at > 1024:
                    raise BadAnswer("a chunk's size does not end")
                return None
            digits = bytes(self._buffer[self._at : end]).partition(b";")[0].strip()
            try:
                size = int(digits, 16) if digits and not digits.strip(b"0123456789abcdefABCDEF") else -1
            except ValueError:
                size = -1
            if size < 0 or size > MAX_BODY_BYTES:
                raise BadAnswer(f"{digits[:20]!r} is no size of a chunk")
            start = end + 2
            if len(self._buffer) < start + size + 2:
                return None
            if self._buffer[start + size : start + size + 2] != b"\r\n":
                raise BadAnswer("a chunk does not end where it says (trailers are not read)")
            if size == 0:
                if len(self._buffer) > start + 2:
                    raise BadAnswer("bytes behind the answer")
                return Answer(status, b"".join(self._parts), is_kept)
            self._parts.append(bytes(self._buffer[start : start + size]))
            del self._buffer[: start + size + 2]
            self._at = 0


def _head(raw: bytes) -> tuple[int, int | None, bool]:
    lines = raw.split(b"\r\n")
    version, _, rest = lines[0].partition(b" ")
    code = rest[:3]
    if version != b"HTTP/1.1" or not code.isdigit() or len(code) != 3 or rest[3:4] not in (b"", b" "):
        raise BadAnswer(f"{lines[0][:40]!r} is no status line")
    status = int(code)
    length: int | None = 0 if status in (204, 304) or status < 200 else -1
    is_kept = True
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadAnswer(f"{line[:40]!r} is no header")
        name, value = name.lower(), value.strip()
        if name == b"content-length":
            if not value.isdigit() or int(value) > MAX_BODY_BYTES or length is None or length > 0:
                raise BadAnswer(f"content-length {value[:20]!r}")
            length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or (length is not None and length > 0):
                raise BadAnswer(f"transfer-encoding {value[:20]!r}")
            length = None
        elif name == b"connection" and value.lower() == b"close":
            is_kept = False
    if length == -1:
        raise BadAnswer("neither content-length nor chunked")
    return status, length, is_kept


class Connection(asyncio.Protocol):
    """A kept-alive connection. Not for two requests at once; closed for good after any failure."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self.is_open = False

    @classmethod
    async def open(cls, target: Target, *, timeout_s: float) -> Connection:
        """Connect.

        Raises:
            OSError: nobody listens, or not within `timeout_s` (TimeoutError is one).
        """
        loop = asyncio.get_running_loop()
        tls = ssl.create_default_context() if target.is_tls else None
        async with asyncio.timeout(timeout_s):
            _, connection = await loop.create_connection(cls, target.host, target.port, ssl=tls)
        return connection

    async def ask(self, request: bytes, *, timeout_s: float) -> Answer:
        """Send a request and return its answer.

        Raises:
            Broken, BadAnswer: the connection is closed then.
            TimeoutError: likewise.
        """
        if not self.is_open or self._transport is None:
            raise Broken("closed")
        self._reader = AnswerReader()
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._fail, TimeoutError())
        try:
            answer = await self._waiting
        finally:
            timer.cancel()
            self._waiting = None
        if not answer.is_reusable:
            self.close()
        return answer

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport, self.is_open = cast("asyncio.Transport", transport), True

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._waiting is None or self._waiting.done():
            self._fail(BadAnswer("bytes that nobody asked for"))
            return
        try:
            answer = self._reader.feed(data)
        except BadAnswer as error:
            self._fail(error)
            return
        if answer is not None:
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(Broken(str(exc or "closed by the server")))

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
