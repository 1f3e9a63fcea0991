"""The classes of Hypercorn that are replaced by ours, as it has no setting for what they do.

Its connection, which we end when its client has ended it: Hypercorn lets a quiet connection's keep-alive timer run out
before it closes its socket, even when the client is gone already. With its default of 5 s nobody notices; with ours,
clients that open a connection a call would cost us a descriptor each for a minute. And one task watches for quiet as long
as the connection lives, where Hypercorn ends one and makes another for each request, which costs as much as reading it.
The app finds a place for what it learns of a connection in its scope's state.

Its HTTP/1.1, whose refusals of what is no HTTP carry a problem, as everything else does, and not an empty body. Clients
see it where C does not own the port. Nor does it let a client turn the connection into another HTTP: behind the C core
that would be a way past what it adds to each request. WebSockets it takes, without their extensions.

Its HTTP/2 is in `rpc.http2`. Nothing else touches names of Hypercorn which are not public; `tests/integration/rpc/test_connections.py` fails when they
change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import h11
import hypercorn.protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event, Updated
from hypercorn.protocol import h11 as h11_protocol
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import TaskGroup
from wsproto.events import Ping

from constellation.base.errors import ConstellationError
from constellation.rpc import http2
from constellation.rpc.gather import Gathering
from constellation.rpc.problems import PROBLEM_JSON

OF_CONNECTION = "constellation.connection"  # in the state of a scope: a dictionary as old as the connection
_INTRODUCTION_S = 5.0  # chosen: it is sent with the first bytes
_CLOSING_S = 1.0  # chosen: at a stop, for the last bytes that a client has not taken


class MalformedRequest(ConstellationError):
    """Bytes that are no HTTP/1.1 request, or a body that ends before it should."""

    code, http_status = "malformed_request", 400

    def __init__(self, http_status: int) -> None:
        super().__init__("this is not a complete, well-formed HTTP/1.1 request; the connection is closed")
        self.http_status = http_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduced:
    """A client's TLS connection that came through the C core, as Hypercorn asks its writer about it."""

    writer: Any
    client: tuple[str, int]
    server: tuple[str, int]

    @classmethod
    def by(cls, line: bytes, writer: Any) -> Introduced:
        """Read the line before the connection's own bytes (see the edge in `ct_abi.h`).

        Raises:
            ValueError: it is not one.
        """
        client, client_port, server, server_port, _, _ = line.decode("ascii").removesuffix("\n").split(" ")
        return cls(writer=writer, client=(client, int(client_port)), server=(server, int(server_port)))

    def get_extra_info(self, name: str) -> Any:
        return self if name in ("socket", "ssl_object") else self.writer.get_extra_info(name)

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.client[0] else socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return self.client

    def getsockname(self) -> tuple[str, int]:
        return self.server

    def selected_alpn_protocol(self) -> str:
        return "h2"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)


class BoundConfig(http2.Http2Config):
    """`is_introduced`: each connection begins with a line about its client, and is HTTP/2."""

    is_introduced = False
    _dated: tuple[int, str, list[tuple[bytes, bytes]]] = (0, "", [])

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """What every answer says: the date, which is worded once a second."""
        second = int(time.time())
        if self._dated[:2] != (second, protocol):
            self._dated = (second, protocol, super().response_headers(protocol))
        return list(self._dated[2])


class QuietWatch:
    """In place of Hypercorn's idle task: to stop it is to say so. The connection's tasks are waited for all together."""

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()

    async def restart(self, task_group: TaskGroup, action: Callable[[], Awaitable[None]]) -> None:
        await self.stop()
        self._scope = anyio.CancelScope()
        task_group.spawn(_within, self._scope, action)

    async def stop(self) -> None:
        self._scope.cancel()


async def _within(scope: anyio.CancelScope, action: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await action()


class Connection(TCPServer):
    """A connection whose keep-alive timer stops at the end of what the client sends."""

    config: BoundConfig
    _quiet_since_s: float | None = None  # None: a request is in hand

    async def run(self) -> None:
        self.state = {**self.state, OF_CONNECTION: {}}
        self._quiet_since_s = self.loop.time()
        self.idle_task = QuietWatch()  # type: ignore[assignment]  # it stands for it
        if self.config.is_introduced:
            try:
                line = await asyncio.wait_for(self.reader.readline(), _INTRODUCTION_S)
                self.writer = Introduced.by(line, self.writer)  # type: ignore[assignment]  # it stands for it
            except (ValueError, OSError, TimeoutError):
                self.writer.close()
                return
        self.writer = Gathering(self.writer)  # type: ignore[assignment]  # it stands for it
        await super().run()

    async def _initiate_server_close(self) -> None:
        if isinstance(self.protocol.protocol, http2.BoundedH2):
            await self.protocol.protocol.say_goodbye()
        await super()._initiate_server_close()
        if self.context.terminated.is_set():
            await self._close()

    async def _close(self) -> None:
        if not self.context.terminated.is_set():
            await super()._close()
            return
        # A client that does not answer our end of TLS would hold up the stop for half a minute.
        async with asyncio.timeout(_CLOSING_S) as limit:
            await super()._close()
        if limit.expired():
            self.writer.transport.abort()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and event.idle and self.reader.at_eof():
            return  # nobody is there to send another request
        if isinstance(event, Updated):
            self._quiet_since_s = self.loop.time() if event.idle else None
            if not (event.idle and self.context.terminated.is_set()):
                return  # `_idle_timeout` sees it in time
        await super().protocol_send(event)

    async def _idle_timeout(self) -> None:
        """Close the connection when it was quiet for too long, or is when the server stops."""
        while not self.context.terminated.is_set():
            now_s = self.loop.time()
            left_s = (self._quiet_since_s or now_s) + self.config.keep_alive_timeout - now_s
            if left_s <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.context.terminated.wait(), left_s)
        if self._quiet_since_s is not None:
            await asyncio.shield(self._initiate_server_close())

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class ProblemH11(H11Protocol):
    """Hypercorn's HTTP/1.1, whose refusals carry a problem, and which stays what it is."""

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI":
            await super()._check_protocol(event)  # HTTP/2 from the first byte on

    async def _create_stream(self, request: h11.Request) -> None:
        # Without its extensions a WebSocket's messages are as long as their bytes: what a client compressed would be
        # made whole before anybody looks at its size.
        kept = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
        if len(kept) != len(request.headers):
            request = h11.Request(
                method=request.method, target=request.target, headers=kept, http_version=request.http_version
            )
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        body = json.dumps(MalformedRequest(status_code).problem(), separators=(",", ":")).encode()
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class PingedSocket(WSStream):
    """Hypercorn's WebSocket, whose pings end with it: else its connection would last until the next was due."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._ended = anyio.Event()

    async def handle(self, event: StreamEvent) -> None:
        await super().handle(event)
        if self.closed:
            self._ended.set()

    async def _send_pings(self) -> None:
        interval_s = self.config.websocket_ping_interval
        while not self.closed and interval_s is not None:
            with anyio.move_on_after(interval_s):
                await self._ended.wait()
            if not self.closed:
                await self._send_wsproto_event(Ping())


def install() -> None:
    """Make Hypercorn use them in this process."""
    setattr(run, "TCPServer", Connection)  # noqa: B010  # the module does not export what it imports
    hypercorn.protocol.H11Protocol = ProblemH11  # type: ignore[attr-defined]  # a class is put in place of its parent
    setattr(h11_protocol, "WSStream", PingedSocket)  # noqa: B010  # as above
    http2.install()
