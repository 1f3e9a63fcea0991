"""What durable executions leave on record: their steps, and the events that wait for them.

Every write of a run holds its job's row and asks for the run's token, so that a run that lost its lease writes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec

from constellation.base.errors import ConstellationError, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.execution import (
    MAX_EVENTS,
    EventsFull,
    ExecutionCancelled,
    MessageWait,
    Run,
    Step,
    StepKind,
    check_step,
)
from constellation.nova.domain.job import Job
from constellation.nova.domain.topic import Topic
from constellation.nova.store import waits
from constellation.nova.store.bell import JOBS, Bell
from constellation.nova.store.job_rows import job_of
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load
from constellation.nova.store.topics import SQL as TOPICS
from constellation.nova.store.topics import TopicNotFound

SQL = load("steps")

_TIMED_OUT = msgspec.json.encode({"type": "Timeout", "message": "no such event came in time", "stack": ""})
_NO_MESSAGE = msgspec.json.encode({"type": "Timeout", "message": "no such message came in time", "stack": ""})


class RunLost(ConstellationError):
    """Another worker has the execution, or it was ended: what this run says is not written any more."""

    code, http_status = "run_lost", 409

    def __init__(self, execution_id: UUID) -> None:
        super().__init__(f"this run of execution {execution_id} may write nothing any more")


class Steps:
    """The tables execution_steps and execution_events."""

    def __init__(self, db: Database, jobs: Jobs) -> None:
        self._db, self._jobs, self._bell = db, jobs, Bell(db, JOBS)

    # For the run that holds the execution.

    async def recorded(self, run: Run) -> int:
        """Return how many steps are on record."""
        count: int = await self._db.fetch_value(SQL["recorded"], *run.key)
        return count

    async def get(self, run: Run, seq: int) -> Step | None:
        row = await self._db.fetch_row(SQL["get"], *run.key, seq)
        return None if row is None else _step(row)

    async def record(
        self, run: Run, seq: int, name: str, *, output: bytes | None, error: bytes | None, took_s: float
    ) -> None:
        """Keep what a step came to.

        Raises:
            RunLost
        """
        async with self._held(run) as tx:
            await tx.execute(SQL["record"], *run.key, seq, name, output, error, took_s)

    async def wait(self, run: Run, seq: int, kind: StepKind, name: str, *, seconds: float) -> Step | None:
        """Wait for a time, or for an event within it; return the step when that is over, None when it is not.

        Raises:
            RunLost
            StepsDiverged: the record has another step here.
        """
        before = await self.get(run, seq)
        if before is not None and before.finished_at is not None:
            check_step(before, kind, name)
            return before  # nothing gets on by what is over, so the run is not held: that would make it a first attempt
        async with self._held(run) as tx:
            row = await tx.fetch_row(SQL["get"], *run.key, seq)
            if row is None:
                await tx.execute(SQL["wait"], *run.key, seq, kind, name, seconds)
                row = await tx.fetch_row(SQL["get"], *run.key, seq)
                assert row is not None
            step = _step(row)
            check_step(step, kind, name)
            if step.finished_at is not None:
                return step
            payload: bytes | None = None
            if kind is StepKind.EVENT:
                payload = await tx.fetch_value(SQL["take_event"], *run.key, name)
            if payload is None and not step.is_due:
                return None
            error = _TIMED_OUT if kind is StepKind.EVENT and payload is None else None
            await tx.execute(SQL["finish"], *run.key, seq, payload, error)
            return _step(row, output=payload, error=error)

    async def wait_for_message(
        self, run: Run, seq: int, namespace: str, topic_name: str, wait: MessageWait, *, seconds: float
    ) -> Step | None:
        """Wait for a message of a topic; return the step when that is over, None when it is not.

        Raises:
            TopicNotFound
            WaitsFull
            RunLost
            StepsDiverged: the record has another step here.
        """
        before = await self.get(run, seq)
        if before is not None and before.finished_at is not None:
            check_step(before, StepKind.MESSAGE, topic_name)
            return before
        scope = (run.tenant, namespace, topic_name)
        async with self._db.transaction() as tx:
            # Nobody publishes there meanwhile, so no message falls between the look at what there is and the wait.
            await tx.fetch_value(TOPICS["lock_alone"], *scope)
            found = await tx.fetch_row(TOPICS["get_topic"], *scope)
            if found is None:
                raise TopicNotFound(topic_name)
            topic = Topic(**found)
            if await tx.fetch_value(SQL["hold"], *run.key, run.token) is None:
                raise RunLost(run.execution_id)
            row = await tx.fetch_row(SQL["get"], *run.key, seq)
            if row is not None:
                check_step(_step(row), StepKind.MESSAGE, topic_name)
                if row["finished_at"] is not None:
                    return _step(row)
            await waits.begin(tx, run, seq, StepKind.MESSAGE, topic, wait, seconds=seconds)
            message = await waits.missed(tx, run, seq, topic, wait)
            row = await tx.fetch_row(SQL["get"], *run.key, seq)
            assert row is not None
            if message is None and not row["is_due"]:
                return None
            error = _NO_MESSAGE if message is None else None
            await tx.execute(SQL["finish"], *run.key, seq, message, error)
            return _step(row, output=message, error=error)

    @asynccontextmanager
    async def _held(self, run: Run) -> AsyncIterator[Session]:
        async with self._db.transaction() as tx:
            if await tx.fetch_value(SQL["hold"], *run.key, run.token) is None:
                raise RunLost(run.execution_id)
            yield tx

    # For everybody of its scope.

    async def list(self, tenant: str, execution_id: UUID, *, limit: int, offset: int) -> tuple[tuple[Step, ...], int]:
        """Return steps in order, and how many there are in all."""
        rows = await self._db.fetch(SQL["list"], tenant, execution_id, limit, offset)
        total: int = await self._db.fetch_value(SQL["recorded"], tenant, execution_id)
        return tuple(map(_step, rows)), total

    async def signal(self, tenant: str, namespace: str, execution_id: UUID, name: str, payload: bytes) -> UUID:
        """Send an event; kept until a step takes it. Returns its id.

        Raises:
            NotFound: there is no such execution.
            StateConflict: it is over.
            EventsFull
        """
        event_id = uuid7()
        async with self._db.transaction() as tx:
            if await tx.fetch_value(SQL["lock"], tenant, namespace, execution_id) is None:
                await self._refuse(tenant, namespace, execution_id)
            event = (tenant, execution_id, event_id, name, payload, MAX_EVENTS)
            if await tx.fetch_value(SQL["add_event"], *event) is None:
                raise EventsFull(execution_id)
            is_woken = await tx.fetch_value(SQL["wake"], tenant, execution_id, name) is not None
        if is_woken:
            await self._bell.ring()
        return event_id

    async def cancel(self, tenant: str, namespace: str, execution_id: UUID) -> Job:
        """End an execution: nothing of it is run or written any more.

        Raises:
            NotFound: there is no such execution.
            StateConflict: it is over.
        """
        problem = msgspec.json.encode(ExecutionCancelled().problem())
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(SQL["cancel"], tenant, namespace, execution_id, problem)
        if row is None:
            await self._refuse(tenant, namespace, execution_id)
        assert row is not None
        return job_of(row)

    async def _refuse(self, tenant: str, namespace: str, execution_id: UUID) -> None:
        job = await self._jobs.get(tenant, namespace, execution_id, is_durable=True)
        raise StateConflict("execution", str(execution_id), state=job.status, wanted="one that is not over")


def _step(row: Record, *, output: bytes | None = None, error: bytes | None = None) -> Step:
    return Step(
        seq=row["seq"],
        kind=StepKind(row["kind"]),
        name=row["name"],
        due_at=row["due_at"],
        output=output if output is not None else row["output"],
        error=error if error is not None else row["error"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        is_due=bool(row["is_due"]),
    )
