"""Puts the gateway together. The only place in zenith that constructs things."""

from __future__ import annotations

import resource
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog

from constellation.aurora.logging.setup import follow_level
from constellation.aurora.metrics.registry import DURATION_BUCKETS_S
from constellation.aurora.observability.plane import PlaneContext, plane_context, socket_path, telemetry
from constellation.base.address import Address, parse_address
from constellation.base.lifecycle import until_signal
from constellation.base.sockets import listen_tcp
from constellation.native.edge import CallLane, Edge
from constellation.native.json_check import is_json
from constellation.native.reactor import Reactor
from constellation.native.tls import Protocol, hear_refusals
from constellation.nova.config.live import InForce
from constellation.nova.config.load import Loaded
from constellation.nova.config.sections import AuditSettings, SocketSettings, ZenithSettings
from constellation.nova.domain.host import function_domain_in
from constellation.routes.registry import ROUTES, RouteTable
from constellation.routes.route import Transport
from constellation.rpc.channel import PlaneChannel
from constellation.rpc.hangup import HangupWatch
from constellation.rpc.http import serving_asgi
from constellation.rpc.near import near_path
from constellation.rpc.tls import CallerTls, ServerTls, caller_tls, public_tls, renewing
from constellation.zenith.addresses import listen_addresses, numeric
from constellation.zenith.audit import AuditTrail
from constellation.zenith.breakers import Breakers
from constellation.zenith.control import ControlPlane
from constellation.zenith.doorman import Doorman
from constellation.zenith.edge import (
    BODIES_BYTES,
    MAX_TUNNELS,
    CountedAtEdge,
    EnteredAtEdge,
    HeldAtEdge,
    KnownAtEdge,
    behind_edge,
    connection_limit,
    edge_socket_path,
    in_tunnel,
    listening,
    refusals,
    take_no_more,
    tunnel_socket_path,
    upstream_socket,
)
from constellation.zenith.edge_audit import EdgeAudit
from constellation.zenith.event import BodyReader, EventReader
from constellation.zenith.execution import Execution, check_health
from constellation.zenith.follow import Believed, Cache, ChangeFollower
from constellation.zenith.function_url import FunctionUrl
from constellation.zenith.gateway import Gateway, Handler
from constellation.zenith.health import Check, check_nova, probes
from constellation.zenith.invoke import GRACE_S, Invoke
from constellation.zenith.limits import Admission, BodyBudget, Budget, Gate
from constellation.zenith.metrics import CacheMetrics, GatewayMetrics
from constellation.zenith.peer import PeerLookup
from constellation.zenith.ports import PortRelay
from constellation.zenith.principals import Principals
from constellation.zenith.proxies import proxies_of
from constellation.zenith.reached import ReachedFunctions
from constellation.zenith.relay import HttpRelay, ProxyRelay
from constellation.zenith.request import MAX_HEADER_BYTES
from constellation.zenith.route_status import RouteStatus
from constellation.zenith.routing import Router
from constellation.zenith.settings import SettingsReader
from constellation.zenith.site_callers import SiteCallers
from constellation.zenith.site_requests import SiteRequests
from constellation.zenith.sites import Sites
from constellation.zenith.stream import STREAM_S, InvokeStream
from constellation.zenith.terminal import Terminal
from constellation.zenith.url_door import UrlDoor
from constellation.zenith.web_socket import WebSockets

log = structlog.get_logger()

_FIRST_WORD_S = 10.0  # chosen: without nova it starts all the same, and says 503
_DRAIN_S = 5.0  # chosen: requests in hand at a stop
_LAST_S = 1.0  # chosen: and what was cut off then
_PEER_HEADER_BYTES = 1024  # what the edge adds to a head
_INVOKE = next(route for route in ROUTES if route.transport is Transport.INVOKE)
_AUDIT = AuditSettings()
_EDGE_KEEPS_S = 3600.0  # the edge drops unused connections long before: the server behind must never do it first


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The C core's part: it owns the port, and the app is behind it at `upstream`."""

    reactor: Reactor
    edge: Edge
    upstream: Path
    h2_upstream: Path | None  # None: HTTP/2 is not spoken, as there is no TLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The gateway and what must run beside it."""

    gateway: Gateway
    h2_gateway: Gateway | None  # of the requests that the edge does not read
    follower: ChangeFollower
    sites: Sites
    hangups: HangupWatch
    audit: AuditTrail
    execution: Execution
    gate: Admission
    budget: Budget
    peers: PeerLookup | None
    lane: Lane | None  # None: Python owns the port

    def close(self) -> None:
        if self.lane is not None:
            self.lane.edge.close()
            self.lane.reactor.close()
        self.execution.close()
        if self.peers is not None:
            self.peers.close()


def build(
    settings: ZenithSettings, context: PlaneContext, *, control: ControlPlane, execution: Execution,
    checks: Mapping[str, Check], comet: Address | None = None, is_native: bool = True,
    tls: ServerTls | None = None, comet_tls: CallerTls | None = None, audit: AuditSettings = _AUDIT,
    sockets_now: Callable[[], SocketSettings] | None = None, caches: Sequence[Cache] = (),
) -> Parts:  # fmt: skip
    """Return the gateway of these settings.

    `checks`: planes besides nova and comet that must be healthy. `comet`: its numeric address, for calls without
    Python; None: every call is Python's. `is_native`: C owns the port. `sockets_now`: settings of WebSockets that may
    change; `caches`: what else is told of changes.
    """
    lane = native_lane(settings, context, comet, tls=tls, comet_tls=comet_tls) if is_native else None
    proxies = proxies_of(settings.trusted_proxies, header=settings.forwarded_header)
    if lane is not None and proxies.networks:
        lane.edge.believe(proxies.networks, is_other_header=settings.forwarded_header != "x-forwarded-for")
    gate: Admission = Gate(limit=settings.max_inflight) if lane is None else CountedAtEdge(lane.edge)
    budget: Budget = BodyBudget(limit_bytes=BODIES_BYTES) if lane is None else HeldAtEdge(lane.edge)
    hangups = HangupWatch()
    principals = Principals(
        directory=control,
        identity_key=context.identity_key,
        clock=context.clock,
        fresh_s=settings.cache_ttl_s,
        metrics=CacheMetrics(context.registry, None if lane is None else lane.edge),
        on_forget=None if lane is None else lane.edge.forget,
    )
    reached = ReachedFunctions(directory=control, clock=context.clock)
    sites = Sites(
        source=control, clock=context.clock, stale_s=settings.cache_ttl_s,
        breakers=Breakers(clock=context.clock, registry=context.registry),
        on_hosts=None if lane is None else lane.edge.domains,
        function_domain=(function_domain := function_domain_in(settings.function_domain)),
    )  # fmt: skip
    follower = ChangeFollower(
        control=control, caches=(principals, reached, sites, *caches), clock=context.clock, cache_ttl_s=settings.cache_ttl_s,
        on_word=None if lane is None else lane.edge.fresh,
    )  # fmt: skip
    freshness = Believed(follower, sites)
    is_trusting = settings.auth == "loopback"
    peers = PeerLookup() if is_trusting else None
    if lane is not None and is_trusting:
        lane.edge.trust_local(settings.trusted_uid)
    doorman = Doorman(
        principals=principals,
        freshness=freshness,
        trusted_uid=settings.trusted_uid if is_trusting else None,
        peers=peers,
        known=None if lane is None else KnownAtEdge(lane.edge),
    )

    door = UrlDoor(
        doorman=doorman,
        functions=reached,
        freshness=freshness,
        identity_key=context.identity_key,
        clock=context.clock,
        domain=function_domain,
    )

    asked = {"nova": lambda: check_nova(control), "comet": execution.check_health, **checks}
    local: dict[str, Handler] = {
        **probes(checks=asked, freshness=freshness, clock=context.clock), "gateway_route_status": RouteStatus(sites),
    }  # fmt: skip
    bodies = BodyReader(budget=budget, max_body_bytes=settings.max_body_bytes, read_timeout_s=settings.read_timeout_s)
    events = EventReader(bodies=bodies, is_json=is_json)
    sockets = WebSockets(
        execution=execution,
        doorman=door,
        settings=sockets_now or (lambda: settings.sockets),
        max_timeout_s=settings.max_timeout_s,
    )
    site_requests = SiteRequests(
        sites=sites,
        callers=SiteCallers(
            principals=principals, freshness=freshness, identity_key=context.identity_key, clock=context.clock
        ),
        execution=execution, sockets=sockets, bodies=bodies, max_timeout_s=settings.max_timeout_s,
    )  # fmt: skip
    by_transport: dict[Transport, Handler] = {
        Transport.INVOKE: Invoke(execution=execution, events=events, max_timeout_s=settings.max_timeout_s),
        Transport.STREAM: InvokeStream(execution=execution, events=events, max_timeout_s=settings.max_timeout_s),
        Transport.FUNCTION_URL: FunctionUrl(
            execution=execution, door=door, sockets=sockets, bodies=bodies, max_timeout_s=settings.max_timeout_s
        ),
        Transport.PROXY: ProxyRelay(
            execution=execution, budget=budget, max_body_bytes=settings.max_body_bytes,
            read_timeout_s=settings.read_timeout_s,
        ),
        Transport.TERMINAL: Terminal(execution=execution),
        Transport.PORT: PortRelay(
            execution=execution, max_body_bytes=settings.max_body_bytes, read_timeout_s=settings.read_timeout_s
        ),
        Transport.HTTP: HttpRelay(
            control=control, max_body_bytes=settings.max_body_bytes, read_timeout_s=settings.read_timeout_s
        ),
    }  # fmt: skip
    handlers = {
        route.operation: local[route.operation] if route.transport is Transport.LOCAL else by_transport[route.transport]
        for route in ROUTES
    }
    at_edge = None if lane is None else EdgeAudit(lane.edge, identity_key=context.identity_key)
    trail = AuditTrail(control.audit, audit, context.registry, at_edge=at_edge)
    metrics = GatewayMetrics(
        context.registry, gate, edge=None if lane is None else lane.edge, refusals=refusals(settings)
    )
    router = Router(RouteTable())

    def gateway(behind: Admission) -> Gateway:
        return Gateway(
            router=router,
            doorman=doorman,
            handlers=handlers,
            gate=behind,
            budget=budget,
            hangups=hangups,
            metrics=metrics,
            audit=trail,
            sites=sites,
            site_requests=site_requests,
            proxies=proxies,
        )

    return Parts(
        gateway=gateway(gate),
        h2_gateway=None if lane is None else gateway(EnteredAtEdge(lane.edge, limit=settings.max_inflight)),
        follower=follower,
        sites=sites,
        hangups=hangups,
        audit=trail,
        execution=execution,
        gate=gate,
        budget=budget,
        peers=peers,
        lane=lane,
    )


def native_lane(
    settings: ZenithSettings,
    context: PlaneContext,
    comet: Address | None,
    *,
    tls: ServerTls | None,
    comet_tls: CallerTls | None,
) -> Lane:
    """Return the edge of these settings, which listens nowhere yet."""
    reactor = Reactor()
    hear_refusals(
        reactor,
        of_clients=None if tls is None else tls.refusals.native,
        of_servers=None if comet_tls is None else comet_tls.refusals.native,
    )
    sockets = socket_path(context.state_dir, context.plane).parent
    upstream, h2_upstream = edge_socket_path(sockets), None if tls is None else tunnel_socket_path(sockets)
    edge = Edge(
        reactor,
        upstream=upstream,
        idle_timeout_s=settings.idle_timeout_s,
        max_inflight=settings.max_inflight,
        max_connections=connection_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        max_bodies_bytes=BODIES_BYTES,
        refusals=refusals(settings),
        tls=None if tls is None else tls.native(Protocol.EITHER),
        h2_upstream=h2_upstream,
        max_tunnels=MAX_TUNNELS,
    )
    if comet is not None:
        edge.call(
            CallLane(
                host=comet.host,
                port=comet.port,
                authorization=f"Bearer {context.service_token}",
                max_calls=settings.max_inflight,
                max_timeout_s=settings.max_timeout_s,
                stream_s=STREAM_S,
                grace_s=GRACE_S,
                read_timeout_s=settings.read_timeout_s,
                max_body_bytes=min(settings.max_body_bytes, _INVOKE.max_body_bytes or settings.max_body_bytes),
                bounds_s=DURATION_BUCKETS_S,
                tls=None if comet_tls is None else comet_tls.native(),
                near=None if comet_tls is not None else near_path(sockets, comet),
            )
        )
    return Lane(reactor=reactor, edge=edge, upstream=upstream, h2_upstream=h2_upstream)


async def run(loaded: Loaded, *, plane_sockets: Mapping[str, Path]) -> None:
    """Serve until SIGTERM or SIGINT. `plane_sockets`: planes that /health asks besides nova and comet."""
    settings = loaded.settings.zenith
    addresses = listen_addresses(settings)
    comet = parse_address(settings.comet_grpc, default_host="127.0.0.1")
    context = await plane_context("zenith", loaded.settings.platform)
    tls = await public_tls(settings.tls)
    comet_tls = await caller_tls(settings.comet_tls, where="zenith.comet_tls", host=comet.host)
    bound = [listen_tcp(address) for address in addresses]
    control = ControlPlane(
        url=settings.nova_url, service_token=context.service_token, idle_timeout_s=settings.idle_timeout_s
    )
    execution = Execution(
        lambda: PlaneChannel(name="comet", service_token=context.service_token, address=comet, tls=comet_tls),
        max_calls=settings.max_inflight,
    )
    channels = {
        name: PlaneChannel(name=name, service_token=context.service_token, path=path)
        for name, path in plane_sockets.items()
    }
    in_force = InForce(loaded)
    in_force.watch(follow_level)
    reader = SettingsReader(control, in_force)
    parts = build(
        settings, context, control=control, execution=execution,
        checks={name: _health_check(channel) for name, channel in channels.items()},
        comet=await numeric(comet), is_native=loaded.settings.platform.native_lane,
        tls=tls, comet_tls=comet_tls, audit=loaded.settings.audit,
        sockets_now=lambda: in_force.settings.zenith.sockets, caches=(reader,),
    )  # fmt: skip
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.follower.run)
            await tasks.start(reader.run)
            await tasks.start(parts.sites.run)
            await tasks.start(parts.hangups.run)
            await tasks.start(parts.audit.run)
            with anyio.move_on_after(_FIRST_WORD_S):
                await parts.follower.heard.wait()
                await parts.sites.loaded.wait()  # ready means: the next request is served, not refused
            async with (
                telemetry(context, admin=loaded.settings.platform.admin),
                renewing(tls, comet_tls),
                serving_gateway(
                    parts, [listener for listener, _ in bound], idle_timeout_s=settings.idle_timeout_s, tls=tls
                ),
            ):
                log.info(
                    "zenith.ready",
                    addresses=[str(address) for _, address in bound],
                    auth=settings.auth,
                    tls=tls is not None,
                )
                received = await until_signal()
                log.info("zenith.stopping", signal=received.name)
            tasks.cancel_scope.cancel()
        await parts.audit.flush(within_s=_LAST_S)
    finally:
        parts.close()
        for channel in channels.values():
            channel.close()
        with anyio.move_on_after(1.0, shield=True):
            await control.close()


@asynccontextmanager
async def serving_gateway(
    parts: Parts, listeners: Sequence[socket.socket], *, idle_timeout_s: float, tls: ServerTls | None = None
) -> AsyncIterator[None]:
    """Serve the public API for the length of the block; requests in hand then have `_DRAIN_S` seconds to end."""
    lane = parts.lane
    if lane is None:
        async with serving_asgi(
            parts.gateway,
            listeners=listeners,
            drain_s=_DRAIN_S,
            idle_timeout_s=idle_timeout_s,
            head_limit_bytes=MAX_HEADER_BYTES,
            cut_off=parts.hangups.cancel_all,
            tls=tls,
        ):
            yield
        return
    with (
        lane.reactor.turning(),
        upstream_socket(lane.upstream) as behind,
        nullcontext() if lane.h2_upstream is None else upstream_socket(lane.h2_upstream) as h2_behind,
    ):
        async with (
            serving_asgi(
                behind_edge(parts.gateway),
                listeners=[behind],
                drain_s=_LAST_S,
                idle_timeout_s=_EDGE_KEEPS_S,
                head_limit_bytes=MAX_HEADER_BYTES + _PEER_HEADER_BYTES,
                cut_off=parts.hangups.cancel_all,
            ),
            listening(lane.edge, listeners, drain_s=_DRAIN_S, cut_off=parts.hangups.cancel_all, last_s=_LAST_S),
            nullcontext() if h2_behind is None else _serving_h2(parts, h2_behind, idle_timeout_s=idle_timeout_s),
        ):
            try:
                yield
            finally:
                take_no_more(lane.edge, listeners)  # before the clients of HTTP/2 are told to go elsewhere


def _serving_h2(parts: Parts, behind: socket.socket, *, idle_timeout_s: float) -> AbstractAsyncContextManager[None]:
    """Serve the connections that the edge hands over."""
    assert parts.h2_gateway is not None
    return serving_asgi(
        in_tunnel(parts.h2_gateway),
        listeners=[behind],
        drain_s=_DRAIN_S,
        idle_timeout_s=idle_timeout_s,
        head_limit_bytes=MAX_HEADER_BYTES,
        cut_off=parts.hangups.cancel_all,
        is_introduced=True,
    )


def _health_check(channel: PlaneChannel) -> Check:
    async def check() -> None:
        await check_health(channel)

    return check
