"""Puts the gateway together. The only place in zenith that constructs things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from constellation.aurora.observability.plane import PlaneContext, plane_context, telemetry
from constellation.base.address import Address, parse_address
from constellation.base.errors import InvalidRequest, Unavailable
from constellation.base.lifecycle import until_signal
from constellation.base.sockets import listen_tcp
from constellation.native.json_check import is_json
from constellation.nova.config.load import ConfigInvalid, Loaded
from constellation.nova.config.sections import ZenithSettings
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT
from constellation.routes.registry import ROUTES, RouteTable, Transport
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.connections import end_with_clients
from constellation.zenith.control import ControlPlane
from constellation.zenith.doorman import Doorman
from constellation.zenith.execution import Execution, check_health
from constellation.zenith.follow import ChangeFollower
from constellation.zenith.function_url import FunctionUrl
from constellation.zenith.gateway import Gateway, Handler
from constellation.zenith.hangup import HangupWatch
from constellation.zenith.health import Alive, Check, Ready
from constellation.zenith.invoke import Invoke
from constellation.zenith.limits import BodyBudget, Gate
from constellation.zenith.metrics import CacheMetrics, GatewayMetrics
from constellation.zenith.peer import PeerLookup
from constellation.zenith.principals import Principals
from constellation.zenith.relay import HttpRelay, ProxyRelay
from constellation.zenith.request import MAX_HEADER_BYTES
from constellation.zenith.routing import Router

log = structlog.get_logger()

_BODIES_BYTES = 256 << 20  # chosen: gathered bodies of all requests in hand
_FIRST_WORD_S = 10.0  # chosen: without nova it starts all the same, and says 503
_DRAIN_S = 5.0  # chosen: requests in hand at a stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The gateway and what must run beside it."""

    gateway: Gateway
    follower: ChangeFollower
    hangups: HangupWatch
    execution: Execution
    gate: Gate
    budget: BodyBudget
    peers: PeerLookup | None

    def close(self) -> None:
        self.execution.close()
        if self.peers is not None:
            self.peers.close()


def listen_addresses(settings: ZenithSettings) -> list[Address]:
    """Return where to listen.

    Raises:
        ConfigInvalid: no address, a malformed one, or loopback trust on an address that others can reach.
    """
    try:
        addresses = [parse_address(part.strip()) for part in settings.listen.split(",") if part.strip()]
    except InvalidRequest as error:
        raise ConfigInvalid("zenith.listen", str(error)) from error
    if not addresses:
        raise ConfigInvalid("zenith.listen", "must name at least one HOST:PORT")
    if settings.auth == "loopback":
        for address in addresses:
            if not address.is_loopback:
                raise ConfigInvalid("zenith.auth", f"can not be loopback while listening on {address}")
        if settings.trusted_uid < 0:
            raise ConfigInvalid("zenith.trusted_uid", "must name the trusted user when zenith.auth is loopback")
    return addresses


def build(
    settings: ZenithSettings, context: PlaneContext, *, control: ControlPlane, execution: Execution,
    checks: Mapping[str, Check],
) -> Parts:  # fmt: skip
    """Return the gateway of these settings. `checks`: planes besides nova and comet that must be healthy."""
    gate, budget, hangups = Gate(limit=settings.max_inflight), BodyBudget(limit_bytes=_BODIES_BYTES), HangupWatch()
    principals = Principals(
        directory=control,
        identity_key=context.identity_key,
        clock=context.clock,
        fresh_s=settings.cache_ttl_s,
        metrics=CacheMetrics(context.registry),
    )
    follower = ChangeFollower(control=control, cache=principals, clock=context.clock, cache_ttl_s=settings.cache_ttl_s)
    is_trusting = settings.auth == "loopback"
    peers = PeerLookup() if is_trusting else None
    doorman = Doorman(
        principals=principals,
        freshness=follower,
        trusted_uid=settings.trusted_uid if is_trusting else None,
        peers=peers,
    )

    async def check_nova() -> None:
        if await control.scope_status(DEFAULT_TENANT, DEFAULT_NAMESPACE) is None:
            raise Unavailable("nova", reason="its database has no default tenant")

    alive = Alive()
    ready = Ready(
        checks={"nova": check_nova, "comet": execution.check_health, **checks}, freshness=follower, clock=context.clock
    )
    local: dict[str, Handler] = {
        "health_live": alive, "health_startup": alive, "health": ready, "health_ready": ready,
    }  # fmt: skip
    by_transport: dict[Transport, Handler] = {
        Transport.INVOKE: Invoke(
            execution=execution, is_json=is_json, budget=budget, max_body_bytes=settings.max_body_bytes,
            max_timeout_s=settings.max_timeout_s, read_timeout_s=settings.read_timeout_s,
        ),
        Transport.FUNCTION_URL: FunctionUrl(
            execution=execution, budget=budget, max_body_bytes=settings.max_body_bytes,
            max_timeout_s=settings.max_timeout_s, read_timeout_s=settings.read_timeout_s,
        ),
        Transport.PROXY: ProxyRelay(
            execution=execution, budget=budget, max_body_bytes=settings.max_body_bytes,
            read_timeout_s=settings.read_timeout_s,
        ),
        Transport.HTTP: HttpRelay(
            control=control, max_body_bytes=settings.max_body_bytes, read_timeout_s=settings.read_timeout_s
        ),
    }  # fmt: skip
    handlers = {
        route.operation: local[route.operation] if route.transport is Transport.LOCAL else by_transport[route.transport]
        for route in ROUTES
    }
    gateway = Gateway(
        router=Router(RouteTable()),
        doorman=doorman,
        handlers=handlers,
        gate=gate,
        budget=budget,
        hangups=hangups,
        metrics=GatewayMetrics(context.registry, gate),
    )
    return Parts(
        gateway=gateway,
        follower=follower,
        hangups=hangups,
        execution=execution,
        gate=gate,
        budget=budget,
        peers=peers,
    )


async def serve(loaded: Loaded, *, plane_sockets: Mapping[str, Path]) -> None:
    """Serve until SIGTERM or SIGINT. `plane_sockets`: planes that /health asks besides nova and comet."""
    settings = loaded.settings.zenith
    addresses = listen_addresses(settings)
    comet = parse_address(settings.comet_grpc, default_host="127.0.0.1")
    context = await plane_context("zenith", loaded.settings.platform)
    control = ControlPlane(
        url=settings.nova_url, service_token=context.service_token, idle_timeout_s=settings.idle_timeout_s
    )
    execution = Execution(
        lambda: PlaneChannel(name="comet", service_token=context.service_token, address=comet),
        max_calls=settings.max_inflight,
    )
    channels = {
        name: PlaneChannel(name=name, service_token=context.service_token, path=path)
        for name, path in plane_sockets.items()
    }
    parts = build(
        settings, context, control=control, execution=execution,
        checks={name: _health_check(channel) for name, channel in channels.items()},
    )  # fmt: skip
    config, bound = server_config(addresses, idle_timeout_s=settings.idle_timeout_s)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.follower.run)
            await tasks.start(parts.hangups.run)
            with anyio.move_on_after(_FIRST_WORD_S):
                await parts.follower.heard.wait()  # ready means: the next request is served, not refused
            async with telemetry(context, admin=loaded.settings.platform.admin):
                log.info("zenith.listening", addresses=[str(address) for address in bound], auth=settings.auth)
                await run_server(parts, config)
            tasks.cancel_scope.cancel()
    finally:
        parts.close()
        for channel in channels.values():
            channel.close()
        with anyio.move_on_after(1.0, shield=True):
            await control.close()


def server_config(addresses: Sequence[Address], *, idle_timeout_s: float) -> tuple[Config, list[Address]]:
    """Return hypercorn's settings over sockets that are bound already, and their real addresses."""
    config = Config()
    binds: list[str] = []
    bound: list[Address] = []
    for address in addresses:
        sock, real = listen_tcp(address)
        binds.append(f"fd://{sock.detach()}")  # hypercorn owns and closes it
        bound.append(real)
    config.bind = binds
    config.backlog = 1024
    config.loglevel = "WARNING"
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = idle_timeout_s  # also bounds a head that does not come to its end
    config.keep_alive_max_requests = 1 << 30  # connections are not closed for having been useful
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.graceful_timeout = _DRAIN_S + 2.0  # what is left of the drain is cut off by us, which is quieter
    # A read timeout of the server would cut a client that waits for a slow function: bodies have their own in `Request`.
    config.read_timeout = None
    return config, bound


async def run_server(parts: Parts, config: Config) -> None:
    """Serve until a signal; then requests in hand have `_DRAIN_S` seconds to end."""
    end_with_clients()
    stopping, ended = anyio.Event(), anyio.Event()

    async def run() -> None:
        # A task of its own: hypercorn leaves the cancellation count of its task raised behind it, which anyio's
        # scopes around it would read as a cancellation from outside.
        await hypercorn_serve(parts.gateway, config, shutdown_trigger=stopping.wait)  # type: ignore[arg-type]  # hypercorn's scope types are unions of TypedDicts
        if not stopping.is_set():
            raise RuntimeError("the HTTP server ended by itself")
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        received = await until_signal()
        log.info("zenith.stopping", signal=received.name)
        stopping.set()
        with anyio.move_on_after(_DRAIN_S):
            await ended.wait()
        parts.hangups.cancel_all()
        tasks.cancel_scope.deadline = anyio.current_time() + _DRAIN_S  # it should have ended long before


def _health_check(channel: PlaneChannel) -> Check:
    async def check() -> None:
        await check_health(channel)

    return check
