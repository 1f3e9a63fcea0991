"""Serve a Quart app with Hypercorn on a listener that is bound already."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from hypercorn.asyncio import serve
from hypercorn.config import Config, Sockets
from quart import Quart

from constellation.rpc.connections import end_with_clients

KEEP_ALIVE_S = 75.0  # chosen: longer than the 60 s after which usual clients and proxies drop an idle connection
HEAD_LIMIT_BYTES = 64 << 10  # request line and headers
_LAST_GRACE_S = 1.0  # after the drain Hypercorn cancels what is left; this long it may take to do so


class _Bound(Config):
    """Serves on one listener as it is.

    Hypercorn's own `fd://` makes the descriptor inheritable, and uvloop closes none when it starts a process: a
    program that we start (PostgreSQL, which outlives us) would hold our port.
    """

    def __init__(self, listener: socket.socket) -> None:
        super().__init__()
        self._listener = listener

    def create_sockets(self) -> Sockets:
        return Sockets(secure_sockets=[], insecure_sockets=[self._listener], quic_sockets=[])


@asynccontextmanager
async def serving_http(app: Quart, *, listener: socket.socket, drain_s: float) -> AsyncIterator[None]:
    """Serve until the block is left; then take no new connections and give requests in hand `drain_s` seconds.

    Takes the listener over and closes it. Answers that never end must be ended by their maker before the block is left.
    """
    config = _Bound(listener)
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.graceful_timeout = drain_s
    config.h11_max_incomplete_size = HEAD_LIMIT_BYTES
    config.errorlog = logging.getLogger("hypercorn.error")
    end_with_clients()
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await serve(_plain(app), config, shutdown_trigger=stop.wait, mode="asgi")

        tasks.start_soon(run)
        try:
            yield
        finally:
            stop.set()
            tasks.cancel_scope.deadline = anyio.current_time() + drain_s + _LAST_GRACE_S


def _plain(app: Quart) -> Callable[..., Awaitable[None]]:
    """Keep from Quart what it breaks on or would answer past our routes: an empty path, and web sockets."""

    async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] == "http" and not scope["path"]:
            scope = {**scope, "path": "/", "raw_path": b"/"}
        await app(scope, receive, send)  # type: ignore[arg-type]  # the three are ASGI's own, handed on

    return asgi
