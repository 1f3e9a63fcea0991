from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from constellation.base.errors import NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.invocation import InvocationRecord
from constellation.nova.store import invocations
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.pool import Database
from constellation.nova.store.statistics import Statistics

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NOW = datetime.now(UTC).replace(microsecond=0)


def record(*, age_s: float = 0.0, **changes: object) -> InvocationRecord:
    started_at = NOW - timedelta(seconds=age_s)
    new = InvocationRecord(
        tenant="default",
        namespace="default",
        id=uuid7(int(started_at.timestamp() * 1000)),
        function_id=uuid7(),
        function_name="f",
        function_version=1,
        runtime="python",
        node="n",
        started_at=started_at,
        duration_ms=1.5,
        queued_ms=0.25,
        cold_start=False,
        status="ok",
        error=None,
        input_bytes=2,
        output_bytes=3,
        log="",
        log_truncated=False,
        source="http",
    )
    return replace(new, **changes)


async def test_a_record_is_read_back_as_written(db: Database) -> None:
    log = Invocations(db)
    written = record(log="hello", error='{"type":"E"}', status="function_error", cold_start=True)
    await log.record([written])
    assert await log.get("default", "default", written.id) == written
    with pytest.raises(NotFound):
        await log.get("default", "other", written.id)
    await log.record([])


async def test_a_batch_written_twice_is_there_once(db: Database) -> None:
    log = Invocations(db)
    batch = [record() for _ in range(3)]
    await log.record(batch)
    await log.record([*batch, record()])
    assert (await log.list("default", "default")).total == 4


async def test_what_a_guest_prints_never_fails_a_batch(db: Database) -> None:
    log = Invocations(db)
    written = record(log="a\0b\ud800c", error="\0")
    await log.record([written])
    assert (await log.get("default", "default", written.id)).log == "a\N{REPLACEMENT CHARACTER}b?c"


async def test_list_filters_and_pages_by_cursor(db: Database) -> None:
    log = Invocations(db)
    batch = [record(age_s=age_s, function_name="f" if age_s % 2 else "g", log=f"line {age_s}") for age_s in range(10)]
    batch[3] = replace(batch[3], status="function_error", error="Boom")
    await log.record(batch)
    newest_first = [item.id for item in batch]
    page = await log.list("default", "default", limit=4)
    assert [item.id for item in page.items] == newest_first[:4]
    assert (page.total, page.has_more) == (10, True)
    page = await log.list("default", "default", limit=6, before=page.items[-1].id)
    assert [item.id for item in page.items] == newest_first[4:]
    assert not page.has_more
    assert (await log.list("default", "default", function_name="g")).total == 5
    assert [item.id for item in (await log.list("default", "default", is_error=True)).items] == [batch[3].id]
    assert (await log.list("default", "default", is_error=False)).total == 9
    assert (await log.list("default", "default", status="function_error")).total == 1
    assert (await log.list("default", "default", search="LINE 7")).total == 1
    assert (await log.list("default", "default", search="boom")).total == 1
    since, until = NOW - timedelta(seconds=4), NOW - timedelta(seconds=2)
    within = await log.list("default", "default", since=since, until=until)
    assert [item.id for item in within.items] == newest_first[2:5]
    long_ago = datetime.min.replace(tzinfo=UTC)
    assert (await log.list("default", "default", since=long_ago)).total == 10
    assert (await log.list("default", "default", until=long_ago)).total == 0
    assert (await log.list("default", "other")).items == ()


async def test_a_search_looks_into_the_newest_of_a_function_only(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Invocations(db)
    await log.record([record(age_s=age_s, function_name="f" if age_s % 2 else "g", log="needle") for age_s in range(8)])
    monkeypatch.setattr(invocations, "SEARCHED", 3)
    newest = await log.list("default", "default", search="NEEDLE")
    assert (newest.total, [item.function_name for item in newest.items]) == (3, ["g", "f", "g"])
    assert (await log.list("default", "default", search="needle", function_name="f")).total == 3
    until = NOW - timedelta(seconds=6)
    assert (await log.list("default", "default", search="needle", until=until)).total == 2
    assert (await log.list("default", "default")).total == 8


async def test_figures_by_function_come_with_those_of_all(db: Database) -> None:
    log, figures = Invocations(db), Statistics(db)
    calls = [record(function_name="f", duration_ms=float(ms)) for ms in range(1, 101)]
    calls += [record(function_name="g", status="function_error", cold_start=True) for _ in range(3)]
    await log.record(
        [*calls, record(age_s=86_400, function_name="old"), record(namespace="other", function_name="far")]
    )
    whole, each = await figures.by_function("default", "default", None, range_s=43_200)
    assert (whole.calls, whole.errors, whole.cold_starts) == (103, 3, 3)
    assert [(name, found.calls, found.errors, found.p50_ms, found.p95_ms) for name, found in each] == [
        ("f", 100, 0, 50.0, 95.0),
        ("g", 3, 3, 1.5, 1.5),
    ]
    one, ((name, _),) = await figures.by_function("default", "default", "g", range_s=43_200)
    assert (one.calls, name) == (3, "g")
    nothing, none = await figures.by_function("default", "none", None, range_s=43_200)
    assert (nothing.calls, nothing.p95_ms, none) == (0, None, [])


async def test_a_follower_sees_each_record_once_however_late_it_began(db: Database) -> None:
    log = Invocations(db)
    await log.record([record()])
    tail = await log.follow("default", "default", function_name="f")
    assert await tail.poll() == ()
    fresh, late = record(), record(age_s=600)
    await log.record([fresh])
    assert await tail.poll() == (fresh,)
    await log.record([late, record(function_name="g"), record(namespace="other")])
    assert await tail.poll() == (late,)
    assert await tail.poll() == ()


async def test_a_follower_reads_a_batch_of_any_size(db: Database) -> None:
    log = Invocations(db)
    tail = await log.follow("default", "default")
    batch = [record() for _ in range(2500)]
    await log.record(batch)
    assert {item.id for item in await tail.poll()} == {item.id for item in batch}
    assert await tail.poll() == ()


async def test_a_record_of_any_time_finds_a_partition(db: Database) -> None:
    log = Invocations(db)
    batch = [record(age_s=86400 * 400), record(age_s=-86400 * 400)]
    await log.record(batch)
    assert (await log.list("default", "default")).total == 2
