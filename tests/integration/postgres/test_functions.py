from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from constellation.base.errors import AlreadyExists, NotFound, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.function import CapacityPolicy, Function, code_hash
from constellation.nova.domain.job import NewJob
from constellation.nova.domain.network import NO_NETWORK, AllowRule, Egress, NetworkPolicy
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.pool import Database

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

CODE = {"main.py": b"def handler(event, context): return event", "lib/data.bin": bytes(range(256))}


def function(name: str = "hello", **changes: object) -> Function:
    new = Function(
        tenant="default", namespace="default", name=name, id=uuid7(), runtime="python", handler="main.handler"
    )
    return replace(new, **changes)


async def test_create_returns_what_get_reads(db: Database) -> None:
    functions = Functions(db)
    capacity = CapacityPolicy(
        max_inflight=3,
        max_queue_depth=7,
        max_queue_wait_s=1.5,
        shed_status_code=503,
        retry_after_s=4,
        breaker_error_percent=50,
        breaker_min_samples=11,
        breaker_window_s=60.5,
        breaker_open_s=0.5,
        breaker_probes=2,
    )
    network = NetworkPolicy(
        egress=Egress.ALLOW_LIST,
        allow=(AllowRule(host="*.example.org", ports=(443, 8443)), AllowRule(cidr="10.1.0.0/16", protocol="udp")),
        deny=("10.1.2.0/24", "1.2.3.4/32"),
    )
    created = await functions.create(
        function(
            description="says hello",
            env={"A": "1", "ü": '"'},
            preload=("numpy", "b.c"),
            backend="docker",
            network=network,
            capacity=capacity,
            timeout_s=0.25,
        ),
        CODE,
    )
    assert created == await functions.get("default", "default", "hello")
    assert created.env == {"A": "1", "ü": '"'}
    assert created.preload == ("numpy", "b.c")
    assert created.backend == "docker"
    assert created.network == network
    assert (await functions.update(replace(created, network=NO_NETWORK))).network == NO_NETWORK
    created = await functions.update(replace(await functions.get("default", "default", "hello"), network=network))
    assert created.capacity == capacity
    reset = await functions.update(replace(created, capacity=CapacityPolicy()))
    assert reset.capacity == CapacityPolicy()
    written = await functions.update(replace(reset, capacity=capacity))
    assert written.capacity == capacity
    assert (created.code_version, created.version) == (1, 3)
    assert created.code_hash == code_hash(CODE)
    code = await functions.code("default", created.id, 1)
    assert code.files == CODE
    assert code.hash == created.code_hash


async def test_names_are_unique_in_their_scope_only(db: Database) -> None:
    functions = Functions(db)
    await functions.create(function(), CODE)
    with pytest.raises(AlreadyExists):
        await functions.create(function(), CODE)
    with pytest.raises(NotFound):
        await functions.create(function(namespace="nowhere"), CODE)
    with pytest.raises(NotFound):
        await functions.get("default", "default", "absent")


async def test_list_searches_pages_and_counts_exactly(db: Database) -> None:
    functions = Functions(db)
    for number in range(5):
        await functions.create(function(f"f{number}", description="Even" if number % 2 == 0 else "odd"), {})
    first = await functions.list("default", "default", limit=2)
    assert [item.name for item in first.items] == ["f0", "f1"]
    assert (first.total, first.has_more, first.total_is_exact) == (5, True, True)
    last = await functions.list("default", "default", limit=2, offset=4)
    assert [item.name for item in last.items] == ["f4"]
    assert not last.has_more
    assert (await functions.list("default", "default", search="EVEN")).total == 3
    assert [item.name for item in (await functions.list("default", "default", search="F3")).items] == ["f3"]
    found = await functions.list("default", "default", search="even", limit=1, offset=1)
    assert ([item.name for item in found.items], found.total, found.has_more) == (["f2"], 3, True)
    past = await functions.list("default", "default", search="even", offset=3)
    assert (past.items, past.total, past.has_more) == ((), 3, False)


async def test_of_very_many_that_are_found_the_page_is_shown_and_the_total_is_a_bound(
    db: Database, monkeypatch
) -> None:
    monkeypatch.setattr("constellation.nova.store.functions.COUNT_LIMIT", 3)
    functions = Functions(db)
    for number in range(6):
        await functions.create(function(f"f{number}", description="even" if number % 2 == 0 else "odd"), {})
    exact = await functions.list("default", "default", search="even", limit=2)
    assert ([item.name for item in exact.items], exact.total, exact.total_is_exact) == (["f0", "f2"], 3, True)
    many = await functions.list("default", "default", search="f", limit=2)
    assert [item.name for item in many.items] == ["f0", "f1"]
    assert (many.total, many.total_is_exact, many.has_more) == (3, False, True)
    last = await functions.list("default", "default", search="f", limit=2, offset=4)
    assert ([item.name for item in last.items], last.total) == (["f4", "f5"], 6)


async def test_a_runtime_is_listed_page_by_page(db: Database) -> None:
    functions = Functions(db)
    for number in range(5):
        await functions.create(function(f"f{number}"), {})
    assert (await functions.list("default", "default", runtime="node")).items == ()
    one = await functions.list("default", "default", runtime="python", limit=1, offset=1)
    assert ([item.name for item in one.items], one.total, one.has_more) == (["f1"], 5, True)
    assert (await functions.list("other", "default")).total == 0


async def test_update_of_a_stale_row_is_a_conflict(db: Database) -> None:
    functions = Functions(db)
    created = await functions.create(function(), CODE)
    updated = await functions.update(replace(created, halted=True, memory_mb=256))
    assert (updated.halted, updated.memory_mb, updated.version) == (True, 256, 2)
    with pytest.raises(VersionConflict):
        await functions.update(replace(created, memory_mb=512))
    assert (await functions.get("default", "default", "hello")).memory_mb == 256
    await functions.delete("default", "default", "hello")
    with pytest.raises(NotFound):
        await functions.update(updated)


async def test_new_code_takes_the_next_version_and_equal_code_does_not(db: Database) -> None:
    functions = Functions(db)
    current = await functions.create(function(), CODE)
    current = await functions.update(current, files=dict(reversed(CODE.items())))
    assert current.code_version == 1
    for number in range(3):
        current = await functions.update(current, files={"main.py": b"%d" % number})
    assert (current.code_version, current.newest_code_version, current.live_version) == (4, 4, 4)
    assert (await functions.code("default", current.id, 4)).files == {"main.py": b"2"}
    assert (await functions.code("default", current.id, 1)).files == CODE


async def test_of_two_updates_at_once_one_wins(db: Database) -> None:
    functions = Functions(db)
    created = await functions.create(function(), CODE)
    outcomes: list[str] = []

    async def update(number: int) -> None:
        try:
            await functions.update(replace(created, description=str(number)), files={"main.py": b"%d" % number})
        except VersionConflict:
            outcomes.append("conflict")
        else:
            outcomes.append("written")

    async with anyio.create_task_group() as tg:
        for number in range(8):
            tg.start_soon(update, number)
    assert sorted(outcomes) == ["conflict"] * 7 + ["written"]


async def test_delete_takes_the_jobs_of_the_name_along(db: Database) -> None:
    functions, jobs = Functions(db), Jobs(db)
    for name in ("hello", "other"):
        await functions.create(function(name), CODE)
        await jobs.enqueue(
            NewJob(
                tenant="default",
                namespace="default",
                function_name=name,
                payload=b"1",
                subject="t",
                idempotency_key="k",
            )
        )
    await functions.delete("default", "default", "hello")
    assert [job.function_name for job in (await jobs.list("default", "default")).items] == ["other"]
    assert await db.fetch_value("SELECT string_agg(function_name, ',') FROM job_keys") == "other"
    with pytest.raises(NotFound):
        await functions.delete("default", "default", "hello")


async def test_kept_warm_functions_and_runtimes_are_listed_for_all_tenants(db: Database) -> None:
    functions = Functions(db)
    await functions.create(function("cold"), {})
    await functions.create(function("warm", min_replicas=1, runtime="node"), {})
    assert [item.name for item in await functions.list_kept_warm()] == ["warm"]
    assert await functions.list_runtimes() == ("node", "python")
