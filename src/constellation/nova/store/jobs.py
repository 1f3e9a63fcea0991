"""Durable invocations: accepted once, claimed by lease and fencing token, kept when done.

All times are the database's: callers give delays and lease lengths in seconds, so clocks of hosts need not agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from constellation.base.errors import InvalidRequest, NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.destination import Ended, Outcome
from constellation.nova.domain.job import Job, JobStatus, NewJob
from constellation.nova.domain.result_target import Destination
from constellation.nova.store import destinations
from constellation.nova.store.aliases import version_now
from constellation.nova.store.bell import JOBS, Bell
from constellation.nova.store.job_rows import accepted, columns_of, job_of
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load
from constellation.nova.store.quotas import refuse_full

SQL = load("jobs")
STEPS = load("steps")

REDRIVE_BATCH = 1000  # chosen: rows locked by one transaction of a redrive or a purge
LEASE_EXPIRED = b'{"type":"lease_expired","message":"the worker went silent","stack":null}'
WALKED_FUNCTIONS = 10_000  # chosen: functions with queued jobs that one claim looks at; a few microseconds each
EXPIRED_BATCH = 1000  # chosen: silent jobs put back by one claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """The answer to an accepted job."""

    job: Job
    is_replay: bool  # True: the idempotency key was bound to this job before


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job in the hands of one worker; `job.attempt` counts this run."""

    job: Job
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A run that succeeded."""

    claim: ClaimedJob
    request_id: UUID
    output: bytes  # JSON
    duration_ms: float
    version: int | None = None  # of the function, that ran; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that failed."""

    claim: ClaimedJob
    request_id: UUID | None
    error: bytes  # JSON: a problem or {type, message, stack}
    duration_ms: float | None
    retry_after_s: float | None  # None: it is dead; it is dead as well when its attempts are used up
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSummary:
    """The queue of a function or a namespace."""

    counts: Mapping[JobStatus, int]  # the live ones
    oldest_due_at: datetime | None
    succeeded_in_1m: int
    succeeded_in_5m: int
    paused: Mapping[str, datetime]  # functions whose queue stands still, and since when; "" is the whole namespace


class Jobs:
    """The tables jobs, jobs_done, job_keys and job_pauses."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, JOBS)

    async def enqueue(self, job: NewJob, *, delay_s: float = 0.0, max_depth: int | None = None) -> Enqueued:
        """Accept a job; when this returns it is committed. A live idempotency key answers with the job it is bound to.

        Args:
            max_depth: how many jobs its tenant may have in line or running; None: any number.

        Raises:
            QuotaExceeded: it has as many.
        """
        if job.idempotency_key is None:
            (made,) = await self.enqueue_many([job], delay_s=delay_s, max_depth=max_depth)
            return Enqueued(job=made, is_replay=False)
        key = (job.tenant, job.namespace, job.function_name, job.idempotency_key)
        job_id = uuid7()
        async with self._db.transaction() as tx:
            if await tx.fetch_value(SQL["take_key"], *key, job_id, job.idempotency_ttl_s) is None:
                bound_to = await tx.fetch_value(SQL["get_key"], *key)
                for table in ("live", "done"):
                    row = await tx.fetch_row(SQL[f"get_{table}"], job.tenant, job.namespace, bound_to)
                    if row is not None:
                        return Enqueued(job=job_of(row), is_replay=True)
                await tx.execute(SQL["rebind_key"], *key, job_id, job.idempotency_ttl_s)
            await refuse_full(tx, job.tenant, 1, max_depth=max_depth)
            job = await _begun(tx, job)
            row = await tx.fetch_row(SQL["insert"], *columns_of([job], [job_id], delay_s))
            assert row is not None
        await self._bell.ring()
        return Enqueued(job=accepted(job, row), is_replay=False)

    async def enqueue_many(
        self, jobs: Sequence[NewJob], *, delay_s: float = 0.0, max_depth: int | None = None
    ) -> tuple[Job, ...]:
        """Accept jobs without idempotency keys in one commit; with `max_depth` they are of one tenant.

        Raises:
            InvalidRequest: a job has an idempotency key; such jobs go in one by one.
        """
        if any(job.idempotency_key is not None for job in jobs):
            raise InvalidRequest("a batch takes no idempotency keys", field="idempotency_key")
        ids = [uuid7() for _ in jobs]
        async with self._db.transaction() as tx:
            if jobs:
                await refuse_full(tx, jobs[0].tenant, len(jobs), max_depth=max_depth)
            jobs = [await _begun(tx, job) for job in jobs]
            rows = {row["id"]: row for row in await tx.fetch(SQL["insert"], *columns_of(jobs, ids, delay_s))}
        await self._bell.ring()
        return tuple(accepted(job, rows[job_id]) for job, job_id in zip(jobs, ids, strict=True))

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedJob, ...]:
        """Take up to `limit` due jobs, fairly over tenants, each for `lease_s` seconds.

        Jobs of workers that went silent come back in line first, or are dead with the error "lease_expired" when
        that was their last attempt.
        """
        async with self._db.transaction() as tx:
            dead = await tx.fetch(SQL["expire_leases"], EXPIRED_BATCH, LEASE_EXPIRED)
            jobs = [job_of(row) for row in dead]
            await self._send(
                tx,
                [
                    _ended(job, row, Outcome.FAILURE, LEASE_EXPIRED, version=numbered(job))
                    for job, row in zip(jobs, dead, strict=True)
                ],
            )
            rows = await tx.fetch(SQL["claim"], owner, lease_s, limit, WALKED_FUNCTIONS)
        return tuple(ClaimedJob(job=job_of(row), token=row["token"]) for row in rows)

    async def renew(self, claims: Sequence[ClaimedJob], *, lease_s: float) -> frozenset[UUID]:
        """Hold claims for another `lease_s` seconds from now; return the ids of those that still held."""
        return await self._write("renew", *_keys(claims), lease_s)

    async def complete(self, results: Sequence[Completion]) -> frozenset[UUID]:
        """Keep results and take the jobs out of line; return the ids that were written.

        Each goes where its function sends its results, in the same transaction.
        A job whose claim was lost is left alone: another worker has it, or it was deleted.
        """
        return await self._end(
            "complete",
            results,
            [result.output for result in results],
            [result.duration_ms for result in results],
        )

    async def fail(self, failures: Sequence[Failure]) -> frozenset[UUID]:
        """Put jobs back in line after their delay, or bury them; return the ids that were written.

        What is buried goes where its function sends its failures, in the same transaction.
        """
        return await self._end(
            "fail",
            failures,
            [failure.error for failure in failures],
            [failure.duration_ms for failure in failures],
            [failure.retry_after_s for failure in failures],
        )

    async def release(self, claims: Sequence[ClaimedJob], *, delay_s: float = 0.0) -> frozenset[UUID]:
        """Put back what provably never started, without using up an attempt; return the ids that were written."""
        released = await self._write("release", *_keys(claims), delay_s)
        if released and not delay_s:
            await self._bell.ring()
        return released

    async def suspend(self, claims: Sequence[ClaimedJob]) -> frozenset[UUID]:
        """Put durable runs aside until what they wait for can have come; return the ids that were written."""
        async with self._db.transaction() as tx:
            # In two statements: the second sees the events of whoever held a row meanwhile.
            await tx.fetch(STEPS["lock_runs"], *_keys(claims))
            suspended = frozenset(row["id"] for row in await tx.fetch(STEPS["suspend"], *_keys(claims)))
        if suspended:
            await self._bell.ring()
        return suspended

    async def get(self, tenant: str, namespace: str, job_id: UUID, *, is_durable: bool = False) -> Job:
        """Return a job, live or done. Raises `NotFound`, also for one of the other kind."""
        for table in ("live", "done"):  # in this order a job that moves between the two looks is still found
            row = await self._db.fetch_row(SQL[f"get_{table}"], tenant, namespace, job_id)
            if row is not None and row["is_durable"] == is_durable:
                return job_of(row)
        raise NotFound("execution" if is_durable else "async invocation", str(job_id))

    async def list(
        self,
        tenant: str,
        namespace: str,
        *,
        function_name: str | None = None,
        status: JobStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
        is_durable: bool = False,
    ) -> Page[Job]:
        """Return jobs of one kind, newest first, counted up to `COUNT_LIMIT`.

        Args:
            since: accepted at or after this instant.
            until: accepted before this instant.
        """
        scope = (tenant, namespace, function_name, status)
        rows = await self._db.fetch(SQL["list"], *scope, limit + 1, offset, is_durable, since, until)
        total: int = await self._db.fetch_value(SQL["count"], *scope, COUNT_LIMIT + 1, is_durable, since, until)
        return Page(
            items=tuple(map(job_of, rows[:limit])),
            total=min(total, COUNT_LIMIT),
            total_is_exact=total <= COUNT_LIMIT,
            has_more=len(rows) > limit,
        )

    async def retry(
        self,
        tenant: str,
        namespace: str,
        job_id: UUID,
        *,
        max_attempts: int | None = None,
        qualifier: str | None = None,
    ) -> Job:
        """Put a dead job back in line with all its attempts, on the version that a qualifier means now if one is given.

        Raises:
            NotFound: there is no such job, or its function has no such version or alias.
            StateConflict: it is not dead.
        """
        async with self._db.transaction() as tx:
            if qualifier is not None:
                job = await self.get(tenant, namespace, job_id, is_durable=True)
                qualifier = await version_now(tx, tenant, namespace, job.function_name, qualifier)
            row = await tx.fetch_row(SQL["retry"], tenant, namespace, job_id, max_attempts, qualifier)
        if row is None:
            job = await self.get(tenant, namespace, job_id)
            raise StateConflict("async invocation", str(job_id), state=job.status, wanted=JobStatus.DEAD)
        await self._bell.ring()
        return job_of(row)

    async def redrive(self, tenant: str, namespace: str, *, function_name: str | None = None) -> int:
        """Put all dead jobs of a scope, or of one function, back in line; return how many."""
        total = 0
        while True:
            async with self._db.transaction() as tx:
                count = await tx.execute(SQL["redrive"], tenant, namespace, function_name, REDRIVE_BATCH)
            total += count
            if count:
                await self._bell.ring()
            if count < REDRIVE_BATCH:
                return total

    async def purge(self, tenant: str, namespace: str, *, function_name: str | None = None) -> int:
        """Forget all dead jobs of a scope, or of one function; return how many."""
        total = 0
        while True:
            async with self._db.transaction() as tx:
                count = await tx.execute(SQL["purge"], tenant, namespace, function_name, REDRIVE_BATCH)
            total += count
            if count < REDRIVE_BATCH:
                return total

    async def pause(self, tenant: str, namespace: str, job_id: UUID) -> Job:
        """Take a queued job out of line.

        Raises:
            NotFound: there is no such job.
            StateConflict: it is not queued.
        """
        return await self._turn("pause", tenant, namespace, job_id, wanted=JobStatus.QUEUED)

    async def resume(self, tenant: str, namespace: str, job_id: UUID) -> Job:
        """Put a paused job back in line.

        Raises:
            NotFound: there is no such job.
            StateConflict: it is not paused.
        """
        job = await self._turn("resume", tenant, namespace, job_id, wanted=JobStatus.PAUSED)
        await self._bell.ring()
        return job

    async def _turn(self, query: str, tenant: str, namespace: str, job_id: UUID, *, wanted: JobStatus) -> Job:
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(SQL[query], tenant, namespace, job_id)
        if row is None:
            job = await self.get(tenant, namespace, job_id)
            raise StateConflict("async invocation", str(job_id), state=job.status, wanted=wanted)
        return job_of(row)

    async def pause_queue(self, tenant: str, namespace: str, *, function_name: str | None = None) -> None:
        """Let no job of a function, or of the whole namespace, be claimed until the queue is resumed.

        What runs is not touched, and new jobs are accepted; they wait.
        """
        async with self._db.transaction() as tx:
            await tx.execute(SQL["pause_queue"], tenant, namespace, function_name or "")

    async def resume_queue(self, tenant: str, namespace: str, *, function_name: str | None = None) -> None:
        """Let jobs be claimed again; where the queue moves already, nothing changes."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["resume_queue"], tenant, namespace, function_name or "")
        await self._bell.ring()

    async def summary(self, tenant: str, namespace: str, *, function_name: str | None = None) -> QueueSummary:
        """Return how the queue of a function, or of a namespace, stands."""
        scope = (tenant, namespace, function_name)
        rows = await self._db.fetch(SQL["summary"], *scope)
        done = await self._db.fetch_row(SQL["recently_done"], *scope)
        assert done is not None
        pauses = await self._db.fetch(SQL["pauses"], *scope, COUNT_LIMIT)
        return QueueSummary(
            counts=_live_counts(rows),
            oldest_due_at=min((row["oldest_due_at"] for row in rows if row["oldest_due_at"]), default=None),
            succeeded_in_1m=done["in_1m"],
            succeeded_in_5m=done["in_5m"],
            paused={row["function_name"]: row["since"] for row in pauses},
        )

    async def delete(self, tenant: str, namespace: str, job_id: UUID) -> None:
        """Delete a job that waits, is paused or is dead.

        Raises:
            NotFound: there is no such job.
            StateConflict: it is running or has succeeded.
        """
        async with self._db.transaction() as tx:
            deleted = await tx.execute(SQL["delete"], tenant, namespace, job_id)
        if not deleted:
            job = await self.get(tenant, namespace, job_id)
            raise StateConflict("async invocation", str(job_id), state=job.status, wanted="queued, paused or dead")

    async def seconds_to_next(self) -> float | None:
        """Return how long until a job can be claimed, at least 0; None when none is in line or running."""
        seconds: float | None = await self._db.fetch_value(SQL["seconds_to_next"], WALKED_FUNCTIONS)
        return None if seconds is None else max(0.0, seconds)

    async def totals(self) -> Mapping[JobStatus, int]:
        """Return how many jobs stand in each live status, over all tenants."""
        return _live_counts(await self._db.fetch(SQL["totals"]))

    async def forget_keys(self, *, limit: int = 10_000) -> int:
        """Delete idempotency keys that expired, up to `limit`; return how many."""
        async with self._db.transaction() as tx:
            return await tx.execute(SQL["forget_keys"], limit)

    async def _end(self, query: str, given: Sequence[Completion | Failure], *columns: object) -> frozenset[UUID]:
        """Write how runs ended, and send what goes somewhere: the one with the other, or neither."""
        versions = [each.version or numbered(each.claim.job) for each in given]
        keys = (*_keys([each.claim for each in given]), [each.request_id for each in given])
        async with self._db.transaction() as tx:
            rows = {row["id"]: row for row in await tx.fetch(SQL[query], *keys, *columns, versions)}
            ended = [
                _ended(each.claim.job, row, *_outcome(each), version=version, request_id=each.request_id)
                for each, version in zip(given, versions, strict=True)
                if (row := rows.get(each.claim.job.id)) is not None and row["destination"]
            ]
            has_sent = await self._send(tx, ended)
        if has_sent:
            await self._bell.ring()
        return frozenset(rows)

    async def _send(self, tx: Session, ended: Sequence[Ended]) -> bool:
        """Send results; say whether jobs may have come in line by it."""
        if not ended:
            return False
        jobs = await destinations.send(tx, ended)
        if jobs:
            await tx.execute(SQL["insert"], *columns_of(jobs, [uuid7() for _ in jobs], 0.0))
        return True

    async def _write(self, query: str, *args: object) -> frozenset[UUID]:
        async with self._db.transaction() as tx:
            return frozenset(row["id"] for row in await tx.fetch(SQL[query], *args))


def _keys(claims: Sequence[ClaimedJob]) -> tuple[list[str], list[UUID], list[int]]:
    return (
        [claim.job.tenant for claim in claims],
        [claim.job.id for claim in claims],
        [claim.token for claim in claims],
    )


async def _begun(tx: Session, job: NewJob) -> NewJob:
    """Return a job as it is written: an execution stays with the version that its function has at this moment."""
    if not job.is_durable:
        return job
    version = await version_now(tx, job.tenant, job.namespace, job.function_name, job.qualifier)
    return replace(job, qualifier=version)


def numbered(job: Job) -> int | None:
    """Return the version that each run of a job asks for by its number; None: it asks for no certain one."""
    return int(job.qualifier) if job.qualifier.isdecimal() else None


def _outcome(given: Completion | Failure) -> tuple[Outcome, bytes]:
    return (Outcome.SUCCESS, given.output) if isinstance(given, Completion) else (Outcome.FAILURE, given.error)


def _ended(
    job: Job, row: Record, outcome: Outcome, result: bytes, *, version: int | None, request_id: UUID | None = None
) -> Ended:
    destination = Destination.parse(row["destination"])
    assert destination is not None
    return Ended(
        job=job,
        outcome=outcome,
        result=result,
        request_id=None if request_id is None else str(request_id),
        version=version,
        destination=destination,
        ended_at=row["finished_at"],
    )


def _live_counts(rows: Sequence[Record]) -> dict[JobStatus, int]:
    counts = {JobStatus(row["status"]): row["count"] for row in rows}
    return {status: counts.get(status, 0) for status in JobStatus if status is not JobStatus.SUCCEEDED}
