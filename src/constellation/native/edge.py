"""The gateway's edge in C: HTTP/1.1 from clients, read strictly; what C does not answer goes on to an HTTP server on a unix socket."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.reactor import Reactor
from constellation.native.tls import Tls

_lib, _ffi = _core.lib, _core.ffi
_MAPPED = bytes(10) + b"\xff\xff"  # IPv4 in IPv6


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
    NOT_JSON = _lib.CT_EDGE_NOT_JSON
    BODY_SLOW = _lib.CT_EDGE_BODY_SLOW
    BODIES = _lib.CT_EDGE_BODIES
    CALLS = _lib.CT_EDGE_CALLS
    COMET = _lib.CT_EDGE_COMET
    LATE = _lib.CT_EDGE_LATE


# A gRPC status without a problem: the number of its refusal is this and the status, 1 to 16.
_GRPC: int = _lib.CT_EDGE_GRPC


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalAnswer:
    """How a refusal is answered: a JSON object, to which C adds the request id, and headers beside the usual ones."""

    status: int
    code: str  # of the problem
    problem: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTally:
    """Calls of one kind."""

    answered: tuple[int, ...]  # by the first digit of their status; 0: the client left before the end
    slots: tuple[int, ...]  # the same by duration: up to each bound, and above the last
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeNote:
    """A call that comet refused for who asked or how often; calls alike are one, with the first one's id and address."""

    count: int
    status: int
    is_stream: bool
    function: str
    code: str
    request_id: str
    peer: str
    token: str  # of the caller; "": it is not known any more


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCounts:
    inflight: int  # requests in hand, whoever answers them
    connections: int
    tunnels: int  # of those, connections of HTTP/2
    forwarded: int
    refused: Mapping[int, int]  # by the number of the refusal
    called: int  # calls that were answered without Python
    held_bytes: int
    lookups: int  # of callers, found without Python
    calls: EdgeTally  # answered whole
    streams: EdgeTally  # answered in pieces
    codes: Mapping[str, int]  # comet's problems that were passed on, by code


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLane:
    """How calls of functions are answered without Python: by gRPC to comet, at a numeric address."""

    host: str
    port: int
    authorization: str
    max_calls: int
    max_timeout_s: float
    stream_s: float  # how long an answer in pieces may take
    grace_s: float  # comet's answer may be so much later than the call's own time
    read_timeout_s: float
    max_body_bytes: int
    bounds_s: tuple[float, ...]  # of durations, rising
    tls: Tls | None = None  # of comet's port
    near: Path | None = None  # a unix socket of the same comet's, which comes before the address while it answers


def grpc_refusal(status: int) -> int:
    """Return the number of the refusal that stands for a gRPC status, 1 to 16, without a problem."""
    return _GRPC + status


def _tally(raw: Any) -> EdgeTally:
    return EdgeTally(answered=tuple(raw.answered), slots=tuple(raw.slots), sum_s=raw.sum_ns / 1e9)


def _note(raw: Any) -> EdgeNote:
    address = IPv6Address(bytes(raw.address))
    return EdgeNote(
        count=raw.count,
        status=raw.status,
        is_stream=bool(raw.is_stream),
        function=_ffi.string(raw.function).decode(),
        code=_ffi.string(raw.code).decode(),
        request_id=_ffi.string(raw.request_id).decode(),
        peer=str(address.ipv4_mapped or address),
        token=bytes(raw.token[0 : raw.token_len]).decode(),
    )


def _nanoseconds(seconds: float) -> int:
    return max(0, min(round(seconds * 1e9), (1 << 64) - 1))


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
        max_bodies_bytes: int,
        refusals: Mapping[int, RefusalAnswer],
        tls: Tls | None = None,
        h2_upstream: Path | None = None,
        max_tunnels: int = 0,
    ) -> None:
        if set(refusals) != {*Refusal, *(grpc_refusal(status) for status in range(1, 17))}:
            raise ValueError("every refusal needs its answer")
        path = _ffi.new("char[]", str(upstream).encode())
        h2_path = _ffi.NULL if h2_upstream is None else _ffi.new("char[]", str(h2_upstream).encode())
        settings = _ffi.new(
            "ct_edge_settings *",
            {
                "upstream": path,
                "idle_ns": round(idle_timeout_s * 1e9),
                "inflight_max": max_inflight,
                "connections_max": max_connections,
                "bodies_max": max_bodies_bytes,
                "h2_upstream": h2_path,
                "tunnels_max": max_tunnels,
            },
        )
        self._reactor = reactor  # it outlives us
        self._handle: Any = _lib.ct_edge_new(reactor.handle, settings)
        if self._handle == _ffi.NULL:
            raise ValueError(f"{upstream}: too long for a socket, or no memory")
        self._kept: list[Tls | None] = [tls]  # they outlive the connections
        if tls is not None:
            _lib.ct_edge_secure(self._handle, tls.handle)
        for refusal, answer in refusals.items():
            fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items()).encode()
            result = _lib.ct_edge_problem(
                self._handle, refusal, answer.status, answer.problem, len(answer.problem), fields
            )
            checked("edge", result)

    def listen(self, listener: socket.socket) -> None:
        """Take connections from a bound, listening socket, which stays the caller's and open until `stop`."""
        checked("edge", _lib.ct_edge_listen(self._handle, listener.fileno()))

    def call(self, lane: CallLane) -> None:
        """Answer plain calls of learnt callers without Python from now on; once.

        Raises:
            ValueOutOfRange: the address is not numeric, or the path too long for a socket.
        """
        comet = _ffi.new("char[]", lane.host.encode())
        near = _ffi.NULL if lane.near is None else _ffi.new("char[]", str(lane.near).encode())
        authorization = _ffi.new("char[]", lane.authorization.encode())
        bounds = _ffi.new("uint64_t[]", [round(bound * 1e9) for bound in lane.bounds_s])
        settings = _ffi.new(
            "ct_edge_lane *",
            {
                "comet": comet,
                "port": lane.port,
                "near": near,
                "authorization": authorization,
                "calls_max": lane.max_calls,
                "max_timeout_ns": round(lane.max_timeout_s * 1e9),
                "stream_ns": round(lane.stream_s * 1e9),
                "grace_ns": round(lane.grace_s * 1e9),
                "read_ns": round(lane.read_timeout_s * 1e9),
                "body_max": lane.max_body_bytes,
                "bounds_ns": bounds,
                "bound_count": len(lane.bounds_s),
                "tls": _ffi.NULL if lane.tls is None else lane.tls.handle,
            },
        )
        checked("edge", _lib.ct_edge_call(self._handle, settings))
        self._kept.append(lane.tls)

    def learn(self, key: bytes, token: bytes, *, renew_at_s: float, until_s: float, rule: bytes = b"") -> None:
        """Let the caller with this key (see `ct_edge_learn`) invoke with this token; times are monotonic.

        `rule`: which functions; empty: all.
        """
        result = _lib.ct_edge_learn(
            self._handle,
            key,
            len(key),
            token,
            len(token),
            rule,
            len(rule),
            _nanoseconds(renew_at_s),
            _nanoseconds(until_s),
        )
        checked("edge", result)

    def forget(self) -> None:
        """Forget every caller."""
        if self._handle != _ffi.NULL:
            _lib.ct_edge_forget(self._handle)

    def domains(self, names: Iterable[str]) -> None:
        """Leave calls to these hosts to the app behind, whoever sends them, in place of those named before.

        "*.example.org" is every name with one label more than example.org. If this fails, calls to any host are.

        Raises:
            ValueOutOfRange: one is empty, or longer than 253 bytes.
        """
        if self._handle != _ffi.NULL:
            text = b"".join(name + b"\n" for name in sorted({name.encode() for name in names}))
            checked("edge", _lib.ct_edge_domains(self._handle, text, len(text)))

    def fresh(self, until_s: float) -> None:
        """Believe what was learnt until then (monotonic), unless this is called again."""
        if self._handle != _ffi.NULL:
            _lib.ct_edge_fresh(self._handle, _nanoseconds(until_s))

    def trust(self, connection: int, host: bytes) -> None:
        """The peer of this connection is the trusted local user, for requests with this Host."""
        _lib.ct_edge_trust(self._handle, connection, host, len(host))

    def believe(self, networks: Sequence[IPv4Network | IPv6Network], *, is_other_header: bool) -> None:
        """Take the word of peers in these networks about where a request comes from; before anybody connects.

        Args:
            is_other_header: it is not in X-Forwarded-For: every request of theirs is passed on.
        """
        nets = _ffi.new("ct_edge_net[]", len(networks))
        for net, network in zip(nets, networks, strict=True):
            is_v4 = network.version == 4
            net.base = (_MAPPED if is_v4 else b"") + network.network_address.packed
            net.bits = network.prefixlen + (96 if is_v4 else 0)
        checked("edge", _lib.ct_edge_proxies(self._handle, nets, len(networks), is_other_header))

    def trust_local(self, uid: int) -> None:
        """Take the connections that this user of this host opens for the trusted local user's, as `trust` does.

        They are for requests with a Host that `trust` was told of.

        Raises:
            OSError: the kernel can not be asked whose a connection is.
        """
        checked("edge", _lib.ct_edge_local(self._handle, uid))

    def hold(self, count_bytes: int) -> bool:
        """Add to the bytes of bodies in memory, or take off; False: they would be too many."""
        return bool(self._handle == _ffi.NULL or _lib.ct_edge_hold(self._handle, count_bytes) == 0)

    def enter(self) -> bool:
        """Count a request of an HTTP/2 connection among those in hand; False: they would be too many."""
        return bool(self._handle == _ffi.NULL or _lib.ct_edge_enter(self._handle) == 0)

    def leave(self) -> None:
        """Take one off."""
        if self._handle != _ffi.NULL:
            _lib.ct_edge_leave(self._handle)

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
            tunnels=raw.tunnels,
            forwarded=raw.forwarded,
            refused={number: raw.refused[number] for number in range(_lib.CT_EDGE_REFUSALS) if raw.refused[number]},
            called=raw.called,
            held_bytes=raw.held_bytes,
            lookups=raw.lookups,
            calls=_tally(raw.calls),
            streams=_tally(raw.streams),
            codes=self._codes(),
        )

    def take_notes(self) -> tuple[list[EdgeNote], int]:
        """Return what was refused since the last time, and how many calls more there was no room to note."""
        if self._handle == _ffi.NULL:
            return [], 0
        raw, lost = _ffi.new("ct_edge_note[]", _lib.CT_EDGE_NOTES), _ffi.new("uint64_t *")
        count = _lib.ct_edge_notes(self._handle, raw, _lib.CT_EDGE_NOTES, lost)
        return [_note(raw[index]) for index in range(count)], lost[0]

    def _codes(self) -> dict[str, int]:
        if self._handle == _ffi.NULL:
            return {}
        raw = _ffi.new("ct_edge_code[]", _lib.CT_EDGE_CODES)
        count = _lib.ct_edge_codes(self._handle, raw, _lib.CT_EDGE_CODES)
        return {_ffi.string(raw[index].code).decode(): raw[index].count for index in range(count)}

    def close(self) -> None:
        """End every connection. May be repeated."""
        _lib.ct_edge_free(self._handle)
        self._handle = _ffi.NULL
