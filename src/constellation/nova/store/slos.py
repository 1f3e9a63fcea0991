"""Objectives of functions: policies, what is missed of them, and the calls that they are held against."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg

from constellation.base.errors import NotFound
from constellation.nova.domain.function import Function
from constellation.nova.domain.notification import NotificationKind
from constellation.nova.domain.slo import NO_SLO, Objective, Slo, SloPolicy, Snapshot, carried
from constellation.nova.store import notifications
from constellation.nova.store.bell import Bell
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("slos")

CHANNEL = "slos"  # notified when a policy is set or taken back
SAMPLE = 100_000  # chosen: calls that one look takes in; a tenth of a second of the database
NOBODY = UUID(int=0)


class Slos:
    """The table function_slos."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, CHANNEL)

    async def get(self, function: Function) -> Slo:
        """Return a function's policy, or that it has none."""
        row = await self._db.fetch_row(SQL["get"], function.tenant, function.id)
        return _none(function) if row is None else _slo(row)

    async def put(self, function: Function, policy: SloPolicy) -> None:
        """Write a policy. Raises `NotFound`: the function is gone."""
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["lock"], function.tenant, function.id)
                missed = carried(_slo(row), policy) if row is not None else ()
                await tx.execute(SQL["put"], function.tenant, function.id, *_columns(policy), _names(missed))
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", function.name) from error
        await self._bell.ring()

    async def delete(self, function: Function) -> None:
        """Forget a policy, if there is one."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["delete"], function.tenant, function.id)
        await self._bell.ring()

    async def enabled(self, after: Slo | None, *, limit: int) -> Sequence[Slo]:
        """Return policies of every tenant that are to be watched, in order, behind one."""
        place = ("", NOBODY) if after is None else (after.tenant, after.function_id)
        return tuple(map(_slo, await self._db.fetch(SQL["enabled"], *place, limit)))

    async def snapshot(self, slo: Slo) -> Snapshot:
        """Return how the calls of the window that ends now went."""
        whose = (slo.tenant, slo.namespace, slo.function_name, slo.function_id)
        row = await self._db.fetch_row(SQL["snapshot"], *whose, slo.policy.window_s, SAMPLE)
        assert row is not None  # an aggregate
        return Snapshot(**row)

    async def settle(
        self, slo: Slo, missed: frozenset[Objective], *, kind: NotificationKind | None, detail: str
    ) -> Slo | None:
        """Write what is missed now and, in the same transaction, put a notice of `kind` into the outbox.

        Returns:
            The row as it is now; None, and nothing is written, when it changed meanwhile.
        """
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["settle"], slo.tenant, slo.function_id, slo.version, _names(missed)):
                return None
            if kind is not None:
                notice = (slo.tenant, slo.namespace, kind.value, slo.function_name, detail)
                await tx.fetch_value(notifications.SQL["notice"], *notice)
        return replace(slo, breached=missed, version=slo.version + 1)


def _none(function: Function) -> Slo:
    return Slo(
        tenant=function.tenant,
        namespace=function.namespace,
        function_id=function.id,
        function_name=function.name,
        policy=NO_SLO,
    )


def _columns(policy: SloPolicy) -> tuple[object, ...]:
    return (
        policy.enabled,
        policy.window_s,
        policy.min_samples,
        policy.success_rate_pct,
        policy.p95_duration_ms,
        policy.cold_start_rate_pct,
    )


def _names(objectives: Collection[Objective]) -> list[str]:
    return sorted(each.value for each in objectives)


def _slo(row: Record) -> Slo:
    columns = dict(row)
    breached = frozenset(map(Objective, columns.pop("breached")))
    policy = SloPolicy(**{name: columns.pop(name) for name in SloPolicy.__dataclass_fields__})
    return Slo(**columns, policy=policy, breached=breached)
