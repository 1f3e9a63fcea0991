"""The table of schedules in memory, with every write at one instant: `nova.store.schedules` for simulations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from constellation.base.clock import Clock
from constellation.base.errors import NotFound, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.schedule import Schedule
from constellation.nova.store.schedules import ClaimedSchedule


@dataclass(slots=True, kw_only=True)
class _Row:
    schedule: Schedule
    token: int = 0
    lease_until: datetime | None = None


class MemorySchedules:
    """Schedules of all tenants."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[UUID, _Row] = {}

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
        schedule = Schedule(
            tenant=tenant,
            namespace=namespace,
            id=uuid7(),
            function_name=function_name,
            cron=cron,
            time_zone=time_zone,
            input=input,
            enabled=enabled,
            next_run_at=next_run_at,
            last_run_at=None,
            last_job_id=None,
            qualifier=qualifier,
            version=1,
            created_at=self._clock.now(),
        )
        self._rows[schedule.id] = _Row(schedule=schedule)
        return schedule

    async def get(self, tenant: str, namespace: str, schedule_id: UUID) -> Schedule:
        row = self._rows.get(schedule_id)
        if row is None or (row.schedule.tenant, row.schedule.namespace) != (tenant, namespace):
            raise NotFound("schedule", str(schedule_id))
        return row.schedule

    async def update(self, schedule: Schedule) -> Schedule:
        current = await self.get(schedule.tenant, schedule.namespace, schedule.id)
        if current.version != schedule.version:
            raise VersionConflict("schedule", str(schedule.id))
        row = self._rows[schedule.id]
        row.schedule = replace(
            current,
            cron=schedule.cron,
            time_zone=schedule.time_zone,
            input=schedule.input,
            enabled=schedule.enabled,
            next_run_at=schedule.next_run_at,
            version=current.version + 1,
        )
        row.token, row.lease_until = row.token + 1, None
        return row.schedule

    async def delete(self, tenant: str, namespace: str, schedule_id: UUID) -> None:
        await self.get(tenant, namespace, schedule_id)
        del self._rows[schedule_id]

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedSchedule, ...]:
        assert owner
        now = self._clock.now()
        due = [
            row
            for row in self._rows.values()
            if row.schedule.enabled
            and row.schedule.next_run_at is not None
            and row.schedule.next_run_at <= now
            and (row.lease_until is None or row.lease_until < now)
        ]
        due.sort(key=lambda row: row.schedule.next_run_at or now)
        for row in due[:limit]:
            row.token += 1
            row.lease_until = now + timedelta(seconds=lease_s)
        return tuple(ClaimedSchedule(schedule=row.schedule, token=row.token) for row in due[:limit])

    async def renew(self, claim: ClaimedSchedule, *, lease_s: float) -> bool:
        row = self._held(claim)
        if row is not None:
            row.lease_until = self._clock.now() + timedelta(seconds=lease_s)
        return row is not None

    async def finish(
        self,
        claim: ClaimedSchedule,
        *,
        next_run_at: datetime | None,
        last_run_at: datetime | None,
        job_id: UUID | None,
    ) -> bool:
        row = self._held(claim)
        if row is None:
            return False
        row.schedule = replace(row.schedule, next_run_at=next_run_at, last_run_at=last_run_at, last_job_id=job_id)
        row.lease_until = None
        return True

    async def seconds_to_next(self) -> float | None:
        now = self._clock.now()
        instants = [
            max(row.schedule.next_run_at, row.lease_until or row.schedule.next_run_at)
            for row in self._rows.values()
            if row.schedule.enabled and row.schedule.next_run_at is not None
        ]
        return max(0.0, (min(instants) - now).total_seconds()) if instants else None

    def _held(self, claim: ClaimedSchedule) -> _Row | None:
        row = self._rows.get(claim.schedule.id)
        return row if row and row.token == claim.token and row.lease_until is not None else None
