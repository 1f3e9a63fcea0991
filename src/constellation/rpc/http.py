"""Serve a Quart app with Hypercorn on a listener that is bound already."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

KEEP_ALIVE_S = 75.0  # chosen: longer than the 60 s after which usual clients and proxies drop an idle connection
HEAD_LIMIT_BYTES = 64 << 10  # request line and headers
_LAST_GRACE_S = 1.0  # after the drain Hypercorn cancels what is left; this long it may take to do so


@asynccontextmanager
async def serving_http(app: Quart, *, listener: socket.socket, drain_s: float) -> AsyncIterator[None]:
    """Serve until the block is left; then take no new connections and give requests in hand `drain_s` seconds.

    Takes the listener over and closes it. Answers that never end must be ended by their maker before the block is left.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.graceful_timeout = drain_s
    config.h11_max_incomplete_size = HEAD_LIMIT_BYTES
    config.errorlog = logging.getLogger("hypercorn.error")
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await serve(app, config, shutdown_trigger=stop.wait, mode="asgi")

        tasks.start_soon(run)
        try:
            yield
        finally:
            stop.set()
            tasks.cancel_scope.deadline = anyio.current_time() + drain_s + _LAST_GRACE_S
