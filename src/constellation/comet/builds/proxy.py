"""The only way out of a build: a forward proxy on a unix socket that reaches the configured package sources.

A client gets a tunnel (CONNECT), or one GET, to a host and port of the list, and nothing else. What a build may take
and send through all of its connections is bounded, and so is the silence of each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from constellation.comet.builds.request_head import HEAD_BYTES, HeadRefused, Wanted, read_head
from constellation.comet.strangers import refuse_descriptors

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    502: "Bad Gateway",
}
_CONNECTIONS = 48  # chosen: npm opens 15, cargo and go some 30
_CONNECT_S = 15.0
_HEAD_S = 10.0
_SILENCE_S = 90.0  # chosen: longer than registries think, shorter than a build
_PIECE_BYTES = 64 << 10


class TooMuch(Exception):
    """The build has used up what it may take or send."""


@dataclass(slots=True)
class Allowance:
    """What is left to one build."""

    down_bytes: int = 4 << 30  # chosen: the largest trees of wheels are about 3 GiB
    up_bytes: int = 64 << 20  # chosen: requests are small; a way to carry things out is not offered

    def spend(self, count: int, *, is_up: bool) -> None:
        """Count bytes; raises `TooMuch` when there are none left."""
        if is_up:
            self.up_bytes -= count
        else:
            self.down_bytes -= count
        if self.up_bytes < 0 or self.down_bytes < 0:
            raise TooMuch


class Proxy:
    """Serves the connections of one build."""

    def __init__(
        self, endpoints: frozenset[tuple[str, int]], *, say: Callable[[str], None], allowance: Allowance | None = None
    ) -> None:
        self._endpoints, self._say = endpoints, say
        self._allowance = allowance or Allowance()
        self._open = 0

    @asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Listen there for the length of the block; connections end with it. Who may reach it is up to its directory."""
        failure: Exception | None = None
        async with await anyio.create_unix_listener(path, mode=0o666) as listener, anyio.create_task_group() as tasks:
            refuse_descriptors(listener.extra(SocketAttribute.raw_socket))  # noqa: S610 (no Django)
            tasks.start_soon(listener.serve, self._serve)
            try:
                yield
            except Exception as error:  # noqa: BLE001 (the block's own, which the group would wrap)
                failure = error
            finally:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(self, client: SocketStream) -> None:
        self._open += 1
        try:
            async with client:
                await self._answer(client)
        except (OSError, TooMuch, anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            return  # the client sees that it ended; what is refused has been said
        finally:
            self._open -= 1

    async def _answer(self, client: SocketStream) -> None:
        try:
            wanted, rest, server = await self._admitted(client)
        except HeadRefused as refusal:
            body = f"{refusal.reason}\n".encode()
            head = f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}\r\nContent-Length: {len(body)}\r\n".encode()
            await client.send(head + b"Connection: close\r\n\r\n" + body)
            return
        async with server:
            if wanted.is_tunnel:
                await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                rest = wanted.opening  # of one request; what the client sends after it is not read as another
            if rest:
                self._spend(len(rest), is_up=True)
                await server.send(rest)
            async with anyio.create_task_group() as tasks:
                if wanted.is_tunnel:
                    tasks.start_soon(self._pass, client, server, True, tasks.cancel_scope)
                await self._pass(server, client, False, tasks.cancel_scope)

    async def _admitted(self, client: SocketStream) -> tuple[Wanted, bytes, SocketStream]:
        """Return what the client wants, what it said after that, and a connection to there."""
        if self._open > _CONNECTIONS:
            raise HeadRefused(429, f"more than {_CONNECTIONS} connections at a time")
        with anyio.fail_after(_HEAD_S):
            head, rest = await _head_of(client)
        wanted = read_head(head)
        if (wanted.host, wanted.port) not in self._endpoints:
            self._say(f"{wanted.host}:{wanted.port} is no package source of this platform; it can not be reached")
            raise HeadRefused(403, "no package source of this platform")
        return wanted, rest, await self._connected(wanted)

    async def _connected(self, wanted: Wanted) -> SocketStream:
        try:
            with anyio.fail_after(_CONNECT_S):
                return await anyio.connect_tcp(wanted.host, wanted.port)
        except (OSError, TimeoutError) as error:
            self._say(f"{wanted.host}:{wanted.port} can not be reached now: {error or 'no answer'}")
            raise HeadRefused(502, "the package source can not be reached") from error

    def _spend(self, count: int, *, is_up: bool) -> None:
        try:
            self._allowance.spend(count, is_up=is_up)
        except TooMuch:
            self._say("the build has transferred more than it may")
            raise

    async def _pass(self, source: ByteStream, sink: ByteStream, is_up: bool, both: anyio.CancelScope) -> None:
        """Carry one direction to its end. Whatever else ends it ends the other too; a server's silence does."""
        try:
            while True:
                with anyio.fail_after(None if is_up else _SILENCE_S):
                    piece = await source.receive(_PIECE_BYTES)
                self._spend(len(piece), is_up=is_up)
                with anyio.fail_after(_SILENCE_S):
                    await sink.send(piece)
        except anyio.EndOfStream:
            if is_up:
                await _send_eof(sink)
            else:
                both.cancel()
        except (OSError, TooMuch, anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            both.cancel()


async def _send_eof(sink: ByteStream) -> None:
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await sink.send_eof()


async def _head_of(client: SocketStream) -> tuple[bytes, bytes]:
    """Return the head without its empty line, and what came after it."""
    held = b""
    while b"\r\n\r\n" not in held:
        if len(held) > HEAD_BYTES:
            raise HeadRefused(400, "a head that is too long")
        try:
            held += await client.receive(4096)
        except anyio.EndOfStream:
            raise HeadRefused(400, "a head that is not whole") from None
    head, _, rest = held.partition(b"\r\n\r\n")
    return head, rest
