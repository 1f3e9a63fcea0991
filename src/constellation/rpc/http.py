"""Serve ASGI apps with Hypercorn on listeners that are bound already."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from hypercorn.asyncio import serve
from hypercorn.config import Sockets

from constellation.base.sockets import BACKLOG
from constellation.native.tls import HANDSHAKE_S
from constellation.rpc import hypercorn_parts
from constellation.rpc.asgi import App
from constellation.rpc.tls import ServerTls

KEEP_ALIVE_S = 75.0  # chosen: longer than the 60 s after which usual clients and proxies drop an idle connection
HEAD_LIMIT_BYTES = 64 << 10  # request line and headers
MESSAGE_LIMIT_BYTES = 1 << 20  # of a WebSocket
PING_S = 20.0  # chosen: less than what usual proxies, and our own edge, take for silence
_LAST_GRACE_S = 1.0  # what is cut off after the drain may take this long to end


class _Bound(hypercorn_parts.BoundConfig):
    """Serves on listeners as they are.

    Hypercorn's own `fd://` makes a descriptor inheritable, and uvloop closes none when it starts a process: a
    program that we start (PostgreSQL, which outlives us) would hold our port.
    """

    def __init__(self, listeners: Sequence[socket.socket], tls: ServerTls | None, *, is_introduced: bool) -> None:
        super().__init__()
        self._listeners, self._tls, self.is_introduced = listeners, tls, is_introduced
        self.ssl_handshake_timeout = HANDSHAKE_S
        self.backlog = BACKLOG  # asyncio listens once more, with this
        self.include_server_header = False
        self.keep_alive_max_requests = 1 << 30  # connections are not closed for having been useful
        # A read timeout of the server would cut a client that waits for a slow function: who reads a body limits it.
        self.read_timeout = None
        self.websocket_max_message_size = MESSAGE_LIMIT_BYTES
        self.websocket_ping_interval = PING_S
        self.errorlog = logging.getLogger("hypercorn.error")

    def create_sockets(self) -> Sockets:
        listeners = list(self._listeners)
        if self._tls is not None:
            return Sockets(secure_sockets=listeners, insecure_sockets=[], quic_sockets=[])
        return Sockets(secure_sockets=[], insecure_sockets=listeners, quic_sockets=[])

    @property
    def ssl_enabled(self) -> bool:
        return self._tls is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return None if self._tls is None else self._tls.context


def serving_http(app: App, *, listener: socket.socket, drain_s: float) -> AbstractAsyncContextManager[None]:
    """Serve a plane's pages or routes on one listener, without web sockets; all else as `serving_asgi`."""
    return serving_asgi(_plain(app), listeners=[listener], drain_s=drain_s)


@asynccontextmanager
async def serving_asgi(
    app: App,
    *,
    listeners: Sequence[socket.socket],
    drain_s: float,
    idle_timeout_s: float = KEEP_ALIVE_S,
    head_limit_bytes: int = HEAD_LIMIT_BYTES,
    cut_off: Callable[[], None] | None = None,
    tls: ServerTls | None = None,
    is_introduced: bool = False,
) -> AsyncIterator[None]:
    """Serve until the block is left; then take no new connections and give requests in hand `drain_s` seconds.

    Takes the listeners over and closes them. Answers that never end must be ended by their maker before the block is
    left.

    Args:
        idle_timeout_s: how long a connection may be quiet; also bounds a head that does not come to its end.
        cut_off: ends what the drain leaves, more quietly than Hypercorn, which else cancels it.
        tls: all listeners speak it; HTTP/2 too is served then.
        is_introduced: each connection is HTTP/2 of a client of the C core, which says first who that is.
    """
    hypercorn_parts.install()
    config = _Bound(listeners, tls, is_introduced=is_introduced)
    config.keep_alive_timeout = idle_timeout_s
    config.h11_max_incomplete_size = config.h2_max_header_list_size = head_limit_bytes
    config.graceful_timeout = drain_s if cut_off is None else drain_s + _LAST_GRACE_S
    stopping, ended = anyio.Event(), anyio.Event()

    async def run() -> None:
        # A task of its own: Hypercorn leaves the cancellation count of its task raised behind it, which anyio's
        # scopes around it would read as a cancellation from outside.
        try:
            await serve(app, config, shutdown_trigger=stopping.wait, mode="asgi")
        finally:
            ended.set()
        if not stopping.is_set():
            raise RuntimeError("the HTTP server ended by itself")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
        finally:
            stopping.set()
            for connection in list(config.open_h2):
                tasks.start_soon(connection.announce_end)
            with anyio.move_on_after(drain_s, shield=True):
                await ended.wait()
            if cut_off is not None:
                cut_off()
            tasks.cancel_scope.deadline = anyio.current_time() + 2 * _LAST_GRACE_S  # it should have ended long before


def _plain(app: App) -> App:
    """Keep from Quart what it breaks on or would answer past our routes: an empty path, and web sockets."""

    async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] == "http" and not scope["path"]:
            scope = {**scope, "path": "/", "raw_path": b"/"}
        await app(scope, receive, send)

    return asgi


async def live(
    receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Answer the server's start and stop, which come over the scope `lifespan`; return at the stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
