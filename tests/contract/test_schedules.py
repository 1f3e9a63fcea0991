"""What schedulers count on, of the table in PostgreSQL and of the fake that simulations run on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import pytest

from constellation.base.clock import SystemClock
from constellation.base.errors import NotFound, VersionConflict
from constellation.nova.domain.function import Function
from constellation.nova.store.functions import Functions
from constellation.nova.store.schedules import Schedules
from constellation.testing.schedules import MemorySchedules

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

LONG_S = 60.0
SHORT_S = 0.05
SCOPE = ("default", "default")


@pytest.fixture(params=["postgres", "memory"])
async def schedules(request, db):
    if request.param == "memory":
        return MemorySchedules(SystemClock())
    function = Function(
        tenant="default", namespace="default", name="f", id=uuid4(), runtime="python", handler="main.handler"
    )
    await Functions(db).create(function, {"main.py": b"def handler(e, c): pass"})
    return Schedules(db)


async def _plan(schedules, *, due_in_s=-1.0, enabled=True):
    return await schedules.create(
        tenant="default",
        namespace="default",
        function_name="f",
        cron="* * * * *",
        time_zone="UTC",
        input=b"null",
        next_run_at=datetime.now(UTC) + timedelta(seconds=due_in_s),
        enabled=enabled,
    )


async def test_due_schedule_is_claimed_by_one(schedules):
    schedule = await _plan(schedules)
    (claim,) = await schedules.claim(owner="a", lease_s=LONG_S, limit=10)
    assert claim.schedule == schedule
    assert await schedules.claim(owner="b", lease_s=LONG_S, limit=10) == ()


async def test_what_is_not_due_or_not_enabled_is_not_claimed(schedules):
    await _plan(schedules, due_in_s=60)
    await _plan(schedules, enabled=False)
    assert await schedules.claim(owner="a", lease_s=LONG_S, limit=10) == ()
    assert 58 < await schedules.seconds_to_next() <= 60


async def test_longest_overdue_comes_first(schedules):
    late = await _plan(schedules, due_in_s=-10)
    await _plan(schedules, due_in_s=-5)
    (claim,) = await schedules.claim(owner="a", lease_s=LONG_S, limit=1)
    assert claim.schedule.id == late.id


async def test_finished_run_is_recorded_and_the_next_is_planned(schedules):
    schedule = await _plan(schedules)
    (claim,) = await schedules.claim(owner="a", lease_s=LONG_S, limit=1)
    job_id, now = uuid4(), datetime.now(UTC)
    following = now + timedelta(seconds=30)
    assert await schedules.finish(claim, next_run_at=following, last_run_at=now, job_id=job_id)
    after = await schedules.get(*SCOPE, schedule.id)
    assert (after.next_run_at, after.last_run_at, after.last_job_id) == (following, now, job_id)
    assert not await schedules.finish(claim, next_run_at=None, last_run_at=now, job_id=None)
    assert await schedules.claim(owner="a", lease_s=LONG_S, limit=1) == ()


async def test_refused_run_keeps_what_was_recorded_before(schedules):
    schedule = await _plan(schedules)
    (claim,) = await schedules.claim(owner="a", lease_s=LONG_S, limit=1)
    assert await schedules.finish(claim, next_run_at=None, last_run_at=None, job_id=None)
    after = await schedules.get(*SCOPE, schedule.id)
    assert (after.next_run_at, after.last_run_at, after.last_job_id) == (None, None, None)
    assert await schedules.seconds_to_next() is None


async def test_lost_claim_can_write_nothing(schedules):
    schedule = await _plan(schedules)
    (stale,) = await schedules.claim(owner="a", lease_s=SHORT_S, limit=1)
    await anyio.sleep(2 * SHORT_S)
    (claim,) = await schedules.claim(owner="b", lease_s=LONG_S, limit=1)
    assert claim.schedule.next_run_at == schedule.next_run_at
    assert claim.token > stale.token
    assert not await schedules.renew(stale, lease_s=LONG_S)
    assert not await schedules.finish(stale, next_run_at=None, last_run_at=None, job_id=None)
    assert await schedules.finish(claim, next_run_at=None, last_run_at=None, job_id=None)


async def test_renewed_claim_outlives_its_first_end(schedules):
    await _plan(schedules)
    (claim,) = await schedules.claim(owner="a", lease_s=SHORT_S * 4, limit=1)
    assert await schedules.renew(claim, lease_s=LONG_S)
    await anyio.sleep(SHORT_S * 6)
    assert await schedules.claim(owner="b", lease_s=LONG_S, limit=1) == ()


async def test_users_change_takes_the_claim_away(schedules):
    schedule = await _plan(schedules)
    (claim,) = await schedules.claim(owner="a", lease_s=LONG_S, limit=1)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    changed = await schedules.update(replace(schedule, cron="0 0 * * *", next_run_at=tomorrow))
    assert changed.version == schedule.version + 1
    assert not await schedules.finish(claim, next_run_at=None, last_run_at=None, job_id=None)
    assert (await schedules.get(*SCOPE, schedule.id)).next_run_at == tomorrow
    with pytest.raises(VersionConflict):
        await schedules.update(schedule)


async def test_claim_of_a_deleted_schedule_writes_nothing(schedules):
    schedule = await _plan(schedules)
    (claim,) = await schedules.claim(owner="a", lease_s=LONG_S, limit=1)
    await schedules.delete(*SCOPE, schedule.id)
    assert not await schedules.finish(claim, next_run_at=None, last_run_at=None, job_id=None)
    with pytest.raises(NotFound):
        await schedules.get(*SCOPE, schedule.id)
