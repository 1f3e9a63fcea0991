"""Comet's gRPC port: C owns it and its unix socket and passes on to grpclib behind, or grpclib owns the TCP port alone."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from constellation.aurora.observability.plane import PlaneContext, socket_path
from constellation.base.sockets import listen_unix
from constellation.comet.lane import LaneKeeper
from constellation.native.h2 import Port, PortCounts, Ports
from constellation.native.tls import Protocol
from constellation.rpc.server import Service, serving
from constellation.rpc.tls import ServerTls

LINGER_S = 1.0  # chosen: calls were drained before; what is left is cut after this
_GAUGES = ("connections", "streams", "held_bytes")
_NOTES: Mapping[str, str] = {
    "accepted": "Connections that were made to the port",
    "accepted_near": "Of these, by the unix socket for callers on this machine",
    "turned_away": "Connections refused: too many",
    "faulted": "Connections closed for what they sent, or did not",
    "taken": "Streams answered in C",
    "forwarded": "Streams passed on to the Python server",
    "unserved": "Streams that the Python server could not be reached for",
    "cancelled": "Streams that their client gave up",
    "connections": "Connections open now",
    "streams": "Streams open now",
    "held_bytes": "Bodies that wait in the port",
}


class PortCollector(Collector):
    """Reads C's counts when somebody asks."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics(self._port.counts())

    def describe(self) -> Iterator[Metric]:
        """The names, so that registering does not read the port."""
        yield from self._metrics(None)

    def _metrics(self, counts: PortCounts | None) -> Iterator[Metric]:
        for name, note in _NOTES.items():
            family = GaugeMetricFamily if name in _GAUGES else CounterMetricFamily
            yield family(f"constellation_port_{name}", note, value=None if counts is None else getattr(counts, name))


@asynccontextmanager
async def serving_port(
    context: PlaneContext,
    services: Sequence[Service],
    *,
    listener: socket.socket,
    near: socket.socket | None,
    ports: Ports | None,
    lane: LaneKeeper,
    tls: ServerTls | None = None,
) -> AsyncIterator[None]:
    """Serve on comet's port for the length of the block: the lane, with grpclib behind it; without ports grpclib alone.

    `near`: a unix socket that the lane serves, too. Both are closed at the end, `near` first: while it listens, nobody
    else can have the address that it stands for.
    """
    if ports is None:
        async with serving(services, listener=listener, tls=tls):
            yield
        return
    behind = socket_path(context.state_dir, "comet-grpc")
    with listener, near or nullcontext():
        async with (
            serving(services, listener=listen_unix(behind)),
            ports.serving(
                [listener] if near is None else [listener, near],
                behind,
                linger_s=LINGER_S,
                tls=None if tls is None else tls.native(Protocol.H2),
            ) as port,
        ):
            collector = PortCollector(port)
            context.registry.register(collector)
            lane.attach(port)
            try:
                yield
            finally:
                context.registry.unregister(collector)
