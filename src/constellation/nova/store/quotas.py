"""What tenants may use and what they use: tiers, a tenant's own limits, and the calls of each day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from constellation.base.errors import NotFound, StateConflict
from constellation.nova.domain.quota import DEFAULT_TIER, PERIODS, Calls, Dimension, Limit, QuotaExceeded, Tier
from constellation.nova.domain.tenancy import Tenant, TenantStatus
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("quotas")

QUEUE_COUNT_LIMIT = 100_000  # chosen: tens of milliseconds of an index

_LIMIT = ("dimension", "value", "burst", "is_own")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedTenant:
    """A tenant and the limits that it has, by dimension; where there is none it has none."""

    tenant: Tenant
    limits: Mapping[Dimension, Limit]


class Quotas:
    """The tables tiers, tier_limits, tenant_limits and tenant_usage."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def try_get(self, tenant: str) -> LimitedTenant | None:
        """Return a tenant with its limits."""
        rows = await self._db.fetch(SQL["get_limited"], tenant)
        if not rows:
            return None
        columns = {name: value for name, value in rows[0].items() if name not in _LIMIT}
        limits = [_limit(row, is_own=row["is_own"]) for row in rows if row["dimension"] is not None]
        return LimitedTenant(
            tenant=Tenant(**columns | {"status": TenantStatus(columns["status"])}),
            limits={limit.dimension: limit for limit in limits},
        )

    async def get(self, tenant: str) -> LimitedTenant:
        """Return a tenant with its limits. Raises `NotFound`."""
        found = await self.try_get(tenant)
        if found is None:
            raise NotFound("tenant", tenant)
        return found

    async def put_limit(self, tenant: str, limit: Limit) -> None:
        """Give a tenant a limit of its own. Raises `NotFound`."""
        try:
            async with self._db.transaction() as tx:
                await tx.execute(SQL["put_limit"], tenant, limit.dimension, limit.value, limit.burst)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", tenant) from error

    async def value(self, tenant: str, dimension: Dimension) -> float | None:
        """Return a tenant's limit in a dimension; None: it has none."""
        value: float | None = await self._db.fetch_value(SQL["value"], tenant, dimension)
        return value

    async def delete_limit(self, tenant: str, dimension: Dimension) -> None:
        """Have the tier's limit be the tenant's again. Raises `NotFound` when it has none of its own."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete_limit"], tenant, dimension):
                raise NotFound("quota", dimension)

    async def list_tiers(self, *, limit: int = 100, offset: int = 0) -> Page[Tier]:
        """Return tiers by name with their limits, with the exact total."""
        rows = await self._db.fetch(SQL["list_tiers"], limit, offset)
        given = await self._db.fetch(SQL["list_tier_limits"], [row["name"] for row in rows])
        total: int = await self._db.fetch_value(SQL["count_tiers"])
        items = tuple(_tier(row, [_limit(each) for each in given if each["tier"] == row["name"]]) for row in rows)
        return Page(items=items, total=total, has_more=offset + len(rows) < total)

    async def put_tier(self, name: str, description: str, limits: Sequence[Limit]) -> Tier:
        """Write a tier, new or in place of the one before; its tenants have its limits at once."""
        given = [limit for limit in limits if limit.value is not None]
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(SQL["put_tier"], name, description)
            assert row is not None
            await tx.execute(SQL["delete_tier_limits"], name)
            await tx.execute(
                SQL["insert_tier_limits"],
                name,
                [limit.dimension for limit in given],
                [limit.value for limit in given],
                [limit.burst for limit in given],
            )
            await tx.execute(SQL["touch_tenants"], name)
        return _tier(row, given)

    async def delete_tier(self, name: str) -> None:
        """Delete a tier that no tenant has.

        Raises:
            NotFound: there is none.
            StateConflict: tenants have it, or new ones get it.
        """
        if name == DEFAULT_TIER:
            raise StateConflict("tier", name, state="the tier of new tenants", wanted="another one")
        try:
            async with self._db.transaction() as tx:
                if not await tx.execute(SQL["delete_tier"], name):
                    raise NotFound("tier", name)
        except asyncpg.ForeignKeyViolationError as error:
            count = await self._db.fetch_value(SQL["count_tenants_of"], name)
            raise StateConflict("tier", name, state=f"that of {count} tenants", wanted="that of none") from error

    async def used(self, tenant: str) -> Mapping[Dimension, int]:
        """Return what a tenant uses in the dimensions that are counted in one place; the queue up to `QUEUE_COUNT_LIMIT`."""
        row = await self._db.fetch_row(SQL["used"], tenant)
        assert row is not None
        queued: int = await self._db.fetch_value(SQL["queued"], tenant, QUEUE_COUNT_LIMIT)
        calls = (await self.calls([tenant])).get(tenant, Calls())
        found = {Dimension(name): int(value) for name, value in row.items()}
        return found | {Dimension.QUEUE_DEPTH: queued} | {period: calls.of(period) for period in PERIODS}

    async def calls(self, tenants: Sequence[str]) -> Mapping[str, Calls]:
        """Return the calls of today and of this month of those tenants that had some."""
        rows = await self._db.fetch(SQL["calls_of"], list(tenants))
        return dict(map(_calls, rows))

    async def add_calls(self, calls: Mapping[str, int]) -> Mapping[str, Calls]:
        """Add to the calls of today, and return what they are then; tenants that are gone are left out."""
        async with self._db.transaction(is_durable=False) as tx:
            rows = await tx.fetch(SQL["add_calls"], list(calls), list(calls.values()))
        return dict(map(_calls, rows))


async def refuse_full(tx: Session, tenant: str, more: int, *, max_depth: int | None, are_in: bool = False) -> None:
    """Let `more` jobs into a tenant's queue, exactly, whoever else puts some in it; None: there is no bound.

    Args:
        are_in: this transaction has put them in line already.

    Raises:
        QuotaExceeded: there is no room for them.
    """
    if max_depth is None or not more:
        return
    await tx.fetch_value(SQL["lock_depth"], tenant)  # alone, so that the next statement sees what was committed before
    depth: int = await tx.fetch_value(SQL["queued"], tenant, max_depth + 1)
    used = depth if are_in else depth + more
    if used > max_depth:
        raise QuotaExceeded(Dimension.QUEUE_DEPTH, used=used, limit=max_depth, retry_after_s=1)


async def queue_limit(tx: Session, tenant: str) -> int | None:
    """Return how many jobs a tenant may have wait or run; None: any number."""
    limit: float | None = await tx.fetch_value(SQL["value"], tenant, Dimension.QUEUE_DEPTH)
    return None if limit is None else int(limit)


def _limit(row: Record, *, is_own: bool = False) -> Limit:
    return Limit(dimension=Dimension(row["dimension"]), value=row["value"], burst=row["burst"], is_own=is_own)


def _calls(row: Record) -> tuple[str, Calls]:
    return row["tenant"], Calls(in_day=row["in_day"], in_month=row["in_month"])


def _tier(row: Record, limits: Sequence[Limit]) -> Tier:
    return Tier(**dict(row), limits=tuple(limits))
