"""Cron schedules: what users plan, and the claims of those who run them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from constellation.base.errors import NotFound, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.schedule import Schedule
from constellation.nova.store.bell import Bell
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("schedules")

CHANNEL = "schedules"  # notified when a schedule is written by a user


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedSchedule:
    """A due schedule in the hands of one runner; `schedule.next_run_at` is the instant to run for."""

    schedule: Schedule
    token: int


class Schedules:
    """The table schedules."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, CHANNEL)

    async def create(
        self,
        *,
        tenant: str,
        namespace: str,
        function_name: str,
        cron: str,
        time_zone: str,
        input: bytes,
        next_run_at: datetime | None,
        enabled: bool = True,
        qualifier: str = "",
    ) -> Schedule:
        """Write a new schedule.

        Raises:
            NotFound: the function does not exist.
        """
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(
                    SQL["insert"],
                    tenant,
                    namespace,
                    uuid7(),
                    function_name,
                    cron,
                    time_zone,
                    input,
                    enabled,
                    next_run_at,
                    qualifier,
                )
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", function_name) from error
        assert row is not None
        await self._bell.ring()
        return Schedule(**row)

    async def get(self, tenant: str, namespace: str, schedule_id: UUID) -> Schedule:
        """Return a schedule. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, schedule_id)
        if row is None:
            raise NotFound("schedule", str(schedule_id))
        return Schedule(**row)

    async def list(
        self,
        tenant: str,
        namespace: str,
        *,
        function_name: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[Schedule]:
        """Return the schedules of a scope or of one function, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, namespace, function_name, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, namespace, function_name)
        return Page(items=tuple(Schedule(**row) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def update(self, schedule: Schedule) -> Schedule:
        """Write cron, time zone, input, enabled, qualifier and next run over the row that the caller read.

        A run that is just claimed goes on, but can no longer write.

        Raises:
            NotFound: it was deleted.
            VersionConflict: it was changed since it was read.
        """
        key = (schedule.tenant, schedule.namespace, schedule.id)
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(
                SQL["update"],
                *key,
                schedule.cron,
                schedule.time_zone,
                schedule.input,
                schedule.enabled,
                schedule.next_run_at,
                schedule.version,
                schedule.qualifier,
            )
            if row is None:
                if await tx.fetch_row(SQL["get"], *key) is None:
                    raise NotFound("schedule", str(schedule.id))
                raise VersionConflict("schedule", str(schedule.id))
        await self._bell.ring()
        return Schedule(**row)

    async def delete(self, tenant: str, namespace: str, schedule_id: UUID) -> None:
        """Delete a schedule. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], tenant, namespace, schedule_id):
                raise NotFound("schedule", str(schedule_id))

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedSchedule, ...]:
        """Take up to `limit` due schedules that nobody holds, the longest overdue first, each for `lease_s` seconds."""
        async with self._db.transaction() as tx:
            rows = await tx.fetch(SQL["claim"], owner, lease_s, limit)
        claims = []
        for row in rows:
            columns = dict(row)
            token = columns.pop("token")
            claims.append(ClaimedSchedule(schedule=Schedule(**columns), token=token))
        return tuple(claims)

    async def renew(self, claim: ClaimedSchedule, *, lease_s: float) -> bool:
        """Hold a claim for another `lease_s` seconds from now; False when it is lost."""
        async with self._db.transaction() as tx:
            return bool(await tx.execute(SQL["renew"], claim.schedule.tenant, claim.schedule.id, claim.token, lease_s))

    async def finish(
        self, claim: ClaimedSchedule, *, next_run_at: datetime | None, last_run_at: datetime | None, job_id: UUID | None
    ) -> bool:
        """Record a run and plan the next; False, and nothing written, when the claim is lost."""
        async with self._db.transaction() as tx:
            return bool(
                await tx.execute(
                    SQL["finish"],
                    claim.schedule.tenant,
                    claim.schedule.id,
                    claim.token,
                    next_run_at,
                    last_run_at,
                    job_id,
                )
            )

    async def seconds_to_next(self) -> float | None:
        """Return how long until a schedule can be claimed, at least 0; None when none is planned."""
        seconds: float | None = await self._db.fetch_value(SQL["seconds_to_next"])
        return None if seconds is None else max(0.0, seconds)
