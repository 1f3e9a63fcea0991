"""Asks every plane of this node how it is and what it counted, all at once and within a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from grpclib.health.v1 import health_pb2
from grpclib.health.v1.health_grpc import HealthStub

from constellation.aurora.metrics.merge import Exposition
from constellation.base.errors import ConstellationError
from constellation.rpc.channel import PlaneChannel
from constellation.wire.gen import telemetry_pb2
from constellation.wire.gen.telemetry_grpc import TelemetryStub

_Ask = Callable[[str, PlaneChannel], Awaitable[None]]
PLANES = ("nova", "comet", "corona", "nebula", "aurora", "zenith")


class NotServing(ConstellationError):
    """The plane answers, and says that it does not serve."""

    code, http_status, retryable = "not_serving", 503, True

    def __init__(self, plane: str) -> None:
        super().__init__(f"{plane} does not serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneState:
    """How one plane answered. `reason` says why it is not up."""

    plane: str
    is_up: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """One round: the state of every plane, and the expositions of those that answered."""

    states: tuple[PlaneState, ...]
    expositions: tuple[Exposition, ...]


class PlaneCollector:
    """Holds one connection a plane, over its socket in the state directory."""

    def __init__(self, sockets: Mapping[str, Path], *, service_token: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._channels = {
            plane: PlaneChannel(name=plane, service_token=service_token, path=path) for plane, path in sockets.items()
        }

    async def metrics(self) -> Collected:
        """Return what every plane counted. A plane that does not answer in time is down; nothing raises."""
        found: dict[str, Exposition] = {}

        async def ask(plane: str, channel: PlaneChannel) -> None:
            reply = await channel.unary(
                TelemetryStub(channel.grpc).Metrics,
                telemetry_pb2.MetricsRequest(),
                metadata=channel.metadata(),
                timeout_s=self._timeout_s,
            )
            found[plane] = Exposition(plane=plane, node=reply.node, text=reply.text.decode(errors="replace"))

        states = await self._ask_all(ask)
        return Collected(states=states, expositions=tuple(found[plane] for plane in self._channels if plane in found))

    async def health(self) -> tuple[PlaneState, ...]:
        """Return each plane's state by its health service."""

        async def ask(plane: str, channel: PlaneChannel) -> None:
            reply = await channel.unary(
                HealthStub(channel.grpc).Check,
                health_pb2.HealthCheckRequest(),
                metadata={},
                timeout_s=self._timeout_s,
            )
            if reply.status != health_pb2.HealthCheckResponse.SERVING:
                raise NotServing(plane)

        return await self._ask_all(ask)

    async def _ask_all(self, ask: _Ask) -> tuple[PlaneState, ...]:
        states: dict[str, PlaneState] = {}

        async def one(plane: str, channel: PlaneChannel) -> None:
            try:
                await ask(plane, channel)
            except ConstellationError as error:
                states[plane] = PlaneState(plane=plane, is_up=False, reason=str(error))
            else:
                states[plane] = PlaneState(plane=plane, is_up=True)

        async with anyio.create_task_group() as tasks:
            for plane, channel in self._channels.items():
                tasks.start_soon(one, plane, channel)
        return tuple(states[plane] for plane in self._channels)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
