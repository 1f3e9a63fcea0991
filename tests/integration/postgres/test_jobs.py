from __future__ import annotations

import secrets
from collections import Counter
from uuid import UUID, uuid4

import anyio
import pytest

from constellation.base.errors import InvalidRequest, NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.job import JobStatus, NewJob
from constellation.nova.store.jobs import LEASE_EXPIRED, ClaimedJob, Completion, Failure, Jobs
from constellation.nova.store.pool import Database

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def job(function: str = "f", *, tenant: str = "default", payload: bytes = b"{}", **more: object) -> NewJob:
    return NewJob(
        tenant=tenant, namespace="default", function_name=function, payload=payload, subject="apikey:t", **more
    )


def completion(claim: ClaimedJob, output: bytes = b'"done"') -> Completion:
    return Completion(claim=claim, request_id=uuid7(), output=output, duration_ms=1.5)


def failure(claim: ClaimedJob, retry_after_s: float | None) -> Failure:
    return Failure(claim=claim, request_id=uuid7(), error=b'{"type":"E"}', duration_ms=2.5, retry_after_s=retry_after_s)


async def test_a_job_is_accepted_claimed_and_kept_when_done(db: Database) -> None:
    jobs = Jobs(db)
    enqueued = await jobs.enqueue(
        job(payload=b'{"a": 1}', call_depth=2, call_chain=("x", "y"), source="schedule/1", max_attempts=5)
    )
    assert not enqueued.is_replay
    assert enqueued.job == await jobs.get("default", "default", enqueued.job.id)
    assert enqueued.job.call_chain == ("x", "y")
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=10)
    assert claim.job.id == enqueued.job.id
    assert (claim.job.status, claim.job.attempt, claim.token) == (JobStatus.RUNNING, 1, 1)
    assert await jobs.claim(owner="w2", lease_s=60, limit=10) == ()
    done = completion(claim)
    assert await jobs.complete([done]) == {claim.job.id}
    kept = await jobs.get("default", "default", claim.job.id)
    assert (kept.status, kept.output, kept.request_id) == (JobStatus.SUCCEEDED, b'"done"', done.request_id)
    assert kept.call_chain == ("x", "y")
    assert kept.finished_at is not None
    assert await jobs.complete([done]) == frozenset()
    with pytest.raises(NotFound):
        await jobs.get("default", "other", claim.job.id)


async def test_what_a_job_asks_for_is_kept_from_its_acceptance_to_its_record(db: Database) -> None:
    jobs = Jobs(db)
    enqueued = await jobs.enqueue(job(qualifier="prod", idempotency_key="k"))
    assert (await jobs.get("default", "default", enqueued.job.id)).qualifier == "prod"
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    assert claim.job.qualifier == "prod"
    assert await jobs.fail([failure(claim, None)]) == {claim.job.id}
    assert (await jobs.retry("default", "default", claim.job.id)).qualifier == "prod"
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    await jobs.complete([completion(claim)])
    (done,) = (await jobs.list("default", "default")).items
    assert (done.status, done.qualifier) == (JobStatus.SUCCEEDED, "prod")


async def test_two_claimers_never_get_the_same_job(db: Database) -> None:
    jobs = Jobs(db)
    for function in "abc":
        await jobs.enqueue_many([job(function) for _ in range(100)])
    claimed: list[UUID] = []

    async def work(owner: str) -> None:
        while claims := await jobs.claim(owner=owner, lease_s=60, limit=7):
            claimed.extend(claim.job.id for claim in claims)

    async with anyio.create_task_group() as tg:
        for number in range(6):
            tg.start_soon(work, f"w{number}")
    # A claimer that met only locked rows stops early; what it left is still there.
    await work("last")
    assert len(claimed) == 300
    assert len(set(claimed)) == 300


async def test_a_worker_that_lost_its_lease_writes_nothing(db: Database) -> None:
    jobs = Jobs(db)
    await jobs.enqueue(job(max_attempts=3))
    (late,) = await jobs.claim(owner="late", lease_s=0, limit=1)
    (fresh,) = await jobs.claim(owner="fresh", lease_s=60, limit=1)
    assert fresh.job.id == late.job.id
    assert (fresh.job.attempt, fresh.token) == (2, 2)
    assert await jobs.renew([late], lease_s=60) == frozenset()
    assert await jobs.complete([completion(late, b'"late"')]) == frozenset()
    assert await jobs.fail([failure(late, 0.0)]) == frozenset()
    assert await jobs.fail([failure(late, None)]) == frozenset()
    assert await jobs.release([late]) == frozenset()
    assert await jobs.renew([fresh], lease_s=60) == {fresh.job.id}
    assert await jobs.complete([completion(fresh, b'"fresh"')]) == {fresh.job.id}
    assert (await jobs.get("default", "default", fresh.job.id)).output == b'"fresh"'


async def test_a_job_whose_workers_all_die_ends_dead_after_its_attempts(db: Database) -> None:
    jobs = Jobs(db)
    await jobs.enqueue(job(max_attempts=2))
    assert [claim.job.attempt for claim in await jobs.claim(owner="w", lease_s=0, limit=1)] == [1]
    assert [claim.job.attempt for claim in await jobs.claim(owner="w", lease_s=0, limit=1)] == [2]
    assert await jobs.claim(owner="w", lease_s=0, limit=1) == ()
    (dead,) = (await jobs.list("default", "default", status=JobStatus.DEAD)).items
    assert dead.error == LEASE_EXPIRED
    assert dead.finished_at is not None


async def test_a_failed_job_waits_for_its_delay_and_dies_when_attempts_are_used_up(db: Database) -> None:
    jobs = Jobs(db)
    await jobs.enqueue(job(max_attempts=2))
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    assert await jobs.fail([failure(claim, 3600.0)]) == {claim.job.id}
    waiting = await jobs.get("default", "default", claim.job.id)
    assert (waiting.status, waiting.error, waiting.finished_at) == (JobStatus.QUEUED, b'{"type":"E"}', None)
    assert await jobs.claim(owner="w", lease_s=60, limit=1) == ()
    wait_s = await jobs.seconds_to_next()
    assert wait_s is not None
    assert 3500 < wait_s <= 3600
    await jobs.enqueue(job())
    (other,) = await jobs.claim(owner="w", lease_s=60, limit=5)
    await jobs.complete([completion(other)])
    async with db.transaction() as tx:
        await tx.execute("UPDATE jobs SET run_at = now()")
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    await jobs.fail([failure(claim, 0.0)])
    assert (await jobs.get("default", "default", claim.job.id)).status is JobStatus.DEAD


async def test_a_released_job_has_used_no_attempt(db: Database) -> None:
    jobs = Jobs(db)
    await jobs.enqueue(job(max_attempts=1))
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    assert await jobs.release([claim]) == {claim.job.id}
    (again,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    assert (again.job.attempt, again.token) == (1, 2)


async def test_one_key_makes_one_job_under_concurrent_enqueues(db: Database) -> None:
    jobs = Jobs(db)
    answers: list[tuple[UUID, bool]] = []

    async def enqueue() -> None:
        enqueued = await jobs.enqueue(job(idempotency_key="order-7"))
        answers.append((enqueued.job.id, enqueued.is_replay))

    async with anyio.create_task_group() as tg:
        for _ in range(20):
            tg.start_soon(enqueue)
    assert len({job_id for job_id, _ in answers}) == 1
    assert Counter(is_replay for _, is_replay in answers) == {True: 19, False: 1}
    assert (await jobs.list("default", "default")).total == 1


async def test_a_key_replays_the_finished_job_and_is_free_again_when_it_expires(db: Database) -> None:
    jobs = Jobs(db)
    first = await jobs.enqueue(job(idempotency_key="k"))
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    await jobs.complete([completion(claim)])
    replay = await jobs.enqueue(job(idempotency_key="k"))
    assert replay.is_replay
    assert (replay.job.id, replay.job.output) == (first.job.id, b'"done"')
    elsewhere = await jobs.enqueue(job("g", idempotency_key="k"))
    assert not elsewhere.is_replay
    async with db.transaction() as tx:
        await tx.execute("UPDATE job_keys SET expires_at = now() - interval '1 second' WHERE function_name = 'f'")
    second = await jobs.enqueue(job(idempotency_key="k"))
    assert not second.is_replay
    assert second.job.id != first.job.id
    async with db.transaction() as tx:
        await tx.execute("UPDATE job_keys SET expires_at = now() - interval '1 second'")
    assert await jobs.forget_keys() == 2


async def test_a_key_whose_job_was_deleted_binds_to_the_next(db: Database) -> None:
    jobs = Jobs(db)
    first = await jobs.enqueue(job(idempotency_key="k"))
    await jobs.delete("default", "default", first.job.id)
    second = await jobs.enqueue(job(idempotency_key="k"))
    assert not second.is_replay
    assert (await jobs.enqueue(job(idempotency_key="k"))).job.id == second.job.id


async def test_a_batch_takes_no_keys(db: Database) -> None:
    with pytest.raises(InvalidRequest):
        await Jobs(db).enqueue_many([job(), job(idempotency_key="k")])


async def test_no_tenant_starves_another(db: Database) -> None:
    jobs = Jobs(db)
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('small'), ('tiny')")
    for number in range(20):
        await jobs.enqueue_many([job(f"f{number}") for _ in range(50)])
    await jobs.enqueue_many([job(tenant="small") for _ in range(10)])
    await jobs.enqueue(job(tenant="tiny"))
    claims = await jobs.claim(owner="w", lease_s=60, limit=30)
    shares = Counter(claim.job.tenant for claim in claims)
    assert len(claims) == 30
    assert (shares["small"], shares["tiny"]) == (10, 1)


async def test_one_deep_function_fills_a_batch_in_order(db: Database) -> None:
    jobs = Jobs(db)
    accepted = [(await jobs.enqueue(job())).job.id for _ in range(40)]
    claims = await jobs.claim(owner="w", lease_s=60, limit=32)
    assert {claim.job.id for claim in claims} == set(accepted[:32])


async def test_management_refuses_the_wrong_state(db: Database) -> None:
    jobs = Jobs(db)
    enqueued = await jobs.enqueue(job(max_attempts=1))
    job_id = enqueued.job.id
    with pytest.raises(StateConflict):
        await jobs.retry("default", "default", job_id)
    with pytest.raises(NotFound):
        await jobs.retry("default", "other", job_id)
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    with pytest.raises(StateConflict):
        await jobs.delete("default", "default", job_id)
    await jobs.fail([failure(claim, None)])
    retried = await jobs.retry("default", "default", job_id, max_attempts=4)
    assert (retried.status, retried.attempt, retried.max_attempts) == (JobStatus.QUEUED, 0, 4)
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    await jobs.complete([completion(claim)])
    with pytest.raises(StateConflict):
        await jobs.delete("default", "default", job_id)
    with pytest.raises(NotFound):
        await jobs.delete("default", "default", uuid4())


async def test_redrive_takes_the_dead_of_one_scope(db: Database) -> None:
    jobs = Jobs(db)
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('other')")
    for new in (job("f"), job("f"), job("g"), job("f", tenant="other")):
        await jobs.enqueue(new)
    claims = await jobs.claim(owner="w", lease_s=60, limit=10)
    await jobs.fail([failure(claim, None) for claim in claims])
    assert await jobs.totals() == {
        JobStatus.QUEUED: 0,
        JobStatus.RUNNING: 0,
        JobStatus.PAUSED: 0,
        JobStatus.DEAD: 4,
        JobStatus.CANCELLED: 0,
    }
    assert await jobs.redrive("default", "default", function_name="f") == 2
    assert await jobs.redrive("default", "default") == 1
    assert await jobs.redrive("default", "default") == 0
    totals = await jobs.totals()
    assert (totals[JobStatus.QUEUED], totals[JobStatus.DEAD]) == (3, 1)


async def test_a_purge_forgets_the_dead_of_one_scope_and_nothing_else(db: Database) -> None:
    jobs = Jobs(db)
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('other')")
    for new in (job("f"), job("f"), job("g"), job("f", tenant="other"), job("f", is_durable=True)):
        await jobs.enqueue(new)
    claims = await jobs.claim(owner="w", lease_s=60, limit=10)
    await jobs.fail([failure(claim, None) for claim in claims])
    waiting = await jobs.enqueue(job("f"))
    assert await jobs.purge("default", "default", function_name="f") == 2
    assert await jobs.purge("default", "default") == 1
    assert await jobs.purge("default", "default") == 0
    assert (await jobs.get("default", "default", waiting.job.id)).status is JobStatus.QUEUED
    assert (await jobs.totals())[JobStatus.DEAD] == 2  # the other tenant's, and an execution


async def test_list_merges_live_and_done_newest_first(db: Database) -> None:
    jobs = Jobs(db)
    ids = [(await jobs.enqueue(job("f" if number % 2 else "g"))).job.id for number in range(6)]
    claims = await jobs.claim(owner="w", lease_s=60, limit=3)
    await jobs.complete([completion(claim) for claim in claims])
    page = await jobs.list("default", "default", limit=4)
    assert [item.id for item in page.items] == sorted(ids, reverse=True)[:4]
    assert (page.total, page.has_more) == (6, True)
    rest = await jobs.list("default", "default", limit=4, offset=4)
    assert [item.id for item in rest.items] == sorted(ids, reverse=True)[4:]
    assert not rest.has_more
    assert (await jobs.list("default", "default", status=JobStatus.SUCCEEDED)).total == 3
    assert (await jobs.list("default", "default", status=JobStatus.QUEUED)).total == 3
    assert (await jobs.list("default", "default", function_name="f")).total == 3


async def test_a_list_can_be_narrowed_to_a_time(db: Database) -> None:
    jobs = Jobs(db)
    made = [(await jobs.enqueue(job(is_durable=True))).job for _ in range(4)]
    (first,) = await jobs.claim(owner="w", lease_s=60, limit=1)  # one of them is among what is done
    await jobs.complete([completion(first)])
    kind = {"is_durable": True, "function_name": "f"}
    later = await jobs.list("default", "default", since=made[1].created_at, **kind)
    assert ([item.id for item in later.items], later.total) == ([made[n].id for n in (3, 2, 1)], 3)
    earlier = await jobs.list("default", "default", until=made[1].created_at, **kind)
    assert ([item.id for item in earlier.items], earlier.total) == ([made[0].id], 1)
    both = await jobs.list("default", "default", since=made[1].created_at, until=made[3].created_at, limit=1, **kind)
    assert ([item.id for item in both.items], both.total, both.has_more) == ([made[2].id], 2, True)


async def test_a_long_history_is_counted_to_its_limit(db: Database) -> None:
    jobs = Jobs(db)
    await jobs.enqueue_many([job() for _ in range(10_001)])
    page = await jobs.list("default", "default", limit=1)
    assert (page.total, page.total_is_exact, page.has_more) == (10_000, False, True)


async def test_a_job_that_outlived_all_partitions_can_still_finish(db: Database) -> None:
    jobs = Jobs(db)
    old = uuid7(1_600_000_000_000)
    async with db.transaction() as tx:
        await tx.execute(
            "INSERT INTO jobs (tenant, namespace, id, function_name, payload, subject, source, max_attempts, "
            "backoff_base_s, backoff_max_s) VALUES ('default', 'default', $1, 'f', '1', 's', 'api', 1, 1, 1)",
            old,
        )
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    assert await jobs.complete([completion(claim)]) == {old}
    assert (await jobs.get("default", "default", old)).status is JobStatus.SUCCEEDED


async def test_payloads_cross_untouched(db: Database) -> None:
    jobs = Jobs(db)
    payload = secrets.token_bytes(1 << 20)
    enqueued = await jobs.enqueue(job(payload=payload))
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=1)
    assert claim.job.payload == payload
    assert claim.job.id == enqueued.job.id
