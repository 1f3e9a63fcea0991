"""The limits of the tenants that are served here, pushed down into the table, and their calls, added to the day's.

The table counts each call once, whichever way it came. Twice a second what it counted is added to `tenant_usage`, and what is
left of a daily or monthly quota goes back down: so comets that share a tenant may let in, beyond its quota, what the others let in
within that time. A comet that is killed forgets what it had not added yet, which the tenant is not charged for; nothing
else is lost with it, since the count is the database's. Without the database the table goes on counting, and what
it counted is added later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.refusals import TenantRateLimit
from constellation.native.table_values import NEVER_NS, TenantHandle, TenantRow, TenantStats
from constellation.nova.domain.quota import PERIODS, Calls, Dimension, Limit, period_end
from constellation.nova.domain.tenancy import Tenant
from constellation.nova.store.quotas import LimitedTenant

log = structlog.get_logger()

ADD_S = 0.5  # chosen: a small transaction, and only while there are calls
MAX_TENANTS = 10_000  # chosen: as many as functions are kept; those without any, nor sandboxes, go first
_NO_LIMIT = TenantRow()


class QuotaSource(Protocol):
    async def try_get(self, tenant: str) -> LimitedTenant | None: ...

    async def calls(self, tenants: Sequence[str]) -> Mapping[str, Calls]: ...

    async def add_calls(self, calls: Mapping[str, int]) -> Mapping[str, Calls]: ...


class TenantTable(Protocol):
    """What of the table is about tenants."""

    def put_tenant(self, name: str, row: TenantRow) -> TenantHandle: ...

    def drop_tenant(self, tenant: TenantHandle) -> None: ...

    def tenant_stats(self, tenant: TenantHandle) -> TenantStats: ...

    def called_tenants(self) -> Iterator[TenantStats]: ...

    def publish_wait_ns(self, tenant: TenantHandle, messages: int, *, now_ns: int) -> int: ...


@dataclass(slots=True)
class _Known:
    """A tenant that the table was told of."""

    name: str
    handle: TenantHandle
    limits: Mapping[Dimension, Limit]
    used: Calls  # of now, as the database had them when it had `added`
    added: int = 0  # of the table's count, what the database has
    counted: int = 0  # the table's count

    def value(self, dimension: Dimension) -> float | None:
        limit = self.limits.get(dimension)
        return None if limit is None else limit.value

    def burst(self, dimension: Dimension) -> int:
        limit = self.limits.get(dimension)
        return 0 if limit is None else limit.burst


class Tenants:
    """Who is served here and what each may. A `TenantSource` of the function cache, which asks anew when one has changed."""

    def __init__(self, quotas: QuotaSource, table: TenantTable, clock: Clock) -> None:
        self._quotas, self._table, self._clock = quotas, table, clock
        self._known: dict[str, _Known] = {}
        self._by_handle: dict[TenantHandle, _Known] = {}
        self._behind: dict[str, _Known] = {}  # the database has not all of their calls

    async def try_get_tenant(self, tenant: str) -> Tenant | None:
        """Return a tenant as it is now; from then on it has its limits here."""
        found = await self._quotas.try_get(tenant)
        if found is None:
            self._forget(tenant)
            return None
        used = Calls()
        if _has_quota(found.limits):
            used = (await self._quotas.calls([tenant])).get(tenant, used)
        known = self._known.get(tenant)
        if known is None:
            self._make_room()
            handle = self._table.put_tenant(tenant, _NO_LIMIT)
            counted = self._table.tenant_stats(handle).calls
            known = _Known(tenant, handle, found.limits, used, added=counted, counted=counted)
            self._known[tenant] = self._by_handle[handle] = known
        known.limits, known.used = found.limits, used
        self._tell(known)
        return found.tenant

    async def handle_of(self, tenant: str) -> TenantHandle | None:
        """Return what the table knows a tenant by, which has its limits of now there; None: there is none."""
        await self.try_get_tenant(tenant)
        known = self._known.get(tenant)
        return None if known is None else known.handle

    def queue_depth(self, tenant: str) -> int | None:
        """Return how many jobs a tenant that is served here may have; None: any number."""
        known = self._known.get(tenant)
        value = None if known is None else known.value(Dimension.QUEUE_DEPTH)
        return None if value is None else int(value)

    async def publish(self, tenant: str, messages: int) -> int | None:
        """Let a tenant publish so many messages now, and return how many jobs it may have.

        Raises:
            TenantRateLimit: not yet.
            InvalidRequest: never so many at once.
        """
        if tenant not in self._known:
            await self.try_get_tenant(tenant)
        known = self._known.get(tenant)
        if known is None:
            return None
        wait_ns = self._table.publish_wait_ns(known.handle, messages, now_ns=int(self._clock.monotonic_s() * 1e9))
        if wait_ns == NEVER_NS:
            raise InvalidRequest(
                f"the tenant's limit ({Dimension.PUBLISHES_PER_S}) lets no {messages} messages in at once"
            )
        if wait_ns:
            raise TenantRateLimit(Dimension.PUBLISHES_PER_S, left_s=wait_ns / 1e9)
        return self.queue_depth(tenant)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the count until cancelled."""
        task_status.started()
        while True:
            await self._clock.sleep(ADD_S)
            await self.add()

    async def flush(self, *, within_s: float) -> None:
        """Add what is left, at the end."""
        with anyio.move_on_after(within_s):
            await self.add()

    async def add(self) -> None:
        """Add what was counted to the day's calls, and say what is left of quotas."""
        for stats in self._table.called_tenants():
            known = self._by_handle.get(stats.tenant)
            if known is not None:
                known.counted = stats.calls
                self._behind[known.name] = known
        adding = [(known, known.counted) for known in self._behind.values()]
        try:
            totals = await self._added(adding)
        except ConstellationError as error:  # when the commit's answer was lost, they are added twice
            log.warning("tenants.calls_not_added", tenants=len(adding), reason=str(error))
            return
        quotas = [known for known in self._known.values() if _has_quota(known.limits)]
        others = [known.name for known in quotas if known.name not in totals]
        try:
            if others:
                totals |= dict.fromkeys(others, Calls()) | dict(await self._quotas.calls(others))
        except ConstellationError as error:
            log.warning("tenants.calls_unknown", tenants=len(others), reason=str(error))
        for known in quotas:
            if known.name in totals and self._known.get(known.name) is known:
                known.used = totals[known.name]
                self._tell(known)

    async def _added(self, adding: Sequence[tuple[_Known, int]]) -> dict[str, Calls]:
        if not adding:
            return {}
        totals = dict(await self._quotas.add_calls({known.name: counted - known.added for known, counted in adding}))
        for known, counted in adding:
            known.added = counted
            self._behind.pop(known.name, None)  # what came meanwhile is listed again
        return totals

    def _tell(self, known: _Known) -> None:
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        spent = _first_spent(known)
        row = TenantRow(
            calls_per_s=known.value(Dimension.INVOCATIONS_PER_S) or 0.0,
            calls_burst=known.burst(Dimension.INVOCATIONS_PER_S),
            publishes_per_s=known.value(Dimension.PUBLISHES_PER_S) or 0.0,
            publishes_burst=known.burst(Dimension.PUBLISHES_PER_S),
            max_inflight=min(int(known.value(Dimension.CONCURRENT_INVOCATIONS) or 0), 2**32 - 1),
            max_memory_mb=_bound(known.value(Dimension.MEMORY_MB)),
            max_cpu_millis=_bound(known.value(Dimension.VCPU_MILLI)),
            calls_until=None if spent is None else known.added + spent[1],
            is_quota_daily=spent is not None and spent[0] is Dimension.INVOCATIONS_PER_DAY,
            quota_ends_ns=0
            if spent is None
            else int((now_s + (period_end(spent[0], now) - now).total_seconds()) * 1e9),
        )
        self._table.put_tenant(known.name, row)

    def _make_room(self) -> None:
        while len(self._known) >= MAX_TENANTS:
            unused = (name for name, known in self._known.items() if not self._has_anything(known))
            self._forget(next(unused, next(iter(self._known))))

    def _has_anything(self, known: _Known) -> bool:
        stats = self._table.tenant_stats(known.handle)
        return bool(stats.functions or stats.memory_mb)

    def _forget(self, tenant: str) -> None:
        known = self._known.pop(tenant, None)
        if known is not None:
            del self._by_handle[known.handle]
            self._behind.pop(tenant, None)
            self._table.drop_tenant(known.handle)


def _bound(value: float | None) -> int:
    """Return a bound on instances as the table has it; nothing fits into 1."""
    return 0 if value is None else max(1, min(int(value), 2**32 - 1))


def _has_quota(limits: Mapping[Dimension, Limit]) -> bool:
    return any((limit := limits.get(period)) is not None and limit.value is not None for period in PERIODS)


def _first_spent(known: _Known) -> tuple[Dimension, int] | None:
    """Return the quota of which the least is left, and how much; of two that are the same, the one that lasts longer."""
    left = [
        (period, max(0, int(quota) - known.used.of(period)))
        for period in reversed(PERIODS)
        if (quota := known.value(period)) is not None
    ]
    return min(left, key=lambda each: each[1], default=None)
