"""Corona as processes: two at a time, killed, and cut off."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import anyio
import pytest

from constellation.nova.domain.function import Function
from constellation.nova.store.functions import Functions
from constellation.nova.store.schedules import Schedules
from constellation.nova.store.tenancy import Tenancy
from tests.integration.workers.rig import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

QUICK = {"corona": {"lease": "1s", "safety_poll": "300ms"}}


@pytest.fixture
async def schedules(db, comet):
    function = Function(
        tenant="default", namespace="default", name="f", id=uuid4(), runtime="python", handler="main.handler"
    )
    await Functions(db).create(function, {"main.py": b"def handler(e, c): pass"})
    comet.functions["f"] = None
    return Schedules(db)


async def _every_second(schedules, *, due_in_s=0.0, tenant="default"):
    return await schedules.create(
        tenant=tenant,
        namespace="default",
        function_name="f",
        cron="@every 1s",
        time_zone="Europe/Berlin",
        input=b'{"by":"clock"}',
        next_run_at=datetime.now(UTC) + timedelta(seconds=due_in_s),
    )


async def _jobs_of(jobs, schedule):
    page = await jobs.list("default", "default", function_name="f", limit=500)
    return [job for job in page.items if job.source == f"schedule/{schedule.id}"]


async def _keys_of(db, schedule):
    rows = await db.fetch("SELECT key FROM job_keys WHERE starts_with(key, $1)", f"schedule/{schedule.id}/")
    return {row["key"] for row in rows}


async def test_two_coronas_fire_each_run_once_though_one_is_killed(platform, comet, db, jobs, schedules):
    async with comet.serving() as address:
        first = platform.start("corona", "--comet-grpc", str(address), config=QUICK)
        platform.start("corona", "--comet-grpc", str(address), config=QUICK)
        planned = [await _every_second(schedules) for _ in range(5)]
        await eventually(lambda: len(comet.accepted) >= 10, platform)
        first.kill()
        first.wait()
        seen = len(comet.accepted)
        await eventually(lambda: len(comet.accepted) >= seen + 10, platform)
        platform.stop()
    for schedule in planned:
        mine = [key for key in comet.accepted if key.startswith(f"schedule/{schedule.id}/")]
        made = await _jobs_of(jobs, schedule)
        keys = await _keys_of(db, schedule)
        assert len(made) == len(keys), "one job a run, however often it was submitted"
        assert set(mine) <= keys
        assert {job.subject for job in made} == {f"schedule:{schedule.id}"}
        assert {job.payload for job in made} == {b'{"by":"clock"}'}
        dues = sorted(datetime.fromisoformat(key.rpartition("/")[2]) for key in keys)
        assert dues[0] == schedule.next_run_at
        gaps = [later - earlier for earlier, later in pairwise(dues)]
        assert all(gap >= timedelta(seconds=1) for gap in gaps)


async def test_a_run_is_submitted_in_the_schedules_own_tenant(platform, comet, db, jobs, schedules):
    await Tenancy(db).create_tenant("acme")
    own = Function(tenant="acme", namespace="default", name="f", id=uuid4(), runtime="python", handler="main.handler")
    await Functions(db).create(own, {"main.py": b"def handler(e, c): pass"})
    schedule = await _every_second(schedules, tenant="acme")
    async with comet.serving() as address:
        platform.start("corona", "--comet-grpc", str(address), config=QUICK)
        await eventually(lambda: comet.accepted, platform)
    (job,) = (await jobs.list("acme", "default", limit=1)).items
    assert (job.function_name, job.subject) == ("f", f"schedule:{schedule.id}")
    assert (await jobs.list("default", "default")).items == ()


async def test_two_coronas_submit_each_run_once_when_nothing_fails(platform, comet, schedules):
    async with comet.serving() as address:
        for _ in range(2):
            platform.start("corona", "--comet-grpc", str(address), config=QUICK)
        for _ in range(5):
            await _every_second(schedules)
        await eventually(lambda: len(comet.accepted) >= 20, platform)
    assert set(Counter(comet.accepted).values()) == {1}


async def test_new_schedule_is_picked_up_at_once_without_a_poll(platform, comet, schedules):
    slow = {"corona": {"safety_poll": "10m"}}
    async with comet.serving() as address:
        platform.start("corona", "--comet-grpc", str(address), config=slow)
        await eventually(lambda: "plane.ready" in platform.log(), platform)
        await _every_second(schedules, due_in_s=0.5)
        await eventually(lambda: len(comet.accepted) >= 2, platform)


async def test_runs_missed_while_down_are_made_up_by_one(platform, comet, jobs, schedules):
    schedule = await _every_second(schedules, due_in_s=-3600)
    async with comet.serving() as address:
        platform.start("corona", "--comet-grpc", str(address), config=QUICK)
        await eventually(lambda: len(comet.accepted) >= 3, platform)
    dues = [datetime.fromisoformat(key.rpartition("/")[2]) for key in comet.accepted]
    assert dues[0] == schedule.next_run_at
    assert dues[1] > schedule.next_run_at + timedelta(seconds=3590)


async def test_comet_that_comes_late_gets_the_run(platform, comet, schedules):
    async with comet.serving() as address:
        pass
    schedule = await _every_second(schedules)
    platform.start("corona", "--comet-grpc", str(address), config=QUICK)
    await eventually(lambda: "schedule.lease_ended" in platform.log(), platform)
    async with comet.serving(address):
        await eventually(lambda: comet.accepted, platform)
    assert comet.accepted[0].endswith(schedule.next_run_at.isoformat())


async def test_run_of_a_function_that_comet_does_not_know_is_skipped(platform, comet, schedules):
    del comet.functions["f"]
    schedule = await _every_second(schedules)
    async with comet.serving() as address:
        platform.start("corona", "--comet-grpc", str(address), config=QUICK)

        async def is_planned_anew():
            after = await schedules.get("default", "default", schedule.id)
            return after if after.next_run_at > schedule.next_run_at else None

        after = await eventually(is_planned_anew, platform)
    assert after.last_job_id is None
    assert "schedule.refused" in platform.log()


async def test_deleting_the_function_ends_its_schedules(platform, comet, db, schedules):
    await _every_second(schedules)
    async with comet.serving() as address:
        platform.start("corona", "--comet-grpc", str(address), config=QUICK)
        await eventually(lambda: comet.accepted, platform)
        await Functions(db).delete("default", "default", "f")
        await anyio.sleep(0.2)
        seen = len(comet.accepted)
        await anyio.sleep(2)
        assert len(comet.accepted) == seen
