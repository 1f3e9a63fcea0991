"""Canaries of aliases: begun, looked at and settled in one transaction with the alias that they move."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from constellation.base.errors import NotFound, StateConflict
from constellation.nova.domain.alias import Alias
from constellation.nova.domain.canary import Canary, CanaryState, Sample, Verdict, shares_at
from constellation.nova.store import aliases, builds
from constellation.nova.store.bell import Bell
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("canaries")

CHANNEL = "canaries"  # notified when one begins
SAMPLE = 100_000  # chosen: calls that one look takes in; a tenth of a second of the database


class Canaries:
    """The table function_canaries, and the aliases that they move."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, CHANNEL)

    async def begin(self, canary: Canary, alias: Alias) -> Canary:
        """Write a canary, and have its alias divide calls as its first step says.

        Raises:
            StateConflict: another one of the function runs.
            NotFound: a version does not exist, or the function.
        """
        first = Verdict(state=CanaryState.RUNNING, step=0)
        try:
            async with self._db.transaction() as tx:
                await aliases.put(tx, canary.tenant, canary.function_id, _at(alias, canary, first))
                await tx.execute(
                    SQL["insert"],
                    canary.tenant,
                    canary.function_id,
                    canary.id,
                    canary.alias,
                    canary.old_version,
                    canary.new_version,
                    list(canary.steps),
                    canary.step_s,
                    canary.min_calls,
                    canary.max_error_percent,
                    canary.max_p95_ratio,
                )
        except asyncpg.UniqueViolationError as error:
            raise StateConflict(
                "function", canary.function_name, state="in a canary", wanted="in none: cancel or promote that one"
            ) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", canary.function_name) from error
        await self._bell.ring()
        return await self.newest(canary.tenant, canary.function_id)

    async def newest(self, tenant: str, function_id: UUID) -> Canary:
        """Return a function's newest canary, running or not. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["list"], tenant, function_id, 1, 0)
        if row is None:
            raise NotFound("canary", "newest")
        return _canary(row)

    async def list(self, tenant: str, function_id: UUID, *, limit: int = 100, offset: int = 0) -> Page[Canary]:
        """Return a function's canaries, newest first, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, function_id, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, function_id)
        return Page(items=tuple(map(_canary, rows)), total=total, has_more=offset + len(rows) < total)

    async def running(self) -> Sequence[Canary]:
        """Return the canaries of every tenant that run."""
        return tuple(map(_canary, await self._db.fetch(SQL["running"])))

    async def refuse_moving(self, tenant: str, function_id: UUID, alias: str) -> None:
        """Raise `StateConflict` while a canary moves an alias."""
        if await self._db.fetch_value(SQL["is_moving"], tenant, function_id, alias):
            raise StateConflict("alias", alias, state="moved by a canary", wanted="moved by none: cancel or promote it")

    async def samples(self, canary: Canary) -> tuple[Sample, Sample]:
        """Return how the calls of the old and of the new version ended since the step began."""
        versions = [canary.old_version, canary.new_version]
        rows = await self._db.fetch(
            SQL["samples"],
            canary.tenant,
            canary.namespace,
            canary.function_name,
            canary.stepped_at,
            versions,
            SAMPLE,
        )
        found = {row["version"]: Sample(calls=row["calls"], errors=row["errors"], p95_ms=row["p95_ms"]) for row in rows}
        return found.get(canary.old_version, Sample()), found.get(canary.new_version, Sample())

    async def now(self) -> datetime:
        """Return the database's instant, which the times of canaries are of."""
        found: datetime = await self._db.fetch_value(SQL["now"])
        return found

    async def settle(self, canary: Canary, verdict: Verdict) -> bool:
        """Write what became of a canary, and move its alias; False, and nothing written, when it moved on meanwhile.

        Raises:
            NotFound: its alias or a version is gone.
        """
        key = (canary.tenant, canary.function_id)
        async with self._db.transaction() as tx:
            await tx.fetch_value(builds.SQL["lock"])  # as `begin` does through its alias: the same order for all
            facts = (canary.id, canary.step, verdict.state.value, verdict.step, verdict.reason)
            if not await tx.execute(SQL["settle"], *key, *facts):
                return False
            row = await tx.fetch_row(aliases.SQL["list"], *key, canary.alias)
            if row is None:
                raise NotFound("alias", canary.alias)
            await aliases.put(tx, *key, _at(aliases.alias_of(row), canary, verdict))
        return True


def _at(alias: Alias, canary: Canary, verdict: Verdict) -> Alias:
    return Alias(
        name=alias.name,
        shares=shares_at(canary, verdict),
        is_sticky=alias.is_sticky,
        description=alias.description,
    )


def _canary(row: Record) -> Canary:
    columns = dict(row)
    state, steps = CanaryState(columns.pop("state")), tuple(columns.pop("steps"))
    return Canary(**columns, state=state, steps=steps)
