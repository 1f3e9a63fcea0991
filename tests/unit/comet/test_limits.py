"""The limits of tenants, from the database down into the table, and calls from the table up into the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from constellation.base.errors import InvalidRequest, Unavailable
from constellation.comet import tenants as module
from constellation.comet.refusals import TenantRateLimit
from constellation.comet.tenants import Tenants
from constellation.native.table import Table
from constellation.native.table_values import Ask, Detail, FunctionRow, Status, TableOptions, Verdict
from constellation.nova.domain.quota import Calls, Dimension, Limit, period_end
from constellation.nova.domain.tenancy import Tenant, TenantStatus
from constellation.nova.store.quotas import LimitedTenant
from constellation.testing.simulation import EPOCH, VirtualClock

pytestmark = pytest.mark.anyio

D = Dimension


@dataclass
class Database:
    limits: dict[str, dict[Dimension, Limit]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)  # in this month, but not today
    is_away: bool = False
    adds: int = 0

    def limit(self, tenant: str, **values: float | None) -> None:
        self.limits[tenant] = {D(name): Limit(dimension=D(name), value=value) for name, value in values.items()}

    async def try_get(self, tenant):
        if tenant not in self.limits:
            return None
        row = Tenant(
            id=tenant, name="", status=TenantStatus.ACTIVE, tier="t", version=1, created_at=EPOCH, updated_at=EPOCH
        )
        return LimitedTenant(tenant=row, limits=self.limits[tenant])

    async def calls(self, tenants):
        if self.is_away:
            raise Unavailable("the database", reason="away")
        return {tenant: self._calls(tenant) for tenant in tenants if tenant in self.used or tenant in self.before}

    async def add_calls(self, calls):
        if self.is_away:
            raise Unavailable("the database", reason="away")
        self.adds += 1
        for tenant, count in calls.items():
            if tenant in self.limits:
                self.used[tenant] = self.used.get(tenant, 0) + count
        return {tenant: self._calls(tenant) for tenant in calls if tenant in self.limits}

    def _calls(self, tenant: str) -> Calls:
        used = self.used.get(tenant, 0)
        return Calls(in_day=used, in_month=used + self.before.get(tenant, 0))


class Comet:
    """One node: a table, and who keeps its tenants."""

    def __init__(self, database: Database) -> None:
        self.table = Table(TableOptions(max_instances=4, max_boots=2, max_calls=64, idle_ttl_s=5.0, max_functions=8))
        self.tenants = Tenants(database, self.table, VirtualClock())
        self.functions: dict[str, int] = {}

    async def call(self, tenant: str = "acme") -> int:
        """Return 0, or the code of the refusal."""
        if tenant not in self.functions:
            await self.tenants.try_get_tenant(tenant)
            row = FunctionRow(tenant=tenant, namespace="n", name="f", max_payload_bytes=10)
            self.functions[tenant] = self.table.put_function(row, now_ns=0)
        got = self.table.admit(self.functions[tenant], Ask(1, tenant, "s"), now_ns=0)
        return got.code if isinstance(got, Verdict) else 0


async def test_calls_are_added_to_the_month_once():
    database = Database()
    database.limit("acme")
    database.limit("other")
    comet = Comet(database)
    for tenant in ("acme", "other", "acme"):
        assert await comet.call(tenant) == 0
    await comet.tenants.add()
    assert database.used == {"acme": 2, "other": 1}
    await comet.tenants.add()
    assert (database.used, database.adds) == ({"acme": 2, "other": 1}, 1)  # without calls nothing is written


async def test_a_quota_is_shared_by_comets_and_outlives_them():
    database = Database()
    database.limit("acme", invocations_per_month=5)
    one, two = Comet(database), Comet(database)
    assert [await one.call() for _ in range(3)] == [0, 0, 0]
    assert await two.call() == 0  # before it was told
    await one.tenants.add()
    await two.tenants.add()
    await one.tenants.add()
    assert [await one.call(), await one.call()] == [0, Status.QUOTA_EXCEEDED]
    await one.tenants.add()
    restarted = Comet(database)
    assert await restarted.call() == Status.QUOTA_EXCEEDED
    await two.tenants.add()
    assert await two.call() == Status.QUOTA_EXCEEDED


async def test_a_comet_that_is_killed_forgets_what_it_had_not_added():
    database = Database()
    database.limit("acme", invocations_per_month=5)
    killed = Comet(database)
    for _ in range(2):
        await killed.call()
    await killed.tenants.add()
    await killed.call()
    restarted = Comet(database)
    assert [await restarted.call() for _ in range(4)] == [0, 0, 0, Status.QUOTA_EXCEEDED]
    stopped = restarted  # and one that is stopped does not
    await stopped.tenants.flush(within_s=1)
    assert database.used == {"acme": 5}


async def test_a_quota_that_is_raised_or_lifted_lets_calls_in_at_once():
    database = Database()
    database.limit("acme", invocations_per_month=1)
    comet = Comet(database)
    assert [await comet.call(), await comet.call()] == [0, Status.QUOTA_EXCEEDED]
    database.limit("acme", invocations_per_month=2)
    await comet.tenants.try_get_tenant("acme")  # the change log says so
    assert [await comet.call(), await comet.call()] == [0, Status.QUOTA_EXCEEDED]
    database.limit("acme")
    await comet.tenants.try_get_tenant("acme")
    assert await comet.call() == 0
    await comet.tenants.add()
    assert database.used == {"acme": 3}


async def test_without_the_database_the_table_goes_on_counting():
    database = Database(is_away=False)
    database.limit("acme", invocations_per_month=3)
    comet = Comet(database)
    assert await comet.call() == 0
    database.is_away = True
    await comet.tenants.add()
    assert [await comet.call() for _ in range(3)] == [0, 0, Status.QUOTA_EXCEEDED]
    await comet.tenants.add()
    database.is_away = False
    await comet.tenants.add()
    assert database.used == {"acme": 3}
    assert await comet.call() == Status.QUOTA_EXCEEDED


async def test_a_new_month_begins_at_nothing():
    database = Database()
    database.limit("acme", invocations_per_month=1)
    comet = Comet(database)
    await comet.call()
    await comet.tenants.add()
    assert await comet.call() == Status.QUOTA_EXCEEDED
    database.used.clear()
    await comet.tenants.add()
    assert await comet.call() == 0


async def test_of_a_day_and_a_month_the_one_that_is_spent_first_refuses_and_says_so():
    database = Database(before={"acme": 5})
    database.limit("acme", invocations_per_day=2, invocations_per_month=9)
    comet = Comet(database)

    async def refused() -> tuple[int, float]:
        await comet.call()
        verdict = comet.table.admit(comet.functions["acme"], Ask(1, "acme", "s"), now_ns=0)
        assert isinstance(verdict, Verdict)
        assert verdict.code == Status.QUOTA_EXCEEDED
        return verdict.detail, verdict.retry_after_s

    clock = VirtualClock()
    left_s = [
        (period_end(period, clock.now()) - clock.now()).total_seconds()
        for period in (D.INVOCATIONS_PER_DAY, D.INVOCATIONS_PER_MONTH)
    ]
    assert [await comet.call(), await comet.call()] == [0, 0]
    assert await refused() == (Detail.DAY, pytest.approx(left_s[0], abs=2))
    await comet.tenants.add()
    database.before["acme"] += database.used.pop("acme")  # it is tomorrow
    await comet.tenants.add()
    assert [await comet.call(), await comet.call()] == [0, 0]
    assert await refused() == (Detail.NONE, pytest.approx(left_s[1], abs=2))  # and the month is over, too


async def test_messages_have_a_rate_and_the_queue_a_depth():
    database = Database()
    database.limit("acme", publishes_per_s=3, queue_depth=7)
    comet = Comet(database)
    assert comet.tenants.queue_depth("acme") is None  # nobody has asked for it yet
    assert await comet.tenants.publish("acme", 3) == 7
    with pytest.raises(TenantRateLimit) as refused:
        await comet.tenants.publish("acme", 1)
    assert (refused.value.retry_after_s, refused.value.http_status) == (1, 429)
    with pytest.raises(InvalidRequest):
        await comet.tenants.publish("acme", 4)
    assert await comet.tenants.publish("absent", 4) is None


async def test_a_tenant_that_is_gone_is_forgotten(monkeypatch):
    database = Database()
    database.limit("acme", concurrent_invocations=1)
    comet = Comet(database)
    assert [await comet.call(), await comet.call()] == [0, Status.TENANT_INFLIGHT_LIMIT]
    del database.limits["acme"]
    assert await comet.tenants.try_get_tenant("acme") is None
    assert await comet.call() == 0
    await comet.tenants.add()
    assert database.used == {}
    monkeypatch.setattr(module, "MAX_TENANTS", 3)
    for name in "abcde":
        database.limit(name)
        await comet.tenants.try_get_tenant(name)
    assert comet.table.check() == 0


def test_a_day_ends_at_midnight_and_a_month_at_the_first_of_the_next():
    assert period_end(D.INVOCATIONS_PER_DAY, datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(
        2027, 1, 1, tzinfo=UTC
    )
    assert period_end(D.INVOCATIONS_PER_MONTH, datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(
        2027, 1, 1, tzinfo=UTC
    )
    assert period_end(D.INVOCATIONS_PER_MONTH, datetime(2028, 2, 1, tzinfo=UTC)) == datetime(2028, 3, 1, tzinfo=UTC)
