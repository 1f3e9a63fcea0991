"""The gateway's edge in C: HTTP/1.1 from clients, read strictly; what C does not answer goes on to an HTTP server on a unix socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.reactor import Reactor

_lib, _ffi = _core.lib, _core.ffi


class Refusal(IntEnum):
    """`enum ct_edge_refusal`: what the edge refuses by itself."""

    MALFORMED = _lib.CT_EDGE_MALFORMED
    SLOW = _lib.CT_EDGE_SLOW
    LARGE = _lib.CT_EDGE_LARGE
    TARGET = _lib.CT_EDGE_TARGET
    EXPECTATION = _lib.CT_EDGE_EXPECTATION
    FIELDS = _lib.CT_EDGE_FIELDS
    CODING = _lib.CT_EDGE_CODING
    UPSTREAM = _lib.CT_EDGE_UPSTREAM
    OVERLOADED = _lib.CT_EDGE_OVERLOADED
    VERSION = _lib.CT_EDGE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalAnswer:
    """How a refusal is answered: a JSON object, to which C adds the request id, and headers beside the usual ones."""

    status: int
    problem: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCounts:
    inflight: int  # requests in hand, whoever answers them
    connections: int
    forwarded: int
    refused: Mapping[Refusal, int]


class Edge:
    """The listeners and their connections; `close` before the reactor goes, and not from within one of its events.

    Raises:
        ValueError: a refusal has no answer, or the upstream's path is too long for a socket.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        upstream: Path,
        idle_timeout_s: float,
        max_inflight: int,
        max_connections: int,
        refusals: Mapping[Refusal, RefusalAnswer],
    ) -> None:
        if set(refusals) != set(Refusal):
            raise ValueError("every refusal needs its answer")
        path = _ffi.new("char[]", str(upstream).encode())
        settings = _ffi.new(
            "ct_edge_settings *",
            {
                "upstream": path,
                "idle_ns": round(idle_timeout_s * 1e9),
                "inflight_max": max_inflight,
                "connections_max": max_connections,
            },
        )
        self._reactor = reactor  # it outlives us
        self._handle: Any = _lib.ct_edge_new(reactor.handle, settings)
        if self._handle == _ffi.NULL:
            raise ValueError(f"{upstream}: too long for a socket, or no memory")
        for refusal, answer in refusals.items():
            fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items()).encode()
            result = _lib.ct_edge_problem(
                self._handle, refusal, answer.status, answer.problem, len(answer.problem), fields
            )
            checked("edge", result)

    def listen(self, listener: socket.socket) -> None:
        """Take connections from a bound, listening socket, which stays the caller's and open until `stop`."""
        checked("edge", _lib.ct_edge_listen(self._handle, listener.fileno()))

    def stop(self) -> None:
        """Take no more connections; quiet ones end now, the others behind the answer in hand."""
        _lib.ct_edge_stop(self._handle)

    @property
    def counts(self) -> EdgeCounts:
        raw = _ffi.new("ct_edge_counts *")
        if self._handle != _ffi.NULL:
            _lib.ct_edge_counts_get(self._handle, raw)
        return EdgeCounts(
            inflight=raw.inflight,
            connections=raw.connections,
            forwarded=raw.forwarded,
            refused={refusal: raw.refused[refusal] for refusal in Refusal},
        )

    def close(self) -> None:
        """End every connection. May be repeated."""
        _lib.ct_edge_free(self._handle)
        self._handle = _ffi.NULL
