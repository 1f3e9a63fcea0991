from __future__ import annotations

from uuid import UUID

import anyio
import pytest

from constellation.base.errors import NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.execution import Run, StepKind, StepsDiverged
from constellation.nova.domain.job import JobStatus, NewJob
from constellation.nova.store.jobs import ClaimedJob, Completion, Failure, Jobs
from constellation.nova.store.pool import Database
from constellation.nova.store.retention import Retention
from constellation.nova.store.steps import RunLost, Steps

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

T, N = "default", "default"


class Rig:
    def __init__(self, db: Database) -> None:
        self.db, self.jobs = db, Jobs(db)
        self.steps = Steps(db, self.jobs)

    async def begin(self, **more: object) -> ClaimedJob:
        job = NewJob(tenant=T, namespace=N, function_name="f", payload=b"{}", subject="t", is_durable=True, **more)
        await self.jobs.enqueue(job)
        return await self.claim()

    async def claim(self) -> ClaimedJob:
        (claim,) = await self.jobs.claim(owner="w", lease_s=60, limit=10)
        return claim

    async def pass_time(self, job_id: UUID) -> None:
        """Let what an execution waits for be due: the year is over."""
        async with self.db.transaction() as tx:
            await tx.execute("UPDATE execution_steps SET due_at = now() WHERE execution_id = $1", job_id)
            await tx.execute("UPDATE jobs SET run_at = now() WHERE id = $1", job_id)


@pytest.fixture
def rig(db: Database) -> Rig:
    return Rig(db)


def run_of(claim: ClaimedJob) -> Run:
    return Run(tenant=claim.job.tenant, execution_id=claim.job.id, token=claim.token)


async def test_what_a_step_came_to_is_read_back(rig: Rig) -> None:
    run = run_of(await rig.begin())
    await rig.steps.record(run, 0, "one", output=b"1", error=None, took_s=2.0)
    await rig.steps.record(run, 1, "two", output=None, error=b'{"type":"E"}', took_s=0.0)
    assert await rig.steps.recorded(run) == 2
    step = await rig.steps.get(run, 0)
    assert step is not None
    assert step.finished_at is not None
    assert (step.output, step.error, (step.finished_at - step.started_at).total_seconds()) == (b"1", None, 2.0)
    steps, total = await rig.steps.list(T, run.execution_id, limit=1, offset=1)
    assert (steps[0].name, steps[0].error, total) == ("two", b'{"type":"E"}', 2)


async def test_a_run_that_lost_its_lease_writes_nothing(rig: Rig) -> None:
    first = await rig.begin()
    async with rig.db.transaction() as tx:
        await tx.execute("UPDATE jobs SET lease_until = now() - interval '1 second'")
    second = await rig.claim()
    assert second.token > first.token
    with pytest.raises(RunLost):
        await rig.steps.record(run_of(first), 0, "one", output=b"1", error=None, took_s=0.0)
    with pytest.raises(RunLost):
        await rig.steps.wait(run_of(first), 0, StepKind.SLEEP, "s", seconds=1)
    assert await rig.jobs.suspend([first]) == frozenset()
    await rig.steps.record(run_of(second), 0, "one", output=b"2", error=None, took_s=0.0)


async def test_getting_on_gives_all_attempts_again(rig: Rig) -> None:
    claim = await rig.begin(max_attempts=2)
    for _ in range(3):
        await rig.steps.record(
            run_of(claim), await rig.steps.recorded(run_of(claim)), "s", output=b"1", error=None, took_s=0.0
        )
        assert await rig.jobs.fail([failure(claim)])
        claim = await rig.claim()
    await rig.jobs.fail([failure(claim)])  # the second attempt at the same step
    assert (await rig.jobs.get(T, N, claim.job.id, is_durable=True)).status is JobStatus.DEAD


async def test_going_past_waits_that_are_over_is_not_getting_on(rig: Rig) -> None:
    claim = await rig.begin(max_attempts=2)
    for _ in range(2):
        step = await rig.steps.wait(run_of(claim), 0, StepKind.SLEEP, "s", seconds=0)
        assert step is not None
        assert step.finished_at is not None or claim.job.attempt == 1
        await rig.jobs.fail([failure(claim)])
        found = await rig.jobs.get(T, N, claim.job.id, is_durable=True)
        if found.status is not JobStatus.DEAD:
            claim = await rig.claim()
    assert (found.status, found.attempt) == (JobStatus.DEAD, 2)


def failure(claim: ClaimedJob) -> Failure:
    return Failure(claim=claim, request_id=uuid7(), error=b'{"type":"E"}', duration_ms=1.0, retry_after_s=0.0)


async def test_a_year_of_sleep_holds_nothing_and_ends(rig: Rig) -> None:
    claim = await rig.begin()
    year_s = 366 * 86400.0
    assert await rig.steps.wait(run_of(claim), 0, StepKind.SLEEP, "long", seconds=year_s) is None
    assert await rig.jobs.suspend([claim]) == {claim.job.id}
    waiting = await rig.jobs.get(T, N, claim.job.id, is_durable=True)
    assert (waiting.status, waiting.attempt) == (JobStatus.QUEUED, 0)
    assert year_s - 60 < (waiting.run_at - waiting.created_at).total_seconds() < year_s + 60
    assert await rig.jobs.claim(owner="w", lease_s=60, limit=10) == ()
    await rig.pass_time(claim.job.id)
    again = await rig.claim()
    step = await rig.steps.wait(run_of(again), 0, StepKind.SLEEP, "long", seconds=year_s)
    assert step is not None
    done = Completion(claim=again, request_id=uuid7(), output=b'"rested"', duration_ms=1.0)
    assert await rig.jobs.complete([done]) == {claim.job.id}
    kept = await rig.jobs.get(T, N, claim.job.id, is_durable=True)
    assert (kept.status, kept.output) == (JobStatus.SUCCEEDED, b'"rested"')


async def test_an_event_wakes_who_waits_for_it_and_nobody_else(rig: Rig) -> None:
    claim = await rig.begin()
    assert await rig.steps.wait(run_of(claim), 0, StepKind.EVENT, "go", seconds=3600) is None
    await rig.jobs.suspend([claim])
    await rig.steps.signal(T, N, claim.job.id, "other", b"0")
    assert await rig.jobs.claim(owner="w", lease_s=60, limit=10) == ()
    await rig.steps.signal(T, N, claim.job.id, "go", b"1")
    await rig.steps.signal(T, N, claim.job.id, "go", b"2")
    again = await rig.claim()
    run = run_of(again)
    for seq, payload in ((0, b"1"), (1, b"2")):
        step = await rig.steps.wait(run, seq, StepKind.EVENT, "go", seconds=3600)
        assert step is not None
        assert step.output == payload
    recorded = await rig.steps.wait(run, 0, StepKind.EVENT, "go", seconds=3600)
    assert recorded is not None
    assert recorded.output == b"1"


async def test_an_event_that_comes_while_the_run_ends_is_not_missed(rig: Rig) -> None:
    claim = await rig.begin()
    assert await rig.steps.wait(run_of(claim), 0, StepKind.EVENT, "go", seconds=3600) is None
    await rig.steps.signal(T, N, claim.job.id, "go", b"1")  # the run is not put aside yet
    await rig.jobs.suspend([claim])
    assert (await rig.claim()).job.id == claim.job.id


async def test_events_that_race_with_the_suspension_wake_every_execution(rig: Rig) -> None:
    claims = [await rig.begin() for _ in range(10)]
    for claim in claims:
        await rig.steps.wait(run_of(claim), 0, StepKind.EVENT, "go", seconds=3600)
    async with anyio.create_task_group() as tasks:
        for claim in claims:
            tasks.start_soon(rig.steps.signal, T, N, claim.job.id, "go", b"1")
            tasks.start_soon(rig.jobs.suspend, [claim])
    woken = await rig.jobs.claim(owner="w", lease_s=60, limit=100)
    assert {claim.job.id for claim in woken} == {claim.job.id for claim in claims}


async def test_an_event_that_does_not_come_in_time_is_an_error_on_record(rig: Rig) -> None:
    claim = await rig.begin()
    await rig.steps.wait(run_of(claim), 0, StepKind.EVENT, "go", seconds=3600)
    await rig.jobs.suspend([claim])
    await rig.pass_time(claim.job.id)
    again = await rig.claim()
    step = await rig.steps.wait(run_of(again), 0, StepKind.EVENT, "go", seconds=3600)
    assert step is not None
    assert step.error is not None
    assert b'"Timeout"' in step.error
    await rig.steps.signal(T, N, claim.job.id, "go", b"1")  # too late for this step, and kept for another
    same = await rig.steps.wait(run_of(again), 0, StepKind.EVENT, "go", seconds=3600)
    assert same is not None
    assert same.error == step.error


async def test_another_step_than_the_recorded_one_is_told_from_it(rig: Rig) -> None:
    run = run_of(await rig.begin())
    await rig.steps.wait(run, 0, StepKind.EVENT, "go", seconds=3600)
    with pytest.raises(StepsDiverged, match=r"step 0 is event 'go' on record and sleep 'nap' now"):
        await rig.steps.wait(run, 0, StepKind.SLEEP, "nap", seconds=1)


async def test_a_cancelled_execution_is_over_for_everybody(rig: Rig) -> None:
    claim = await rig.begin()
    ended = await rig.steps.cancel(T, N, claim.job.id)
    assert ended.status is JobStatus.CANCELLED
    assert ended.error is not None
    assert b"execution_cancelled" in ended.error
    assert await rig.jobs.renew([claim], lease_s=60) == frozenset()
    with pytest.raises(RunLost):
        await rig.steps.record(run_of(claim), 0, "one", output=b"1", error=None, took_s=0.0)
    for attempt in (rig.steps.cancel(T, N, claim.job.id), rig.steps.signal(T, N, claim.job.id, "go", b"1")):
        with pytest.raises(StateConflict):
            await attempt


async def test_executions_and_jobs_do_not_see_each_other(rig: Rig) -> None:
    claim = await rig.begin()
    plain = await rig.jobs.enqueue(NewJob(tenant=T, namespace=N, function_name="f", payload=b"{}", subject="t"))
    assert [job.id for job in (await rig.jobs.list(T, N)).items] == [plain.job.id]
    assert [job.id for job in (await rig.jobs.list(T, N, is_durable=True)).items] == [claim.job.id]
    with pytest.raises(NotFound):
        await rig.jobs.get(T, N, claim.job.id)
    for wrong in ((T, N, plain.job.id), ("other", N, claim.job.id), (T, "other", claim.job.id)):
        with pytest.raises(NotFound):
            await rig.steps.signal(*wrong, "go", b"1")
        with pytest.raises(NotFound):
            await rig.steps.cancel(*wrong)


async def test_upkeep_forgets_the_record_of_what_is_gone_alone(rig: Rig) -> None:
    gone, kept = await rig.begin(), await rig.begin()
    for claim in (gone, kept):
        await rig.steps.record(run_of(claim), 0, "one", output=b"1", error=None, took_s=0.0)
        await rig.steps.signal(T, N, claim.job.id, "go", b"1")
    async with rig.db.transaction() as tx:
        await tx.execute("DELETE FROM jobs WHERE id = $1", gone.job.id)
    await Retention(rig.db).keep()
    for table in ("execution_steps", "execution_events"):
        rows = await rig.db.fetch(f"SELECT execution_id FROM {table}")
        assert [row["execution_id"] for row in rows] == [kept.job.id]
