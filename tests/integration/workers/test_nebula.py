"""Nebula as a process: killed, doubled, cut off, and stopped in order."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import replace

import anyio
import pytest

from constellation.nova.domain.access import Permission
from constellation.nova.domain.execution import Run
from constellation.nova.domain.job import JobStatus, NewJob
from constellation.nova.store.steps import Steps
from tests.integration.workers.rig import Raised, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

JOB = NewJob(tenant="default", namespace="default", function_name="f", payload=b"1", subject="apikey:ci")
QUICK = {"queue": {"lease": "1s", "safety_poll": "300ms", "workers": 8}}


async def _enqueue(jobs, count, **changes):
    new = [replace(JOB, payload=b"%d" % n, backoff_base_s=0.05, **changes) for n in range(count)]
    return [job.id for job in await jobs.enqueue_many(new)]


async def _states(jobs, ids):
    return Counter([(await jobs.get("default", "default", job_id)).status for job_id in ids])


async def _all(jobs, ids, status):
    return (await _states(jobs, ids)) == {status: len(ids)}


async def test_killed_worker_loses_no_job(platform, comet, jobs):
    async def work(payload, caller):
        await anyio.sleep(0.2)
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        first = platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 60)
        await eventually(lambda: comet.in_hand == 8, platform)
        first.kill()
        first.wait()
        assert not await _all(jobs, ids, JobStatus.SUCCEEDED)
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)
    done = [await jobs.get("default", "default", job_id) for job_id in ids]
    assert [int(job.output) for job in done] == list(range(60))
    assert {job.attempt for job in done} == {1, 2}


async def test_two_workers_run_each_job_once(platform, comet, jobs):
    runs = Counter()

    async def work(payload, caller):
        runs[payload] += 1
        await anyio.sleep(0.01)
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        for _ in range(2):
            platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 400)
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)
    assert set(runs.values()) == {1}
    assert len(runs) == 400


async def test_call_outlasts_its_lease_and_runs_once(platform, comet, jobs):
    runs = Counter()

    async def work(payload, caller):
        runs[payload] += 1
        await anyio.sleep(3)
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        for _ in range(2):
            platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 3)
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)
    assert set(runs.values()) == {1}


async def test_job_runs_as_its_owner_in_its_place_of_the_call_chain(platform, comet, jobs):
    async def work(payload, caller):
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        job = replace(JOB, tenant="acme", namespace="prod", subject="apikey:acme", call_depth=2, call_chain=("a", "b"))
        accepted = (await jobs.enqueue(job)).job
        await eventually(lambda: comet.callers, platform)
        done = await eventually(lambda: _get_if(jobs, ("acme", "prod", accepted.id), JobStatus.SUCCEEDED), platform)
    (caller,) = comet.callers
    identity, context = caller.identity, caller.context
    assert (identity.tenant, identity.namespace, identity.subject) == ("acme", "prod", "apikey:acme")
    assert identity.permissions == {Permission.FUNCTION_INVOKE}
    assert not identity.is_platform_admin
    assert (context.depth, context.chain, context.source) == (2, ("a", "b"), "async")
    assert context.request_id == done.request_id
    assert context.request_id.version == 7


async def test_job_one_call_deep_without_a_chain_runs(platform, comet, jobs):
    async def work(payload, caller):
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 1, call_depth=1)
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)
    assert (comet.callers[0].context.depth, comet.callers[0].context.chain) == (1, ())


async def _get_if(jobs, key, status):
    job = await jobs.get(*key)
    return job if job.status is status else None


async def test_raise_is_retried_then_dead_and_redriven(platform, comet, jobs):
    is_mended = False

    async def work(payload, caller):
        if not is_mended:
            raise Raised("always")
        return b'"mended"'

    comet.functions["f"] = work
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 3, max_attempts=2)
        await eventually(lambda: _all(jobs, ids, JobStatus.DEAD), platform)
        assert len(comet.callers) == 6
        dead = await jobs.get("default", "default", ids[0])
        assert json.loads(dead.error)["message"] == "always"
        is_mended = True
        assert await jobs.redrive("default", "default", function_name="f") == 3
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)


async def test_unknown_function_is_dead_with_the_problem(platform, comet, jobs):
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        (job_id,) = await _enqueue(jobs, 1, max_attempts=9)
        await eventually(lambda: _all(jobs, [job_id], JobStatus.DEAD), platform)
    dead = await jobs.get("default", "default", job_id)
    assert dead.attempt == 1
    assert json.loads(dead.error)["code"] == "not_found"


async def test_comet_that_comes_late_uses_no_attempt_up(platform, comet, jobs):
    async def work(payload, caller):
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        pass  # the port is known and nobody listens on it
    nebula = platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
    ids = await _enqueue(jobs, 20, max_attempts=1)
    await eventually(lambda: "comet.unreachable" in platform.log(), platform)
    assert nebula.poll() is None
    async with comet.serving(address):
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)
    assert {(await jobs.get("default", "default", job_id)).attempt for job_id in ids} == {1}


async def test_comet_that_dies_in_the_middle_of_calls_has_them_tried_again(platform, comet, jobs):
    is_first = True

    async def work(payload, caller):
        await anyio.sleep(60 if is_first else 0)
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 8)
        await eventually(lambda: comet.in_hand == 8, platform)
        is_first = False
        comet.die()
    async with comet.serving(address):
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)
    assert {(await jobs.get("default", "default", job_id)).attempt for job_id in ids} == {2}


async def test_worker_stopped_in_order_puts_back_what_it_can_not_finish(platform, comet, jobs):
    async def work(payload, caller):
        await anyio.sleep(60)
        return payload

    comet.functions["f"] = work
    async with comet.serving() as address:
        nebula = platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 12)
        await eventually(lambda: comet.in_hand == 8, platform)
        nebula.send_signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(nebula.wait)
        assert nebula.returncode == 0, platform.log()
        await eventually(lambda: comet.in_hand == 0, platform)
    assert await _states(jobs, ids) == {JobStatus.QUEUED: 12}
    assert Counter([(await jobs.get("default", "default", job_id)).attempt for job_id in ids]) == {1: 8, 0: 4}


async def test_worker_waits_for_the_keys_that_nova_writes(platform, comet, jobs):
    async def work(payload, caller):
        return payload

    comet.functions["f"] = work
    key = platform.state_dir / "identity.key"
    text = key.read_text()
    key.unlink()
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        ids = await _enqueue(jobs, 1)
        await anyio.sleep(1)
        assert await _all(jobs, ids, JobStatus.QUEUED)
        key.write_text(text)
        await eventually(lambda: _all(jobs, ids, JobStatus.SUCCEEDED), platform)


async def test_an_execution_that_waits_is_put_aside_and_run_on_by_the_event(platform, comet, jobs):
    async def work(payload, caller):
        return payload

    comet.functions["f"] = work
    comet.waiting.add("f")
    steps = Steps(jobs._db, jobs)
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        (job_id,) = await _enqueue(jobs, 1, is_durable=True, max_attempts=1)

        async def look():
            return await jobs.get("default", "default", job_id, is_durable=True)

        async def has_run():
            return (await look()).started_at is not None and (await look()).status is JobStatus.QUEUED

        # Its run says that it waits, and nothing on record says for what: it is due again at once, its attempts unused.
        await eventually(has_run, platform)
        comet.waiting.clear()

        async def is_done():
            return (await look()).status is JobStatus.SUCCEEDED

        await eventually(is_done, platform)
        assert len(comet.runs) >= 2
        assert {execution for execution, _ in comet.runs} == {str(job_id)}
        tokens = [token for _, token in comet.runs]
        assert tokens == sorted(set(tokens))  # each run has the right of its own claim
        assert await steps.recorded(Run(tenant="default", execution_id=job_id, token=tokens[-1])) == 0
