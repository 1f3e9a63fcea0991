"""The tables of jobs in memory, with every write at one instant: `nova.store.jobs.Jobs` for simulations."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from constellation.base.clock import Clock
from constellation.base.errors import NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.job import Job, JobStatus, NewJob, accepted_job
from constellation.nova.domain.quota import Dimension, QuotaExceeded
from constellation.nova.store.jobs import LEASE_EXPIRED, ClaimedJob, Completion, Enqueued, Failure


@dataclass(slots=True, kw_only=True)
class _Row:
    job: Job
    token: int = 0
    lease_until: datetime | None = None


class MemoryJobs:
    """Jobs of all tenants. `on_enqueue` stands for the notification."""

    def __init__(self, clock: Clock, *, on_enqueue: Callable[[], None] = lambda: None) -> None:
        self._clock, self._on_enqueue = clock, on_enqueue
        self._rows: dict[UUID, _Row] = {}
        self._keys: dict[tuple[str, str, str, str], tuple[UUID, datetime]] = {}
        self.outcomes: dict[UUID, list[JobStatus]] = defaultdict(list)  # each end that was written

    async def enqueue(self, job: NewJob, *, delay_s: float = 0.0, max_depth: int | None = None) -> Enqueued:
        now = self._clock.now()
        own = sum(row.job.tenant == job.tenant and row.job.status is not JobStatus.DEAD for row in self._rows.values())
        if max_depth is not None and own >= max_depth:
            raise QuotaExceeded(Dimension.QUEUE_DEPTH, used=own + 1, limit=max_depth, retry_after_s=1)
        key = (job.tenant, job.namespace, job.function_name, job.idempotency_key or "")
        bound = self._keys.get(key) if job.idempotency_key else None
        if bound is not None and bound[1] > now and bound[0] in self._rows:
            return Enqueued(job=self._rows[bound[0]].job, is_replay=True)
        accepted = accepted_job(job, uuid7(), run_at=now + timedelta(seconds=delay_s), created_at=now)
        self._rows[accepted.id] = _Row(job=accepted)
        if job.idempotency_key:
            self._keys[key] = (accepted.id, now + timedelta(seconds=job.idempotency_ttl_s))
        self._on_enqueue()
        return Enqueued(job=accepted, is_replay=False)

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedJob, ...]:
        now = self._clock.now()
        self._expire_leases(now)
        lines: dict[str, deque[_Row]] = defaultdict(deque)
        for row in sorted(self._rows.values(), key=lambda row: row.job.run_at):
            if row.job.status is JobStatus.QUEUED and row.job.run_at <= now:
                lines[row.job.tenant].append(row)
        taken: list[ClaimedJob] = []
        while lines and len(taken) < limit:
            for tenant in list(lines):
                if len(taken) < limit:
                    row = lines[tenant].popleft()
                    row.job = replace(row.job, status=JobStatus.RUNNING, attempt=row.job.attempt + 1, started_at=now)
                    row.token += 1
                    row.lease_until = now + timedelta(seconds=lease_s)
                    taken.append(ClaimedJob(job=row.job, token=row.token))
                if not lines[tenant]:
                    del lines[tenant]
        assert owner
        return tuple(taken)

    async def renew(self, claims: Sequence[ClaimedJob], *, lease_s: float) -> frozenset[UUID]:
        until = self._clock.now() + timedelta(seconds=lease_s)
        held = [row for claim in claims if (row := self._held(claim))]
        for row in held:
            row.lease_until = until
        return frozenset(row.job.id for row in held)

    async def complete(self, results: Sequence[Completion]) -> frozenset[UUID]:
        written: set[UUID] = set()
        for result in results:
            if row := self._held(result.claim):
                row.job = replace(
                    row.job,
                    output=result.output,
                    error=None,
                    request_id=result.request_id,
                    duration_ms=result.duration_ms,
                )
                self._end(row, JobStatus.SUCCEEDED)
                written.add(row.job.id)
        return frozenset(written)

    async def fail(self, failures: Sequence[Failure]) -> frozenset[UUID]:
        written: set[UUID] = set()
        for failure in failures:
            row = self._held(failure.claim)
            if row is None:
                continue
            row.job = replace(
                row.job, error=failure.error, request_id=failure.request_id, duration_ms=failure.duration_ms
            )
            if failure.retry_after_s is None or row.job.attempt >= row.job.max_attempts:
                self._end(row, JobStatus.DEAD)
            else:
                run_at = self._clock.now() + timedelta(seconds=failure.retry_after_s)
                row.job = replace(row.job, status=JobStatus.QUEUED, run_at=run_at)
                row.lease_until = None
            written.add(row.job.id)
        return frozenset(written)

    async def suspend(self, claims: Sequence[ClaimedJob]) -> frozenset[UUID]:
        raise AssertionError(f"durable jobs need their record: {claims}")

    async def release(self, claims: Sequence[ClaimedJob], *, delay_s: float = 0.0) -> frozenset[UUID]:
        run_at = self._clock.now() + timedelta(seconds=delay_s)
        held = [row for claim in claims if (row := self._held(claim))]
        for row in held:
            row.job = replace(row.job, status=JobStatus.QUEUED, attempt=row.job.attempt - 1, run_at=run_at)
            row.lease_until = None
        if held and not delay_s:
            self._on_enqueue()
        return frozenset(row.job.id for row in held)

    async def get(self, tenant: str, namespace: str, job_id: UUID) -> Job:
        row = self._rows.get(job_id)
        if row is None or (row.job.tenant, row.job.namespace) != (tenant, namespace):
            raise NotFound("async invocation", str(job_id))
        return row.job

    async def retry(self, tenant: str, namespace: str, job_id: UUID, *, max_attempts: int | None = None) -> Job:
        job = await self.get(tenant, namespace, job_id)
        if job.status is not JobStatus.DEAD:
            raise StateConflict("async invocation", str(job_id), state=job.status, wanted=JobStatus.DEAD)
        row = self._rows[job_id]
        row.job = replace(
            job,
            status=JobStatus.QUEUED,
            attempt=0,
            max_attempts=max_attempts or job.max_attempts,
            run_at=self._clock.now(),
            finished_at=None,
        )
        self._on_enqueue()
        return row.job

    async def seconds_to_next(self) -> float | None:
        now = self._clock.now()
        instants = [row.job.run_at for row in self._rows.values() if row.job.status is JobStatus.QUEUED]
        instants += [row.lease_until for row in self._rows.values() if row.lease_until is not None]
        return max(0.0, (min(instants) - now).total_seconds()) if instants else None

    def all(self) -> list[Job]:
        """Every job as it stands; for the checks of a simulation."""
        return [row.job for row in self._rows.values()]

    def _held(self, claim: ClaimedJob) -> _Row | None:
        row = self._rows.get(claim.job.id)
        return row if row and row.token == claim.token and row.job.status is JobStatus.RUNNING else None

    def _expire_leases(self, now: datetime) -> None:
        for row in self._rows.values():
            if row.job.status is JobStatus.RUNNING and row.lease_until is not None and row.lease_until < now:
                if row.job.attempt < row.job.max_attempts:
                    row.job = replace(row.job, status=JobStatus.QUEUED, run_at=now)
                    row.lease_until = None
                else:
                    row.job = replace(row.job, error=LEASE_EXPIRED)
                    self._end(row, JobStatus.DEAD)

    def _end(self, row: _Row, status: JobStatus) -> None:
        row.job = replace(row.job, status=status, finished_at=self._clock.now())
        row.lease_until = None
        self.outcomes[row.job.id].append(status)
