"""Custom domains: which hosts are a tenant's, and the routes under each; kept as nova has them, read again at each change."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.backoff import backoff_s
from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest, Unavailable
from constellation.nova.domain.gateway import PathRoutes
from constellation.nova.domain.host import cover_of, host_in, is_of_functions
from constellation.routes.models.gateway import ServedDomainBody, ServedDomains, ServedRouteBody
from constellation.zenith.breakers import Breakers, Outcome, RouteBreaker, unguarded
from constellation.zenith.control import ChangeLine

log = structlog.get_logger()

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One domain, as requests to it are served."""

    host: str
    tenant: str
    namespace: str
    is_suspended: bool
    all: tuple[ServedRouteBody, ...]
    routes: PathRoutes[ServedRouteBody]  # the same, by path
    aliased: frozenset[str]  # functions of which a route names a version or an alias
    breakers: Mapping[UUID, RouteBreaker]  # of the routes that have one

    def check_rest(self, route: ServedRouteBody) -> None:
        """Raise `RouteBreakerOpen` while a route rests."""
        breaker = self.breakers.get(route.id)
        if breaker is not None:
            breaker.check()

    def guard(self, route: ServedRouteBody) -> AbstractContextManager[Outcome]:
        """Return what one call of a route is made in; entering it raises `RouteBreakerOpen` while the route rests."""
        breaker = self.breakers.get(route.id)
        return unguarded() if breaker is None else breaker.over()


class SiteSource(Protocol):
    """Where domains are read: nova."""

    async def served_domain(self, host: str) -> ServedDomains: ...

    async def served_domains(self, after: str) -> ServedDomains: ...


class Sites:
    """All domains of the platform. `run` must be running; `on_hosts` is told their hosts whenever these may have changed.

    `function_domain`: what is below it is the tenants' by their names, whatever nova was told when a host was claimed.
    """

    def __init__(
        self,
        *,
        source: SiteSource,
        clock: Clock,
        stale_s: float,
        breakers: Breakers,
        on_hosts: Callable[[Iterable[str]], None] | None = None,
        function_domain: str = "",
    ) -> None:
        self._function_domain = function_domain
        self._source, self._clock, self._stale_s, self._on_hosts = source, clock, stale_s, on_hosts
        self._by_host: dict[str, Site] = {}
        self._breakers = breakers
        breakers.guarded = self._guarded
        self._outdated: dict[str, float] = {}  # hosts to be read again, and since when (monotonic)
        self.loaded = anyio.Event()
        self.is_loaded = False
        self._past = 0  # how often everything was forgotten
        self._work = anyio.Event()
        self._work.set()

    def check(self) -> None:
        """Raise `Unavailable` when it is not known, or not any more, which hosts are a tenant's."""
        if not self.is_loaded:
            raise Unavailable("nova", reason="the gateway has not read the custom domains yet")
        if self._outdated and self._clock.monotonic_s() - min(self._outdated.values()) > self._stale_s:
            raise Unavailable("nova", reason="the gateway could not read the custom domains that changed")

    def find(self, headers: Iterable[tuple[bytes, bytes]]) -> Site | None:
        """Return the domain that a request with these headers is for; None when its host is nobody's."""
        if not self._by_host:
            return None
        for name, value in headers:
            if name == b"host":
                host = host_in(value)
                return self._by_host.get(host) or self._by_host.get(cover_of(host))
        return None

    def of_scope(self, tenant: str, namespace: str) -> list[Site]:
        """Return the domains of a namespace."""
        return [site for site in self._by_host.values() if (site.tenant, site.namespace) == (tenant, namespace)]

    def forget(self, change: ChangeLine) -> None:
        """Read again what a change is about."""
        if change.kind == "domain":
            self._outdate([change.name])
        elif change.kind == "function":  # its aliases: whether one is sticky stands in the route
            scope = (change.tenant, change.namespace)
            self._outdate(
                [
                    site.host
                    for site in self._by_host.values()
                    if change.name in site.aliased and (site.tenant, site.namespace) == scope
                ]
            )
        elif change.kind == "tenant":
            self._outdate([site.host for site in self._by_host.values() if site.tenant == change.tenant])

    def forget_everything(self) -> None:
        """Read everything again; until then nothing is believed."""
        self.is_loaded = False
        self._past += 1
        self._work.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read what is new until cancelled, however often nova is away meanwhile."""
        task_status.started()
        failed = 0
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            try:
                await self._read()
                failed = 0
            except ConstellationError as error:
                failed += 1
                if failed == 1 or failed % 30 == 0:
                    log.warning("domains.unread", reason=str(error), attempts=failed)
                await anyio.sleep(
                    backoff_s(failed, base_s=_FIRST_WAIT_S, cap_s=_LONGEST_WAIT_S, jitter=random.random())  # noqa: S311  # spreads retries
                )
                self._work.set()

    async def _read(self) -> None:
        if not self.is_loaded:
            await self._read_all()
        while self._outdated:
            host = next(iter(self._outdated))
            since_s = self._outdated.pop(host)
            try:
                found = await self._source.served_domain(host)
            except BaseException:
                self._outdated.setdefault(host, since_s)
                raise
            before = self._by_host.pop(host, None)
            self._take(found, {} if before is None else {host: before})
            self._tell()

    async def _read_all(self) -> None:
        past = self._past
        self._outdated.clear()
        found: list[ServedDomainBody] = []
        while True:
            page = await self._source.served_domains(found[-1].host if found else "")
            found.extend(page.items)
            if page.is_last or not page.items:
                break
        before, self._by_host = self._by_host, {}
        self._take(ServedDomains(items=tuple(found), is_last=True), before)
        self._tell()
        if past == self._past:
            self.is_loaded = True
            self.loaded.set()
            log.info("domains.read", count=len(self._by_host))

    def _take(self, found: ServedDomains, before: Mapping[str, Site]) -> None:
        for each in found.items:
            if is_of_functions(each.host, self._function_domain):
                log.warning("domain.not_served", host=each.host, reason="it is below zenith.function_domain")
                continue
            try:
                routes = PathRoutes(each.routes)
            except InvalidRequest as error:  # of a newer nova than this gateway
                log.warning("domain.not_understood", host=each.host, reason=str(error))
                routes = PathRoutes(())
            old = before.get(each.host)
            self._by_host[each.host] = Site(
                host=each.host,
                tenant=each.tenant,
                namespace=each.namespace,
                is_suspended=each.is_suspended,
                all=each.routes,
                routes=routes,
                aliased=frozenset(route.function for route in each.routes if route.qualifier),
                breakers=self._breakers.of(each.routes, {} if old is None else old.breakers, host=each.host),
            )

    def _guarded(self) -> Iterator[tuple[str, RouteBreaker]]:
        for site in self._by_host.values():
            for breaker in site.breakers.values():
                yield site.tenant, breaker

    def _tell(self) -> None:
        if self._on_hosts is not None:
            self._on_hosts(self._by_host)

    def _outdate(self, hosts: Iterable[str]) -> None:
        now_s = self._clock.monotonic_s()
        for host in hosts:
            self._outdated.setdefault(host, now_s)
        self._work.set()
