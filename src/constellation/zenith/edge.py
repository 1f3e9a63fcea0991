"""What the edge in C is told at its start, and how its word about a connection reaches the app behind it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio

from constellation.base.errors import BodyTimeout, ConstellationError, Overloaded, PayloadTooLarge
from constellation.base.sockets import listen_unix
from constellation.native.edge import Edge, Refusal, RefusalAnswer
from constellation.nova.config.sections import ZenithSettings
from constellation.rpc.problems import headers_of
from constellation.zenith.errors import HeadersTooLarge, ServerGone, UriTooLong
from constellation.zenith.malformed import MalformedRequest
from constellation.zenith.request import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, PEER_EXTENSION

PEER = b"constellation-peer"
MAX_CONNECTIONS = 16_384  # chosen: four times what one gateway has in hand, or what its descriptors allow
_SPARE_DESCRIPTORS = 256  # for all else that the process opens
_POLL_S = 0.02

App = Callable[[dict[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def refusals(settings: ZenithSettings) -> dict[Refusal, RefusalAnswer]:
    """Return how the edge answers what it refuses: as the app would."""
    errors: dict[Refusal, ConstellationError] = {
        Refusal.MALFORMED: MalformedRequest(400),
        Refusal.SLOW: BodyTimeout(after_s=settings.idle_timeout_s),
        Refusal.LARGE: PayloadTooLarge(limit_bytes=settings.max_body_bytes),
        Refusal.TARGET: UriTooLong(limit_bytes=MAX_TARGET_BYTES),
        Refusal.EXPECTATION: MalformedRequest(417),
        Refusal.FIELDS: HeadersTooLarge(limit_count=MAX_HEADERS, limit_bytes=MAX_HEADER_BYTES),
        Refusal.CODING: MalformedRequest(501),
        Refusal.UPSTREAM: ServerGone(),
        Refusal.OVERLOADED: Overloaded("gateway", limit=settings.max_inflight),
        Refusal.VERSION: MalformedRequest(505),
    }
    return {
        refusal: RefusalAnswer(
            status=error.http_status,
            problem=json.dumps(error.problem(), separators=(",", ":")).encode(),
            headers=headers_of(error),
        )
        for refusal, error in errors.items()
    }


def connection_limit(open_files: int) -> int:
    """Return how many connections may be open: each may need a second descriptor, towards the app."""
    return max(64, min(MAX_CONNECTIONS, (open_files - _SPARE_DESCRIPTORS) // 2))


class CountedAtEdge:
    """The gate of a gateway whose requests the edge has counted and admitted already."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    @property
    def inflight(self) -> int:
        return self._edge.counts.inflight

    def admitted(self) -> nullcontext[None]:
        return nullcontext()


def behind_edge(app: App) -> App:
    """Have `app` see the client's own connection in place of the edge's. Only for a socket that the edge alone reaches."""

    async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "http":
            # The edge takes every Constellation-* of a client out and writes its own last.
            name, value = scope["headers"].pop()
            if name != PEER:
                raise RuntimeError(f"the last header is {name!r}, not the edge's")
            client, client_port, server, server_port, handle, way = value.decode("ascii").split(" ")
            scope["client"] = (client, int(client_port))
            scope["server"] = (server, int(server_port))
            scope["extensions"][PEER_EXTENSION] = (int(handle), way == "direct")
        await app(scope, receive, send)

    return asgi


def edge_socket_path(directory: Path) -> Path:
    """Return where the server behind this process's edge listens. Two gateways of one platform must not meet there."""
    return directory / f"edge-{os.getpid()}.sock"


@contextmanager
def upstream_socket(path: Path) -> Iterator[socket.socket]:
    """Lend a listening socket for the server behind the edge, gone with the block; those of killed processes go too."""
    for left in path.parent.glob("edge-*.sock"):
        owner = left.stem.removeprefix("edge-")
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            left.unlink(missing_ok=True)
    listener = listen_unix(path)
    try:
        yield listener
    finally:
        path.unlink(missing_ok=True)


@asynccontextmanager
async def listening(
    edge: Edge, listeners: Sequence[socket.socket], *, drain_s: float, cut_off: Callable[[], None], last_s: float
) -> AsyncIterator[None]:
    """Take connections until the block is left; then requests in hand have `drain_s` seconds, and `last_s` once cut off."""
    for listener in listeners:
        edge.listen(listener)
    try:
        yield
    finally:
        edge.stop()
        for listener in listeners:
            listener.close()
        with anyio.CancelScope(shield=True):
            await _until_idle(edge, drain_s)
            cut_off()
            await _until_idle(edge, last_s)
        edge.close()


async def _until_idle(edge: Edge, limit_s: float) -> None:
    with anyio.move_on_after(limit_s):
        while edge.counts.inflight:  # noqa: ASYNC110  # C counts: nothing there can be waited for
            await anyio.sleep(_POLL_S)
