"""Comet's port: HTTP/2 in C, in front of a gRPC server on a unix socket."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.reactor import Event, Reactor
from constellation.native.tls import Tls

_lib, _ffi = _core.lib, _core.ffi
_SLACK_S = 2.0  # chosen: C closes at its deadline; this is for a loop that comes late


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCounts:
    """What has passed so far; connections, streams, upstreams and held bytes are those of now."""

    accepted: int
    accepted_near: int  # of these, by a unix socket
    turned_away: int  # connections above the bound
    faulted: int  # connections closed for what they sent, or did not
    taken: int  # streams answered in C
    forwarded: int
    unserved: int  # streams that the server behind could not be reached for
    cancelled: int
    connections: int
    streams: int
    upstreams: int
    held_bytes: int


class Port:
    """Listening sockets whose streams go on to a gRPC server on a unix socket."""

    _targets = itertools.count(1)

    def __init__(
        self, reactor: Reactor, listeners: Sequence[socket.socket], upstream: Path, tls: Tls | None = None
    ) -> None:
        """Serve on `listeners`, which stay the caller's and outlive the port; `tls`: everybody must speak it.

        Raises:
            OSError: no memory, a path over 107 bytes, or a socket that can not be watched.
            TableFull: too many listeners.
        """
        first, *others = listeners
        self._target = next(self._targets)
        self._stopped = anyio.Event()
        self._closing: Callable[[], None] | None = None
        path = str(upstream).encode()
        self._handle: Any = _lib.ct_h2_server_open(reactor.handle, first.fileno(), path, self._target)
        if self._handle == _ffi.NULL:
            raise OSError(f"can not serve on {first.getsockname()} in front of {upstream}")
        try:
            for other in others:
                checked("port", _lib.ct_h2_server_listen(self._handle, other.fileno()))
        except BaseException:
            self.close()
            raise
        self._tls = tls  # it outlives us
        if tls is not None:
            _lib.ct_h2_server_secure(self._handle, tls.handle)  # nobody is accepted before the reactor's next turn

    @property
    def handle(self) -> Any:
        """The `ct_h2_server *`, for this package alone."""
        return self._handle

    def on_close(self, closing: Callable[[], None]) -> None:
        """Have something called before the port is closed."""
        self._closing = closing

    @property
    def target(self) -> int:
        return self._target

    def hear(self) -> None:
        """Take note that the last connection is closed."""
        self._stopped.set()

    def counts(self) -> PortCounts:
        raw = _ffi.new("ct_h2_counts *")
        _lib.ct_h2_server_count(self._handle, raw)
        return PortCounts(**{name: getattr(raw, name) for name in PortCounts.__slots__})

    async def stop(self, *, within_s: float) -> None:
        """Accept nothing more and wait for the streams in hand; those that are left after `within_s` are cut."""
        _lib.ct_h2_server_stop(self._handle, math.ceil(within_s * 1000))
        with anyio.move_on_after(within_s + _SLACK_S):
            await self._stopped.wait()

    def close(self) -> None:
        """Cut what is left."""
        handle, self._handle = self._handle, _ffi.NULL
        if handle != _ffi.NULL:
            if self._closing is not None:
                self._closing()
            _lib.ct_h2_server_close(handle)


class Ports:
    """The ports of one reactor."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._open: dict[int, Port] = {}
        reactor.take([_lib.CT_EVENT_H2_STOPPED], self._hear)

    def _hear(self, event: Event) -> None:
        port = self._open.get(event.target)
        if port is not None:
            port.hear()

    @asynccontextmanager
    async def serving(
        self, listeners: Sequence[socket.socket], upstream: Path, *, linger_s: float, tls: Tls | None = None
    ) -> AsyncIterator[Port]:
        """Pass what comes to `listeners` on to `upstream` for the length of the block, and then finish what is in hand.

        Raises:
            OSError: as `Port` does.
        """
        port = Port(self._reactor, listeners, upstream, tls)
        self._open[port.target] = port
        try:
            yield port
        finally:
            with anyio.CancelScope(shield=True):  # `stop` has its own limit
                await port.stop(within_s=linger_s)
            del self._open[port.target]
            port.close()
