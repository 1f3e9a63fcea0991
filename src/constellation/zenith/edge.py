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
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from constellation.base.errors import (
    BodyTimeout,
    ConstellationError,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
    Unavailable,
)
from constellation.base.sockets import listen_unix
from constellation.native.edge import Edge, Refusal, RefusalAnswer, grpc_refusal
from constellation.nova.config.sections import ZenithSettings
from constellation.nova.domain.rule import invoke_rule
from constellation.rpc.hypercorn_parts import MalformedRequest
from constellation.rpc.problems import headers_of, problem_from
from constellation.zenith.errors import CallLate, HeadersTooLarge, ServerGone, UriTooLong
from constellation.zenith.principals import KeptAccess
from constellation.zenith.request import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, PEER_EXTENSION, Request

PEER = b"constellation-peer"
MAX_CONNECTIONS = 16_384  # chosen: four times what one gateway has in hand, or what its descriptors allow
BODIES_BYTES = 256 << 20  # chosen: gathered bodies of all requests in hand
_SPARE_DESCRIPTORS = 256  # for all else that the process opens
_POLL_S = 0.02
MAX_KEY_BYTES = 1024  # of a caller, in C
MAX_TOKEN_BYTES = 4096  # likewise
MAX_TUNNELS = 2048  # chosen: connections of HTTP/2, each of which is Python's and costs it some 100 KiB
_NO_HANDLE = 0  # the edge reads no requests of such a connection, so it has nobody to trust on it

App = Callable[[dict[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def refusals(settings: ZenithSettings) -> dict[int, RefusalAnswer]:
    """Return how the edge answers what it refuses: as the app would."""
    errors: dict[int, ConstellationError] = {
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
        Refusal.NOT_JSON: InvalidRequest("the body is not JSON"),
        Refusal.BODY_SLOW: BodyTimeout(after_s=settings.read_timeout_s),
        Refusal.BODIES: Overloaded("bodies in memory, bytes", limit=BODIES_BYTES),
        Refusal.CALLS: Overloaded("calls to comet", limit=settings.max_inflight),
        Refusal.COMET: Unavailable("comet", reason="no connection, or it broke before the answer"),
        Refusal.LATE: CallLate("comet"),
    }
    errors |= {grpc_refusal(status.value): problem_from(GRPCError(status), None) for status in Status if status.value}
    return {
        refusal: RefusalAnswer(
            status=error.http_status,
            code=str(error.problem()["code"]),
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


class EnteredAtEdge:
    """The gate of a gateway whose requests the edge has not seen, but counts among all."""

    def __init__(self, edge: Edge, *, limit: int) -> None:
        self._edge, self._limit = edge, limit

    @property
    def inflight(self) -> int:
        return self._edge.counts.inflight

    @contextmanager
    def admitted(self) -> Iterator[None]:
        if not self._edge.enter():
            raise Overloaded("gateway", limit=self._limit)
        try:
            yield
        finally:
            self._edge.leave()


class HeldAtEdge:
    """The budget of bodies that the edge and the app behind it share; the edge counts."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    @property
    def taken_bytes(self) -> int:
        return self._edge.counts.held_bytes

    def take(self, count_bytes: int) -> None:
        if not self._edge.hold(count_bytes):
            raise Overloaded("bodies in memory, bytes", limit=BODIES_BYTES)

    def give(self, count_bytes: int) -> None:
        self._edge.hold(-count_bytes)


class KnownAtEdge:
    """Tells the edge whom it may let call without asking."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def learn(self, request: Request, kept: KeptAccess) -> None:
        """Let later calls with the same credential and scope headers in, as long as this access is good."""
        single = request.single
        if (api_key := single.get(b"x-api-key")) is not None:
            presented = b"k" + api_key
        elif (authorization := single.get(b"authorization")) is not None:
            presented = b"a" + authorization
        else:
            presented = b"l"
        key = b"\0".join((presented, single.get(b"x-nova-tenant", b""), single.get(b"x-nova-namespace", b"")))
        token, rule = kept.access.token.encode(), invoke_rule(kept.access.identity)
        if rule is not None and len(key) <= MAX_KEY_BYTES and len(token) <= MAX_TOKEN_BYTES:
            self._edge.learn(key, token, renew_at_s=kept.renew_at_s, until_s=kept.until_s, rule=rule)

    def trust(self, request: Request) -> None:
        """Take later requests of this connection for its trusted user's."""
        for name, value in request.headers:
            if name == b"host":
                self._edge.trust(request.connection, value)


def behind_edge(app: App) -> App:
    """Have `app` see the client's own connection in place of the edge's. Only for a socket that the edge alone reaches."""

    async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] in ("http", "websocket"):
            # The edge takes every Constellation-* of a client out and writes its own last.
            name, value = scope["headers"].pop()
            if name != PEER:
                raise RuntimeError(f"the last header is {name!r}, not the edge's")
            client, client_port, server, server_port, handle, wire, way = value.decode("ascii").split(" ")
            scope["scheme"] = "https" if wire == "tls" else "http"
            scope["client"] = (client, int(client_port))
            scope["server"] = (server, int(server_port))
            scope["extensions"][PEER_EXTENSION] = (int(handle), way == "direct")
        await app(scope, receive, send)

    return asgi


def in_tunnel(app: App) -> App:
    """Have `app` see of an HTTP/2 client's headers what the edge would have left. The connection was introduced by the edge."""

    async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] in ("http", "websocket"):
            kept, is_direct = [], True
            for name, value in scope["headers"]:
                is_proxys = name == b"forwarded" or name.startswith(b"x-forwarded-")
                is_direct &= not is_proxys and name != b"via"
                if not is_proxys and not name.startswith(b"constellation-"):
                    kept.append((name, value))
            scope["headers"] = kept
            scope["extensions"][PEER_EXTENSION] = (_NO_HANDLE, is_direct)
        await app(scope, receive, send)

    return asgi


def edge_socket_path(directory: Path) -> Path:
    """Return where the server behind this process's edge listens. Two gateways of one platform must not meet there."""
    return directory / f"edge-{os.getpid()}.sock"


def tunnel_socket_path(directory: Path) -> Path:
    """Return where its server for HTTP/2 does."""
    return directory / f"edge-{os.getpid()}-h2.sock"


@contextmanager
def upstream_socket(path: Path) -> Iterator[socket.socket]:
    """Lend a listening socket for the server behind the edge, gone with the block; those of killed processes go too."""
    for left in path.parent.glob("edge-*.sock"):
        owner = left.stem.removeprefix("edge-").removesuffix("-h2")
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
        take_no_more(edge, listeners)
        with anyio.CancelScope(shield=True):
            await _until_idle(edge, drain_s)
            cut_off()
            await _until_idle(edge, last_s)
        edge.close()


def take_no_more(edge: Edge, listeners: Sequence[socket.socket]) -> None:
    """Refuse new connections. May be repeated."""
    edge.stop()
    for listener in listeners:
        listener.close()


async def _until_idle(edge: Edge, limit_s: float) -> None:
    with anyio.move_on_after(limit_s):
        while (counts := edge.counts).inflight or counts.tunnels:  # noqa: ASYNC110  # C counts: nothing there can be waited for
            await anyio.sleep(_POLL_S)
