"""What workers count on, of the tables in PostgreSQL and of the fake that simulations run on."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import anyio
import pytest

from constellation.base.clock import SystemClock
from constellation.base.errors import NotFound, StateConflict
from constellation.nova.domain.job import JobStatus, NewJob
from constellation.nova.store.jobs import Completion, Failure, Jobs
from constellation.testing.jobs import MemoryJobs

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

JOB = NewJob(tenant="default", namespace="default", function_name="f", payload=b'{"a":1}', subject="apikey:ci")
LONG_S = 60.0
SHORT_S = 0.05


@pytest.fixture(params=["postgres", "memory"])
def jobs(request, db):
    return Jobs(db) if request.param == "postgres" else MemoryJobs(SystemClock())


async def _claim_one(jobs, *, owner="w1", lease_s=LONG_S):
    (claim,) = await jobs.claim(owner=owner, lease_s=lease_s, limit=1)
    return claim


def _done(claim, output=b"2"):
    return Completion(claim=claim, request_id=uuid4(), output=output, duration_ms=1.5)


def _failed(claim, *, retry_after_s=0.0, error=b'{"type":"E"}'):
    return Failure(claim=claim, request_id=uuid4(), error=error, duration_ms=None, retry_after_s=retry_after_s)


async def test_claimed_job_is_running_and_nobody_elses(jobs):
    accepted = (await jobs.enqueue(replace(JOB, call_depth=2, call_chain=("a", "b")))).job
    claim = await _claim_one(jobs)
    assert claim.job.id == accepted.id
    assert (claim.job.status, claim.job.attempt) == (JobStatus.RUNNING, 1)
    assert (claim.job.payload, claim.job.call_depth, claim.job.call_chain) == (b'{"a":1}', 2, ("a", "b"))
    assert claim.job.started_at is not None
    assert await jobs.claim(owner="w2", lease_s=LONG_S, limit=10) == ()


async def test_completed_job_has_its_output(jobs):
    job = (await jobs.enqueue(JOB)).job
    claim = await _claim_one(jobs)
    result = _done(claim)
    assert await jobs.complete([result]) == {job.id}
    done = await jobs.get("default", "default", job.id)
    assert (done.status, done.output, done.request_id) == (JobStatus.SUCCEEDED, b"2", result.request_id)
    assert await jobs.complete([result]) == frozenset()


async def test_failed_job_waits_and_then_is_claimed_again(jobs):
    job = (await jobs.enqueue(JOB)).job
    assert await jobs.fail([_failed(await _claim_one(jobs), retry_after_s=0.3)]) == {job.id}
    waiting = await jobs.get("default", "default", job.id)
    assert (waiting.status, waiting.attempt, waiting.error) == (JobStatus.QUEUED, 1, b'{"type":"E"}')
    assert await jobs.claim(owner="w1", lease_s=LONG_S, limit=1) == ()
    next_s = await jobs.seconds_to_next()
    assert 0 < next_s <= 0.3
    await anyio.sleep(next_s + 0.05)
    assert (await _claim_one(jobs)).job.attempt == 2


async def test_attempts_are_capped_by_the_table_itself(jobs):
    job = (await jobs.enqueue(replace(JOB, max_attempts=2))).job
    await jobs.fail([_failed(await _claim_one(jobs))])
    await jobs.fail([_failed(await _claim_one(jobs))])
    assert (await jobs.get("default", "default", job.id)).status is JobStatus.DEAD
    assert await jobs.claim(owner="w1", lease_s=LONG_S, limit=1) == ()


async def test_permanent_failure_is_dead_at_once_and_can_be_retried(jobs):
    job = (await jobs.enqueue(JOB)).job
    await jobs.fail([_failed(await _claim_one(jobs), retry_after_s=None)])
    dead = await jobs.get("default", "default", job.id)
    assert (dead.status, dead.attempt) == (JobStatus.DEAD, 1)
    again = await jobs.retry("default", "default", job.id, max_attempts=7)
    assert (again.status, again.attempt, again.max_attempts) == (JobStatus.QUEUED, 0, 7)
    with pytest.raises(StateConflict):
        await jobs.retry("default", "default", job.id)
    assert (await _claim_one(jobs)).job.attempt == 1


async def test_released_job_used_no_attempt_up(jobs):
    job = (await jobs.enqueue(JOB)).job
    assert await jobs.release([await _claim_one(jobs)]) == {job.id}
    assert (await _claim_one(jobs)).job.attempt == 1


async def test_release_with_a_delay_waits(jobs):
    await jobs.enqueue(JOB)
    await jobs.release([await _claim_one(jobs)], delay_s=30.0)
    assert await jobs.claim(owner="w1", lease_s=LONG_S, limit=1) == ()
    assert 29 < await jobs.seconds_to_next() <= 30


async def test_silent_workers_job_comes_back_under_a_new_token(jobs):
    job = (await jobs.enqueue(JOB)).job
    stale = await _claim_one(jobs, lease_s=SHORT_S)
    await anyio.sleep(2 * SHORT_S)
    claim = await _claim_one(jobs, owner="w2")
    assert claim.job.id == job.id
    assert (claim.job.attempt, claim.token > stale.token) == (2, True)


async def test_stale_token_can_write_nothing(jobs):
    job = (await jobs.enqueue(JOB)).job
    stale = await _claim_one(jobs, lease_s=SHORT_S)
    await anyio.sleep(2 * SHORT_S)
    claim = await _claim_one(jobs, owner="w2")
    assert await jobs.renew([stale], lease_s=LONG_S) == frozenset()
    assert await jobs.complete([_done(stale, b'"stale"')]) == frozenset()
    assert await jobs.fail([_failed(stale, retry_after_s=None)]) == frozenset()
    assert await jobs.release([stale]) == frozenset()
    assert await jobs.complete([_done(claim, b'"fresh"')]) == {job.id}
    assert (await jobs.get("default", "default", job.id)).output == b'"fresh"'


async def test_job_that_kills_its_workers_ends_dead(jobs):
    job = (await jobs.enqueue(replace(JOB, max_attempts=2))).job
    for _ in range(2):
        await _claim_one(jobs, lease_s=SHORT_S)
        await anyio.sleep(2 * SHORT_S)
    assert await jobs.claim(owner="w1", lease_s=LONG_S, limit=1) == ()
    dead = await jobs.get("default", "default", job.id)
    assert dead.status is JobStatus.DEAD
    assert b"lease_expired" in dead.error


async def test_renewed_lease_outlives_its_first_end(jobs):
    job = (await jobs.enqueue(JOB)).job
    claim = await _claim_one(jobs, lease_s=SHORT_S * 4)
    assert await jobs.renew([claim], lease_s=LONG_S) == {job.id}
    await anyio.sleep(SHORT_S * 6)
    assert await jobs.claim(owner="w2", lease_s=LONG_S, limit=1) == ()
    assert await jobs.complete([_done(claim)]) == {job.id}


async def test_lease_shows_in_the_time_to_the_next(jobs):
    assert await jobs.seconds_to_next() is None
    await jobs.enqueue(JOB)
    assert await jobs.seconds_to_next() == 0
    await _claim_one(jobs, lease_s=20.0)
    assert 19 < await jobs.seconds_to_next() <= 20


async def test_batches_write_what_is_held_and_say_what(jobs):
    held = [(await jobs.enqueue(JOB)).job.id for _ in range(5)]
    claims = {claim.job.id: claim for claim in await jobs.claim(owner="w", lease_s=LONG_S, limit=5)}
    assert set(claims) == set(held)
    assert await jobs.complete([_done(claims[held[0]])]) == {held[0]}
    assert await jobs.complete([_done(claim) for claim in claims.values()]) == set(held[1:])


async def test_tenants_share_a_batch(jobs):
    for _ in range(40):
        await jobs.enqueue(replace(JOB, tenant="busy"))
    for _ in range(3):
        await jobs.enqueue(replace(JOB, tenant="quiet"))
    taken = [claim.job.tenant for claim in await jobs.claim(owner="w", lease_s=LONG_S, limit=8)]
    assert taken.count("quiet") == 3


async def test_idempotency_key_binds_one_job(jobs):
    first = await jobs.enqueue(replace(JOB, idempotency_key="k"))
    again = await jobs.enqueue(replace(JOB, idempotency_key="k"))
    assert (first.is_replay, again.is_replay, again.job.id) == (False, True, first.job.id)
    other = await jobs.enqueue(replace(JOB, idempotency_key="k", function_name="g"))
    assert not other.is_replay


async def test_expired_idempotency_key_is_free(jobs):
    first = await jobs.enqueue(replace(JOB, idempotency_key="k", idempotency_ttl_s=0.05))
    await anyio.sleep(0.1)
    again = await jobs.enqueue(replace(JOB, idempotency_key="k"))
    assert not again.is_replay
    assert again.job.id != first.job.id


async def test_other_scopes_see_nothing(jobs):
    job = (await jobs.enqueue(JOB)).job
    with pytest.raises(NotFound):
        await jobs.get("other", "default", job.id)
    with pytest.raises(NotFound):
        await jobs.get("default", "default", UUID(int=1))
