"""Unary calls over one connection: it is made on first use, and made again after it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import anyio

from constellation.rpc.gather import Gathering
from constellation.rpc.unary_wire import Answer, Broken, Fields, Gone, UnaryWire

_CONNECTION_LOST = "Connection lost"
Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]]


class CallLost(Exception):
    """A call without an answer. `is_connected`: there was a connection, if only for a moment."""

    def __init__(self, reason: str, *, may_have_begun: bool, is_connected: bool = True) -> None:
        super().__init__(reason)
        self.may_have_begun, self.is_connected = may_have_begun, is_connected


class UnaryCalls:
    """Calls to one server. `dial` connects a protocol that the given factory makes; `fields`: what a connection says."""

    def __init__(self, dial: Dial, fields: Callable[[], Fields]) -> None:
        self._dial, self._fields = dial, fields
        self._connection: _Connection | None = None
        self._connecting = anyio.Lock()

    async def call(self, path: str, metadata: Mapping[str, str], message: bytes, *, timeout_s: float) -> Answer:
        """Send a message and return what came back. If cancelled, the call is reset at the other side.

        Raises:
            CallLost: there is no connection, or it broke.
            TimeoutError: no answer within `timeout_s`, or no connection: then as the cause of a `CallLost`.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        connection = self._connection
        if connection is None or not connection.has_room:
            try:
                async with asyncio.timeout_at(until_s):
                    connection = await self._room()
            except TimeoutError as error:
                reason = f"no connection within {timeout_s:g} s"
                raise CallLost(reason, may_have_begun=False, is_connected=False) from error
            timeout_s = until_s - loop.time()
        number, ended = connection.begin(path, metadata, message, timeout_ms=max(1, round(timeout_s * 1000)))
        timer = loop.call_at(until_s, _overdue, ended)
        try:
            result = await ended
        except BaseException:
            connection.give_up(number)
            raise
        finally:
            timer.cancel()
        if isinstance(result, Gone):
            raise CallLost(result.reason, may_have_begun=result.may_have_begun)
        return result

    def close(self) -> None:
        """Close the connection; calls in hand are lost."""
        if self._connection is not None:
            self._connection.close()

    async def _room(self) -> _Connection:
        """Return a connection that takes one call more, at once."""
        while True:
            connection = self._connection
            if connection is None or not connection.is_usable:
                connection = await self._connected()
            if connection.has_room:
                return connection
            await connection.changed()

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is not None and self._connection.is_usable:
                return self._connection
            connection = _Connection(UnaryWire(self._fields()))
            try:
                await self._dial(lambda: connection)
            except OSError as error:
                raise CallLost(str(error) or type(error).__name__, may_have_begun=False, is_connected=False) from error
            try:
                while not connection.is_ready:  # it says first how many calls it takes
                    await connection.changed()
            except BaseException:
                connection.close()
                raise
            if not connection.is_usable:
                raise CallLost(connection.reason, may_have_begun=False)
            self._connection = connection
            return connection


class _Connection(asyncio.Protocol):
    """What uvloop tells of one connection, and its calls that are not answered."""

    def __init__(self, wire: UnaryWire) -> None:
        self._wire = wire
        self._transport: Gathering | None = None
        self._calls: dict[int, asyncio.Future[Answer | Gone]] = {}
        self._change: asyncio.Future[None] | None = None
        self._is_lost = False
        self.reason = _CONNECTION_LOST

    @property
    def is_ready(self) -> bool:
        """The other side has said what it takes, or will not."""
        return self._is_lost or self._wire.max_calls > 0

    @property
    def is_usable(self) -> bool:
        return not (self._is_lost or self._wire.is_ending or self._is_closing)

    @property
    def _is_closing(self) -> bool:
        """It broke, or is closed, and the loop has not said so yet: what is written now is lost."""
        return self._transport is not None and self._transport.is_closing()

    @property
    def has_room(self) -> bool:
        wire = self._wire
        return wire.calls < wire.max_calls and self.is_usable

    def begin(
        self, path: str, metadata: Mapping[str, str], message: bytes, *, timeout_ms: int
    ) -> tuple[int, asyncio.Future[Answer | Gone]]:
        number = self._wire.begin(path, metadata, message, timeout_ms=timeout_ms)
        ended = self._calls[number] = asyncio.get_running_loop().create_future()
        self._flush()
        return number, ended

    def give_up(self, number: int) -> None:
        if self._calls.pop(number, None) is not None:
            self._wire.cancel(number)
            self._flush()
            self._settle()

    async def changed(self) -> None:
        """Wait until the other side has said something."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._change)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # ---- of the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = Gathering(transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            ended = self._wire.receive(data)
        except Broken as error:
            self.reason = f"it does not speak HTTP/2: {error}"
            self._lose()
            return
        for number, result in ended:
            call = self._calls.pop(number, None)
            if call is not None and not call.done():
                call.set_result(result)
        self._flush()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and str(exc):
            self.reason = str(exc)
        self._lose()

    def _flush(self) -> None:
        out = self._wire.take()
        if out and self._transport is not None and not self._is_lost:
            # What waits in the transport is bounded by the other side's window.
            self._transport.write(out)

    def _settle(self) -> None:
        """Let those who wait look again; close when the other side ends and the last call has its answer."""
        if self._change is not None:
            change, self._change = self._change, None
            change.set_result(None)
        if self._wire.is_ending and not self._calls:
            self.close()

    def _lose(self) -> None:
        self._is_lost = True
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.done():
                call.set_result(Gone(self.reason))
        self._settle()
        self.close()


def _overdue(ended: asyncio.Future[Answer | Gone]) -> None:
    if not ended.done():
        ended.set_exception(TimeoutError())
