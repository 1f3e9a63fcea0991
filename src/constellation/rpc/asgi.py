"""Run an ASGI app inside the process: how `ProxyHTTP` reaches a plane's data-plane routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

App = Callable[..., Awaitable[None]]
_CHUNKS_IN_HAND = 8  # chosen: back-pressure reaches the app after this many body messages nobody took


@dataclass(frozen=True, slots=True)
class HttpHead:
    status: int
    headers: Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class HttpExchange:
    """An answer in progress: its head, then its body as it comes."""

    head: HttpHead
    body: MemoryObjectReceiveStream[bytes]


@asynccontextmanager
async def exchange(
    app: App, *, method: str, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> AsyncIterator[HttpExchange]:
    """Run one request through `app`; leaving the block early tells the app that the client hung up."""
    send_head, receive_head = anyio.create_memory_object_stream[HttpHead](1)
    send_body, receive_body = anyio.create_memory_object_stream[bytes](_CHUNKS_IN_HAND)
    gone = anyio.Event()
    request_sent = False
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": list(headers),
        "client": None,
        "server": None,
        "extensions": {},
    }

    async def receive() -> dict[str, Any]:
        nonlocal request_sent
        if not request_sent:
            request_sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        # What an app says to a client that hung up goes nowhere, as ASGI wants it: some have tasks that outlive the request.
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await pass_on(message)

    async def pass_on(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            await send_head.send(HttpHead(message["status"], message.get("headers", ())))
        elif message["type"] == "http.response.body":
            if message.get("body"):
                await send_body.send(bytes(message["body"]))
            if not message.get("more_body", False):
                send_body.close()

    async def serve() -> None:
        with send_head, send_body:
            await app(scope, receive, send)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        with receive_body:
            with receive_head:
                try:
                    head = await receive_head.receive()
                except anyio.EndOfStream:
                    head = HttpHead(500, ())
            yield HttpExchange(head, receive_body)
        gone.set()
        tasks.cancel_scope.cancel()
