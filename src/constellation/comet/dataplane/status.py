"""What this node is doing, and what it can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from constellation.aurora.metrics.registry import TEXT_FORMAT, exposition
from constellation.aurora.metrics.scoped import scoped, scoped_exposition
from constellation.base.clock import Clock
from constellation.base.errors import Forbidden, InvalidRequest
from constellation.comet.backend.contract import Backend
from constellation.comet.dataplane.counted import counted
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.pool.pool import Pool
from constellation.nova.domain.access import Identity, Permission
from constellation.routes.models.invocations import BackendBody, BackendsBody, FunctionStatsBody, StatsBody
from constellation.routes.models.statistics import MetricsSummary


class StatusRoutes:
    """Operations on the node."""

    def __init__(
        self, pool: Pool, backends: Sequence[Backend], registry: CollectorRegistry, *, node: str, clock: Clock
    ) -> None:
        self._pool, self._backends, self._node, self._clock = pool, tuple(backends), node, clock
        self._registry = registry
        self._started_s = clock.monotonic_s()

    @property
    def uptime_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    async def stats(self, request: DataRequest) -> StatsBody:
        functions = self.functions(request.caller.identity, every_scope=False)
        return StatsBody(
            node=self._node,
            instances=sum(each.idle + each.busy + each.booting for _, _, each in functions),
            uptime_s=self.uptime_s,
            functions=[each for _, _, each in functions],
        )

    async def metrics(self, request: DataRequest) -> Answer:
        every_scope, identity = self._every_scope(request), request.caller.identity
        if request.accepts("application/json") and not request.accepts("text/plain"):
            return Answer(body=await self.metrics_summary(request))
        now = self._now(identity, every_scope=every_scope)
        if every_scope:
            text = exposition(self._registry, now)
        else:
            text = scoped_exposition(self._registry, now, tenant=identity.tenant, namespace=identity.namespace)
        return Answer(body=text, content_type=TEXT_FORMAT)

    async def metrics_summary(self, request: DataRequest) -> MetricsSummary:
        every_scope, identity = self._every_scope(request), request.caller.identity
        now = {
            (each.function, tenant, namespace): each
            for tenant, namespace, each in self.functions(identity, every_scope=every_scope)
        }
        families: Iterable[Metric] = self._registry.collect()
        if not every_scope:
            families = scoped(self._registry, (), tenant=identity.tenant, namespace=identity.namespace)
        total, functions = counted(families, now)
        return MetricsSummary(
            node=self._node,
            uptime_s=self.uptime_s,
            instances=sum(each.idle + each.busy + each.booting for each in now.values()),
            total=total,
            functions=functions,
        )

    def _every_scope(self, request: DataRequest) -> bool:
        """Are the figures of all tenants wanted? Raises `InvalidRequest`, `Forbidden`."""
        identity, scope = request.caller.identity, request.query.get("scope", "namespace")
        if scope not in ("namespace", "platform"):
            raise InvalidRequest(f"scope must be namespace or platform, not {scope[:40]!r}", field="scope")
        if scope == "platform" and not identity.is_platform_admin:
            why = "only platform administrators see the figures of all tenants"
            raise Forbidden(identity.subject, permission=Permission.METRICS_READ, reason=why)
        return scope == "platform"

    def _now(self, identity: Identity, *, every_scope: bool) -> list[Metric]:
        """Return what functions have at this moment, which the registry has for the whole node only."""
        labels = ("function", "tenant", "namespace")
        instances = GaugeMetricFamily("constellation_function_instances", "Instances", labels=(*labels, "state"))
        running = GaugeMetricFamily("constellation_function_calls_running", "Calls that have one", labels=labels)
        waiting = GaugeMetricFamily("constellation_function_calls_waiting", "Calls in line for one", labels=labels)
        for tenant, namespace, each in self.functions(identity, every_scope=every_scope):
            series = (each.function, tenant, namespace)
            for state, count in (("idle", each.idle), ("busy", each.busy), ("booting", each.booting)):
                instances.add_metric((*series, state), count)
            running.add_metric(series, each.inflight)
            waiting.add_metric(series, each.queued)
        return [instances, running, waiting]

    def functions(self, identity: Identity, *, every_scope: bool) -> list[tuple[str, str, FunctionStatsBody]]:
        """Return (tenant, namespace, figures) of the functions with instances or calls that a caller may see."""
        found = []
        for function, counts in self._pool.stats():
            if not every_scope and (function.tenant, function.namespace) != (identity.tenant, identity.namespace):
                continue
            figures = FunctionStatsBody(
                function=function.name,
                idle=counts.idle,
                busy=counts.busy + counts.draining,
                booting=counts.booting,
                inflight=counts.leases,
                queued=counts.waiting,
            )
            found.append((function.tenant, function.namespace, figures))
        return found

    async def list_backends(self, _request: DataRequest) -> BackendsBody:
        bodies = []
        for place, backend in enumerate(self._backends):
            support = backend.support()
            bodies.append(
                BackendBody(
                    name=support.name,
                    available=support.available,
                    reason=support.reason,
                    is_default=place == 0,
                    limits=dict(support.limits),
                    preload_reason=support.preload_reason,
                    egress_reason=support.egress_reason,
                    missing_runtimes=dict(support.missing_runtimes),
                    sandboxes=support.sandboxes,
                )
            )
        return BackendsBody(backends=bodies)
