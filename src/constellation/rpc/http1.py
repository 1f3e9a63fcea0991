"""Requests to another plane over pooled HTTP/1.1 connections, as they are: a gateway changes nothing on their way.

httpx and its pool take more than 2 ms of Python for each of 32 requests at a time, most of it for looking through the
pool; h11, which is beneath them, is used here without them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import h11

_HEAD_BYTES = 64 << 10  # of an answer; chosen: what our own servers take of a request
_READ_BYTES = 64 << 10
Headers = Sequence[tuple[bytes, bytes]]


class PeerLost(Exception):
    """The other side can not be reached, went away before its answer was whole, or speaks no HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer whose head has come. `body` can be read once, within the block that lent the answer."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]


class HttpPool:
    """Connections to one server. `idle_s`: how long an unused one is kept, less than the server does."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        connect_s: float,
        wait_s: float,
        max_connections: int,
        max_idle: int,
        idle_s: float,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connect_s, self._wait_s, self._max_idle, self._idle_s = connect_s, wait_s, max_idle, idle_s
        self._room = asyncio.Semaphore(max_connections)
        self._idle: deque[_Connection] = deque()  # the one used last is the last
        self._sweep_at: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def request(
        self, method: str, target: bytes, headers: Headers, body: AsyncIterator[bytes] | None, *, quiet_s: float
    ) -> AsyncIterator[HttpAnswer]:
        """Send a request and lend its answer. A block that is left before the answer's end costs the connection.

        Args:
            headers: all of them, those that say where the body ends included.
            quiet_s: how long the other side may say, or take, nothing.

        Raises:
            PeerLost: see there.
            TimeoutError: no room in the pool, no connection, or silence.
        """
        async with asyncio.timeout(self._wait_s):
            await self._room.acquire()
        try:
            connection = self._take_idle() or await self._connected()
            is_reusable = False
            try:
                answer = await connection.exchange(method, target, headers, body, quiet_s=quiet_s)
                yield answer
                is_reusable = connection.is_reusable()
            except (h11.ProtocolError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise PeerLost(str(error) or type(error).__name__) from error
            finally:
                if is_reusable:
                    self._keep(connection)
                else:
                    connection.close()
        finally:
            self._room.release()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        if self._sweep_at is not None:
            self._sweep_at.cancel()
        while self._idle:
            self._idle.pop().close()

    async def _connected(self) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=_READ_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise PeerLost(str(error) or type(error).__name__) from error
        return _Connection(reader, writer)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
            connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_until_s = loop.time() + self._idle_s
        self._idle.append(connection)
        if len(self._idle) > self._max_idle:
            self._idle.popleft().close()
        if self._sweep_at is None:
            self._sweep_at = loop.call_at(connection.idle_until_s, self._sweep)

    def _sweep(self) -> None:
        self._sweep_at = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._idle and self._idle[0].idle_until_s <= now_s:
            self._idle.popleft().close()
        if self._idle:
            self._sweep_at = loop.call_at(self._idle[0].idle_until_s, self._sweep)


class _Connection:
    """One connection, with at most one request on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self.idle_until_s = 0.0

    @property
    def is_closed(self) -> bool:
        """The other side ended it while nobody used it."""
        return self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing()

    def is_reusable(self) -> bool:
        """Say whether the answer was read to its end, and another request may follow; begin anew if so."""
        http = self._http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data[0]:
            return False
        http.start_next_cycle()
        return True

    async def exchange(
        self, method: str, target: bytes, headers: Headers, body: AsyncIterator[bytes] | None, *, quiet_s: float
    ) -> HttpAnswer:
        self._write(h11.Request(method=method, target=target, headers=list(headers)))
        if body is not None:
            async for piece in body:
                # A server that answers early, and closes, is heard all the same.
                with suppress(ConnectionError):
                    self._write(h11.Data(data=piece))
                    async with asyncio.timeout(quiet_s):
                        await self._writer.drain()
        with suppress(ConnectionError):
            self._write(h11.EndOfMessage())
        while True:
            event = await self._event(quiet_s)
            if isinstance(event, h11.Response):
                return HttpAnswer(event.status_code, list(event.headers), self._body(quiet_s))
            if not isinstance(event, h11.InformationalResponse):
                raise PeerLost("it closed the connection without an answer")

    def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _body(self, quiet_s: float) -> AsyncIterator[bytes]:
        while isinstance(event := await self._event(quiet_s), h11.Data):
            yield bytes(event.data)

    async def _event(self, quiet_s: float) -> object:
        """Return the next of h11's events, or the class that it has in place of some."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(quiet_s):
                data = await self._reader.read(_READ_BYTES)
            self._http.receive_data(data)
        return event

    def close(self) -> None:
        self._writer.close()
