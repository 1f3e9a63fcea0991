"""Limits of tenants on a real server: exact under concurrency, of the tenant alone, counted over restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from constellation.base.errors import NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.access import ApiKey
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import NewJob
from constellation.nova.domain.message import NewMessage, Publisher
from constellation.nova.domain.quota import Calls, Dimension, Limit, QuotaExceeded
from constellation.nova.domain.schedule import Schedule
from constellation.nova.domain.tenancy import TenantStatus
from constellation.nova.domain.topic import Subscription, Topic
from constellation.nova.store.api_keys import ApiKeys
from constellation.nova.store.changes import Changes
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import Failure, Jobs
from constellation.nova.store.messages import Messages
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.quotas import Quotas
from constellation.nova.store.retention import Retention
from constellation.nova.store.schedules import Schedules
from constellation.nova.store.tenancy import Tenancy
from constellation.nova.store.topics import Topics
from constellation.testing.database import FreshDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def function(name: str, *, tenant: str = "acme", **more: object) -> Function:
    facts = {"runtime": "python", "handler": "h", "memory_mb": 100, "cpu_millis": 1000} | more
    return Function(tenant=tenant, namespace="default", name=name, id=uuid7(), **facts)


def limit(dimension: Dimension, value: float | None, *, burst: int = 0) -> Limit:
    return Limit(dimension=dimension, value=value, burst=burst, is_own=True)


async def limited(db: Database, *limits: Limit) -> Quotas:
    """Make the tenant "acme" with limits of its own."""
    await Tenancy(db).create_tenant("acme")
    quotas = Quotas(db)
    for each in limits:
        await quotas.put_limit("acme", each)
    return quotas


async def test_a_tenants_limits_are_its_own_and_else_those_of_its_tier(db: Database) -> None:
    quotas = await limited(db, limit(Dimension.FUNCTIONS, 3), limit(Dimension.QUEUE_DEPTH, None))
    await quotas.put_tier("small", "", [Limit(dimension=Dimension.PUBLISHES_PER_S, value=2.5, burst=9),
                                        Limit(dimension=Dimension.FUNCTIONS, value=1)])  # fmt: skip
    tenancy = Tenancy(db)
    await tenancy.update_tenant(replace(await tenancy.get_tenant("acme"), tier="small"))
    found = await quotas.get("acme")
    assert found.tenant == await tenancy.get_tenant("acme")
    assert {name: (each.value, each.burst, each.is_own) for name, each in found.limits.items()} == {
        Dimension.PUBLISHES_PER_S: (2.5, 9, False),
        Dimension.FUNCTIONS: (3, 0, True),
        Dimension.QUEUE_DEPTH: (None, 0, True),
    }
    await quotas.delete_limit("acme", Dimension.FUNCTIONS)
    assert (await quotas.get("acme")).limits[Dimension.FUNCTIONS].value == 1
    with pytest.raises(NotFound):
        await quotas.delete_limit("acme", Dimension.FUNCTIONS)
    with pytest.raises(NotFound):
        await quotas.put_limit("absent", limit(Dimension.FUNCTIONS, 1))
    with pytest.raises(StateConflict):
        await quotas.delete_tier("small")
    assert (await quotas.get("default")).limits == {}


async def test_whoever_follows_the_change_log_hears_of_every_change_of_limits(db: Database) -> None:
    quotas = await limited(db)
    changes = Changes(db)

    async def told() -> set[str]:
        nonlocal at
        found = await changes.after(at)
        at = await changes.head()
        return {change.tenant for change in found if change.kind == "tenant"}

    at = await changes.head()
    await quotas.put_limit("acme", limit(Dimension.FUNCTIONS, 3))
    assert await told() == {"acme"}
    await quotas.delete_limit("acme", Dimension.FUNCTIONS)
    assert await told() == {"acme"}
    await quotas.put_tier("standard", "", [])
    assert await told() == {"acme"}  # the default tenant has another one


async def test_of_functions_made_at_once_as_many_as_allowed_are(db: Database) -> None:
    await limited(db, limit(Dimension.FUNCTIONS, 3))
    functions = Functions(db)
    outcomes: list[str] = []

    async def create(number: int) -> None:
        try:
            await functions.create(function(f"f{number}"), {"a": b"1"})
        except QuotaExceeded as error:
            outcomes.append(f"{error.code} {error.problem()['dimension']} of {error.problem()['limit']:g}")
        else:
            outcomes.append("made")

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(create, number)
    assert sorted(outcomes) == ["made"] * 3 + ["quota_exceeded functions of 3"] * 5
    assert (await functions.list("acme", "default")).total == 3
    await Tenancy(db).create_tenant("other")
    await functions.create(function("f", tenant="other"), {"a": b"1"})
    name = (await functions.list("acme", "default")).items[0].name
    await functions.delete("acme", "default", name)
    await functions.create(function("again"), {"a": b"1"})


async def test_a_function_that_no_instance_could_ever_be_of_is_refused(db: Database) -> None:
    quotas = await limited(db, limit(Dimension.MEMORY_MB, 250), limit(Dimension.VCPU_MILLI, 2500))
    functions = Functions(db)
    one = await functions.create(function("one"), {"a": b"1"})
    for changed, dimension in (
        (replace(one, memory_mb=251), "memory_mb"),
        (replace(one, cpu_millis=2501), "vcpu_milli"),
    ):
        with pytest.raises(QuotaExceeded) as refused:
            await functions.update(changed)
        assert refused.value.problem()["dimension"] == dimension
    with pytest.raises(QuotaExceeded):
        await functions.create(function("two", memory_mb=251), {"a": b"1"})
    two = await functions.create(function("two", memory_mb=250, cpu_millis=2500), {"a": b"1"})
    await quotas.put_limit("acme", limit(Dimension.MEMORY_MB, 100))
    two = await functions.update(replace(two, memory_mb=240, description="less is always let in"))
    with pytest.raises(QuotaExceeded):
        await functions.update(replace(two, memory_mb=241))
    assert await quotas.used("acme") == {
        Dimension.FUNCTIONS: 2,
        Dimension.DATABASE_MB: 0,
        Dimension.QUEUE_DEPTH: 0,
        Dimension.INVOCATIONS_PER_DAY: 0,
        Dimension.INVOCATIONS_PER_MONTH: 0,
    }


async def test_to_add_a_function_reads_no_others(db: Database) -> None:
    await limited(db, limit(Dimension.FUNCTIONS, 900))
    add = (
        "INSERT INTO functions (tenant, namespace, name, id, runtime, handler, code_version, code_hash)"
        " SELECT 'acme', 'default', $1 || n, gen_random_uuid(), 'python', 'h', 0, '' FROM generate_series(1, $2::integer) AS n"
    )
    read = (
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
        " WHERE relid = 'functions'::regclass"
    )
    async with db.transaction() as tx:
        await tx.execute(add, "many", 300)
    async with db.transaction() as tx:
        await tx.execute(add, "one", 1)
        assert await tx.fetch_value(read) < 10
    with pytest.raises(QuotaExceeded):
        async with db.transaction() as tx:
            await tx.execute(add, "more", 600)


def job(*, tenant: str = "acme", **more: object) -> NewJob:
    return NewJob(tenant=tenant, namespace="default", function_name="f", payload=b"{}", subject="s", **more)


async def test_a_queue_takes_exactly_as_many_jobs_as_it_may_hold(db: Database) -> None:
    await limited(db)
    jobs = Jobs(db)
    outcomes: list[str] = []

    async def enqueue() -> None:
        try:
            await jobs.enqueue(job(), max_depth=5)
        except QuotaExceeded as error:
            outcomes.append(f"{error.problem()['dimension']} {error.retry_after_s}")
        else:
            outcomes.append("in")

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(enqueue)
    assert sorted(outcomes) == ["in"] * 5 + ["queue_depth 1"] * 3
    await jobs.enqueue(job(tenant="default"), max_depth=1)  # the other tenant's jobs are not its own
    claims = await jobs.claim(owner="w", lease_s=60, limit=100)
    with pytest.raises(QuotaExceeded):  # what runs is not done
        await jobs.enqueue_many([job()], max_depth=5)
    first = next(claim for claim in claims if claim.job.tenant == "acme")
    await jobs.fail([Failure(claim=first, request_id=None, error=b"{}", duration_ms=None, retry_after_s=None)])
    kept = await jobs.enqueue(job(idempotency_key="k"), max_depth=5)  # a dead one waits for nobody
    again = await jobs.enqueue(job(idempotency_key="k"), max_depth=5)  # a repetition adds nothing
    assert (again.is_replay, again.job.id) == (True, kept.job.id)
    with pytest.raises(QuotaExceeded):
        await jobs.enqueue(job(idempotency_key="other"), max_depth=5)


async def test_messages_whose_deliveries_have_no_room_are_not_accepted(db: Database) -> None:
    await limited(db)
    topics, messages = Topics(db), Messages(db)
    await Functions(db).create(function("f"), {"a": b"1"})
    await topics.create(Topic(tenant="acme", namespace="default", id=uuid7(), name="t"))
    for name in "ab":
        facts = {"name": name, "topic_name": "t", "function_name": "f", "filter": ()}
        await topics.subscribe(Subscription(tenant="acme", namespace="default", id=uuid7(), **facts))
    scope, me = ("acme", "default", "t"), Publisher(subject="s")
    await messages.publish(*scope, me, [NewMessage(payload=b"1")], max_depth=3)
    with pytest.raises(QuotaExceeded):
        await messages.publish(*scope, me, [NewMessage(payload=b"1")], max_depth=3)
    assert (await messages.list(await topics.get(*scope))).total == 1


def both(calls: int) -> Calls:
    return Calls(in_day=calls, in_month=calls)


async def test_the_calls_of_a_month_outlive_whoever_counts_them(database: FreshDatabase, db: Database) -> None:
    await limited(db)
    async with connect(database.dsn("comet"), application="tests", max_size=2) as comet:
        assert await Quotas(comet).add_calls({"acme": 3, "default": 1, "absent": 9}) == {
            "acme": both(3),
            "default": both(1),
        }
    async with connect(database.dsn("comet"), application="tests", max_size=2) as comet:
        quotas = Quotas(comet)
        assert await quotas.calls(["acme", "default", "absent"]) == {"acme": both(3), "default": both(1)}
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(quotas.add_calls, {"default": 1, "acme": 1})
        assert await quotas.calls(["acme"]) == {"acme": both(13)}
    async with db.transaction() as tx:  # the month before
        await tx.execute("UPDATE tenant_usage SET day = day - interval '1 month'")
    assert await Quotas(db).calls(["acme"]) == {}
    assert await Quotas(db).add_calls({"acme": 2}) == {"acme": both(2)}


async def test_a_month_is_the_sum_of_its_days(db: Database) -> None:
    quotas = await limited(db)
    async with db.transaction() as tx:
        today = await tx.fetch_value("SELECT (now() AT TIME ZONE 'UTC')::date")
        for days, calls in ((0, 2), (1, 5), (40, 100), (-1, 9)):
            row = "INSERT INTO tenant_usage (tenant, day, calls) VALUES ('acme', $1, $2)"
            await tx.execute(row, today - timedelta(days=days), calls)
    in_month = 2 + (5 if today.day > 1 else 0)
    assert await quotas.calls(["acme"]) == {"acme": Calls(in_day=2, in_month=in_month)}
    assert await quotas.add_calls({"acme": 3}) == {"acme": Calls(in_day=5, in_month=in_month + 3)}
    used = await quotas.used("acme")
    assert (used[Dimension.INVOCATIONS_PER_DAY], used[Dimension.INVOCATIONS_PER_MONTH]) == (5, in_month + 3)


async def test_days_of_calls_are_kept_for_a_year_and_a_month(database: FreshDatabase, db: Database) -> None:
    quotas = await limited(db)
    async with db.transaction() as tx:
        today = await tx.fetch_value("SELECT (now() AT TIME ZONE 'UTC')::date")
        for tenant, days in (
            ("acme", 0),
            ("acme", 1),
            ("acme", 400),
            ("acme", 401),
            ("default", 401),
            ("default", 900),
        ):
            row = "INSERT INTO tenant_usage (tenant, day, calls) VALUES ($1, $2, 5)"
            await tx.execute(row, tenant, today - timedelta(days=days))
    before = await quotas.calls(["acme", "default"])
    async with connect(database.dsn("aurora"), application="tests", max_size=2) as aurora:
        await Retention(aurora).keep()
        async with aurora.transaction() as tx:  # whatever it is asked, the month that quotas count stays
            assert await tx.fetch_value("SELECT forget_usage(0, 100)") == 1
    left = await db.fetch("SELECT tenant, day FROM tenant_usage ORDER BY day")
    assert [(row["tenant"], (today - row["day"]).days) for row in left] == [("acme", 1), ("acme", 0)]
    assert await quotas.calls(["acme", "default"]) == before


async def test_a_key_may_do_what_its_tenant_lets_each_key_and_less_when_it_says_so(db: Database) -> None:
    quotas, keys, made = await limited(db), ApiKeys(db), 0

    async def rate(own: float, burst: int = 0) -> tuple[float, int]:
        nonlocal made
        made += 1
        key = ApiKey(tenant="acme", namespace="default", name=f"k{made}", role="viewer", rate_per_s=own, burst=burst)
        await keys.create(key, key_hash=bytes([made]) * 32)
        found = await keys.try_get_by_hash(bytes([made]) * 32)
        assert found is not None
        return found.rate_per_s, found.burst

    await quotas.put_tier("small", "", [limit(Dimension.KEY_INVOCATIONS_PER_S, 50, burst=60)])
    tenancy = Tenancy(db)
    await tenancy.update_tenant(replace(await tenancy.get_tenant("acme"), tier="small"))
    assert [await rate(0), await rate(5), await rate(5, 90), await rate(80)] == [(50, 60), (5, 5), (5, 60), (50, 60)]
    await quotas.put_limit("acme", limit(Dimension.KEY_INVOCATIONS_PER_S, 70))
    assert [await rate(0), await rate(80), await rate(60)] == [(70, 70), (70, 70), (60, 60)]
    await quotas.put_limit("acme", limit(Dimension.KEY_INVOCATIONS_PER_S, None))
    assert [await rate(0), await rate(80)] == [(0, 0), (80, 0)]


async def test_what_a_tenant_is_limited_to_and_used_goes_with_it(db: Database) -> None:
    quotas = await limited(db, limit(Dimension.FUNCTIONS, 3))
    await quotas.put_limit("default", limit(Dimension.FUNCTIONS, 7))
    await quotas.add_calls({"acme": 1, "default": 1})
    await Tenancy(db).delete_tenant("acme")
    for table in ("tenant_limits", "tenant_usage"):
        left = await db.fetch(f"SELECT tenant FROM {table}")
        assert [row["tenant"] for row in left] == ["default"]


async def test_of_a_suspended_tenant_nothing_is_claimed_until_it_works_again(
    database: FreshDatabase, db: Database
) -> None:
    await limited(db)
    tenancy = Tenancy(db)
    await Functions(db).create(function("f"), {"a": b"1"})
    async with db.transaction() as tx:
        await tx.execute(
            "INSERT INTO schedules (tenant, namespace, id, function_name, cron, time_zone, input, next_run_at) "
            "VALUES ('acme', 'default', $1, 'f', '* * * * *', 'UTC', '1', now() - interval '1 minute')",
            uuid7(),
        )
    await Jobs(db).enqueue(job())
    async with (
        connect(database.dsn("nebula"), application="tests", max_size=1) as nebula,
        connect(database.dsn("corona"), application="tests", max_size=1) as corona,
    ):
        jobs, schedules = Jobs(nebula), Schedules(corona)

        async def suspend(status: TenantStatus) -> None:
            await tenancy.update_tenant(replace(await tenancy.get_tenant("acme"), status=status))

        await suspend(TenantStatus.SUSPENDED)
        assert await jobs.claim(owner="w", lease_s=60, limit=10) == ()
        assert await schedules.claim(owner="w", lease_s=60, limit=10) == ()
        assert await jobs.seconds_to_next() is None  # nobody looks again and again for what it may not have
        assert await schedules.seconds_to_next() is None
        await suspend(TenantStatus.ACTIVE)
        assert await jobs.seconds_to_next() is not None
        assert len(await jobs.claim(owner="w", lease_s=60, limit=10)) == 1
        claimed: list[Schedule] = [each.schedule for each in await schedules.claim(owner="w", lease_s=60, limit=10)]
        assert [each.tenant for each in claimed] == ["acme"]
