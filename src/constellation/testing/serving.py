"""Serve an ASGI app for the length of a block, and end it without cancelling the server in its own clean-up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from hypercorn.asyncio import serve
from hypercorn.config import Config

from constellation.rpc.connections import end_with_clients


@asynccontextmanager
async def serving_app(app: Any, config: Config, *, stop: Callable[[], None] | None = None) -> AsyncIterator[None]:
    """Run hypercorn over the sockets of `config`; `stop` ends answers that would never end by themselves."""
    end_with_clients()
    stopping, ended = anyio.Event(), anyio.Event()

    async def run() -> None:
        try:
            await serve(app, config, shutdown_trigger=stopping.wait)
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
        finally:
            stopping.set()
            if stop is not None:
                stop()
            with anyio.move_on_after(config.graceful_timeout + 2, shield=True):
                await ended.wait()
