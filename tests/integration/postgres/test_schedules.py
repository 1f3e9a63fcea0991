from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import pytest

from constellation.base.errors import NotFound, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.domain.schedule import Schedule
from constellation.nova.store.functions import Functions
from constellation.nova.store.pool import Database
from constellation.nova.store.schedules import Schedules

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PAST = datetime(2026, 1, 1, tzinfo=UTC)
FUTURE = datetime(2126, 1, 1, tzinfo=UTC)


@pytest.fixture
async def schedules(db: Database) -> Schedules:
    await Functions(db).create(
        Function(tenant="default", namespace="default", name="f", id=uuid7(), runtime="python", handler="h"), {}
    )
    return Schedules(db)


async def plan(schedules: Schedules, next_run_at: datetime | None = PAST) -> Schedule:
    return await schedules.create(
        tenant="default",
        namespace="default",
        function_name="f",
        cron="* * * * *",
        time_zone="Europe/Berlin",
        input=b'{"a": 1}',
        next_run_at=next_run_at,
    )


async def test_a_schedule_is_written_read_and_deleted(schedules: Schedules) -> None:
    first, second = await plan(schedules), await plan(schedules, None)
    assert await schedules.get("default", "default", first.id) == first
    page = await schedules.list("default", "default", function_name="f", limit=1)
    assert (page.items, page.total, page.has_more) == ((first,), 2, True)
    await schedules.delete("default", "default", second.id)
    with pytest.raises(NotFound):
        await schedules.get("default", "default", second.id)
    with pytest.raises(NotFound):
        await schedules.delete("default", "other", first.id)
    with pytest.raises(NotFound):
        await schedules.create(
            tenant="default",
            namespace="default",
            function_name="absent",
            cron="@hourly",
            time_zone="UTC",
            input=b"1",
            next_run_at=None,
        )


async def test_a_due_schedule_has_one_claimer(schedules: Schedules) -> None:
    planned = [(await plan(schedules)).id for _ in range(20)]
    await plan(schedules, FUTURE)
    await plan(schedules, None)
    claimed: list[UUID] = []

    async def claim(owner: str) -> None:
        claims = await schedules.claim(owner=owner, lease_s=60, limit=15)
        claimed.extend(claim.schedule.id for claim in claims)

    async with anyio.create_task_group() as tg:
        for number in range(4):
            tg.start_soon(claim, f"c{number}")
    await claim("last")
    assert sorted(claimed) == sorted(planned)


async def test_a_runner_that_lost_its_lease_plans_nothing(schedules: Schedules) -> None:
    await plan(schedules)
    (late,) = await schedules.claim(owner="late", lease_s=-1, limit=1)
    (fresh,) = await schedules.claim(owner="fresh", lease_s=60, limit=1)
    assert not await schedules.renew(late, lease_s=60)
    assert not await schedules.finish(late, next_run_at=PAST, last_run_at=PAST, job_id=None)
    assert await schedules.renew(fresh, lease_s=60)
    job_id = uuid7()
    assert await schedules.finish(fresh, next_run_at=FUTURE, last_run_at=PAST, job_id=job_id)
    assert not await schedules.finish(fresh, next_run_at=PAST, last_run_at=PAST, job_id=None)
    after = await schedules.get("default", "default", fresh.schedule.id)
    assert (after.next_run_at, after.last_run_at, after.last_job_id) == (FUTURE, PAST, job_id)


async def test_a_users_change_outlives_the_run_under_way(schedules: Schedules) -> None:
    planned = await plan(schedules)
    (claim,) = await schedules.claim(owner="w", lease_s=60, limit=1)
    changed = await schedules.update(replace(planned, cron="@daily", next_run_at=FUTURE))
    assert (changed.cron, changed.version) == ("@daily", 2)
    assert not await schedules.finish(claim, next_run_at=PAST, last_run_at=PAST, job_id=None)
    assert (await schedules.get("default", "default", planned.id)).next_run_at == FUTURE
    with pytest.raises(VersionConflict):
        await schedules.update(planned)


async def test_a_disabled_schedule_is_never_claimed(schedules: Schedules) -> None:
    planned = await plan(schedules)
    await schedules.update(replace(planned, enabled=False))
    assert await schedules.claim(owner="w", lease_s=60, limit=1) == ()
    assert await schedules.seconds_to_next() is None


async def test_the_next_look_waits_for_the_plan_or_the_lease(schedules: Schedules) -> None:
    assert await schedules.seconds_to_next() is None
    await plan(schedules, datetime.now(UTC) + timedelta(hours=2))
    far_s = await schedules.seconds_to_next()
    await plan(schedules)
    assert await schedules.seconds_to_next() == 0.0
    await schedules.claim(owner="w", lease_s=3600, limit=1)
    leased_s = await schedules.seconds_to_next()
    assert far_s is not None
    assert leased_s is not None
    assert 3500 < leased_s <= 3600
    assert 7100 < far_s <= 7200
