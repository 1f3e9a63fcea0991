from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.pool import Database
from constellation.nova.store.retention import Retention

from .test_invocations import record

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PARTITIONS = """
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = $1::text::regclass ORDER BY 1
"""


async def days(db: Database, table: str) -> list[str]:
    names = [row["relname"] for row in await db.fetch(PARTITIONS, table)]
    return [name.rpartition("_")[2] for name in names if not name.endswith("_default")]


def day(offset: int) -> str:
    return (datetime.now(UTC) + timedelta(days=offset)).strftime("%Y%m%d")


@pytest.mark.parametrize("table", ["invocations", "jobs_done", "messages"])
async def test_there_is_a_partition_for_yesterday_and_a_week_ahead(db: Database, table: str) -> None:
    assert await days(db, table) == [day(offset) for offset in range(-1, 8)]
    await Retention(db).keep()
    assert await days(db, table) == [day(offset) for offset in range(-1, 8)]


async def test_what_is_older_than_its_time_is_dropped(db: Database) -> None:
    old = record(age_s=86400 * 40)
    async with db.transaction() as tx:
        first = await tx.fetch_value("SELECT uuid7_floor(now() - interval '41 days')")
        beyond = await tx.fetch_value("SELECT uuid7_floor(now() - interval '39 days')")
        await tx.execute(
            f"CREATE TABLE invocations_{day(-40)} PARTITION OF invocations FOR VALUES FROM ('{first}') TO ('{beyond}')"
        )
    log = Invocations(db)
    await log.record([old, record()])
    await Retention(db).keep(invocations_days=41)
    assert (await log.list("default", "default")).total == 2
    await Retention(db).keep(invocations_days=39)
    assert (await log.list("default", "default")).total == 1
    assert day(-40) not in await days(db, "invocations")


async def test_a_functions_calls_leave_the_log_when_it_says_so(db: Database) -> None:
    functions, log = Functions(db), Invocations(db)
    rows = [record(function_name=name, age_s=86400 * days) for name in ("short", "other") for days in (0.5, 1.5, 3)]
    for name, keeps in (("short", 2), ("other", 0)):
        await functions.create(
            Function(
                tenant="default",
                namespace="default",
                name=name,
                id=uuid7(),
                runtime="python",
                handler="main.handler",
                log_retention_days=keeps,
            ),
            {"main.py": b""},
        )
    await log.record(rows)
    await Retention(db).keep()
    left = {row.id for row in (await log.list("default", "default")).items}
    assert left == {row.id for row in rows} - {rows[2].id}
    async with db.transaction() as tx:  # in parts, and until there is no more
        await tx.execute("UPDATE functions SET log_retention_days = 1 WHERE name = 'other'")
    found = []
    for _ in range(3):
        async with db.transaction() as tx:
            found.append(await tx.fetch_value("SELECT forget_logs(1)"))
    assert found == [1, 1, 0]


async def test_rows_that_came_without_a_partition_move_into_it_when_it_is_made(db: Database) -> None:
    log = Invocations(db)
    stray = record()
    async with db.transaction() as tx:
        await tx.execute(f"DROP TABLE invocations_{day(0)}")
    await log.record([stray])
    assert await db.fetch_value("SELECT count(*) FROM invocations_default") == 1
    await Retention(db).keep()
    assert await db.fetch_value("SELECT count(*) FROM invocations_default") == 0
    assert await log.get("default", "default", stray.id) == stray
    assert day(0) in await days(db, "invocations")


async def test_strays_leave_when_they_were_written_long_ago(db: Database) -> None:
    log = Invocations(db)
    await log.record([record(age_s=86400 * 500)])
    await Retention(db).keep()
    assert (await log.list("default", "default")).total == 1
    async with db.transaction() as tx:
        await tx.execute("UPDATE invocations SET recorded_at = now() - interval '31 days'")
    await Retention(db).keep()
    assert (await log.list("default", "default")).total == 0


async def test_a_new_partition_has_the_indexes_of_the_old(db: Database) -> None:
    count = "SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass"
    assert await db.fetch_value(count, f"invocations_{day(3)}") == await db.fetch_value(count, "invocations") == 3


@pytest.mark.parametrize(("table", "keep"), [("functions", 30), ("invocations; DROP", 30), ("invocations", 0)])
async def test_other_tables_and_no_time_at_all_are_refused(db: Database, table: str, keep: int) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        async with db.transaction() as tx:
            await tx.fetch_value("SELECT keep_partitions($1, 7, $2)", table, keep)


async def test_the_floor_of_an_instant_is_the_least_id_of_its_millisecond(db: Database) -> None:
    ms = 1_800_000_000_123
    at = datetime.fromtimestamp(ms / 1000, UTC)
    floor = await db.fetch_value("SELECT uuid7_floor($1)", at + timedelta(microseconds=999))
    assert floor.int >> 80 == ms
    assert floor < uuid7(ms) < await db.fetch_value("SELECT uuid7_floor($1)", at + timedelta(milliseconds=1))
