"""What this node is doing, and what it can."""

from __future__ import annotations

from collections.abc import Sequence

from constellation.base.clock import Clock
from constellation.comet.backend.contract import Backend
from constellation.comet.dataplane.request import DataRequest
from constellation.comet.pool.pool import Pool
from constellation.nova.domain.access import Identity
from constellation.routes.models.invocations import BackendBody, BackendsBody, FunctionStatsBody, StatsBody


class StatusRoutes:
    """Operations on the node."""

    def __init__(self, pool: Pool, backends: Sequence[Backend], *, node: str, clock: Clock) -> None:
        self._pool, self._backends, self._node, self._clock = pool, tuple(backends), node, clock
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
