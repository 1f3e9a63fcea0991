from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import anyio
import pytest

from constellation.base.errors import AlreadyExists, NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.change import Change, ChangeKind
from constellation.nova.domain.function import Function
from constellation.nova.store.changes import CHANNEL, Changes
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import Jobs
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.retention import Retention
from constellation.nova.store.tenancy import Tenancy
from constellation.testing.database import FreshDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def function(name: str) -> Function:
    return Function(tenant="default", namespace="default", name=name, id=uuid7(), runtime="python", handler="h")


async def test_every_write_of_configuration_is_told(db: Database) -> None:
    changes, functions, tenancy = Changes(db), Functions(db), Tenancy(db)
    head = await changes.head()
    created = await functions.create(function("f"), {})
    await functions.update(replace(created, halted=True))
    await functions.delete("default", "default", "f")
    await tenancy.create_tenant("acme")
    told = [(item.kind, item.tenant, item.namespace, item.name) for item in await changes.after(head)]
    assert told == [
        (ChangeKind.FUNCTION, "default", "default", "f"),
        (ChangeKind.FUNCTION, "default", "default", "f"),
        (ChangeKind.FUNCTION, "default", "default", "f"),
        (ChangeKind.TENANT, "acme", "", ""),
        (ChangeKind.NAMESPACE, "acme", "", "default"),
    ]
    assert len(await changes.after(head, limit=2)) == 2
    assert await changes.after(await changes.head()) == ()


async def test_a_deleted_tenant_tells_all_that_went_with_it(db: Database) -> None:
    changes, tenancy = Changes(db), Tenancy(db)
    await tenancy.create_tenant("acme")
    await Functions(db).create(replace(function("f"), tenant="acme"), {})
    head = await changes.head()
    await tenancy.delete_tenant("acme")
    assert {item.kind for item in await changes.after(head)} == {
        ChangeKind.TENANT,
        ChangeKind.NAMESPACE,
        ChangeKind.FUNCTION,
    }


async def test_who_reads_after_the_last_number_seen_misses_nothing(database: FreshDatabase) -> None:
    """Sixteen writers race while a reader follows; numbers must become visible in their order."""
    async with (
        connect(database.dsn(), application="writers", max_size=16) as writers,
        connect(database.dsn(), application="reader", max_size=1) as reader,
    ):
        functions, changes = Functions(writers), Changes(reader)
        seen: list[Change] = []
        start = await changes.head()

        async def write(number: int) -> None:
            created = await functions.create(function(f"f{number}"), {})
            for _ in range(4):
                created = await functions.update(created)

        async def follow() -> None:
            last = start
            while len(seen) < 16 * 5:
                for change in await changes.after(last):
                    seen.append(change)
                    last = change.seq

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tg:
                tg.start_soon(follow)
                for number in range(16):
                    tg.start_soon(write, number)
        numbers = [change.seq for change in seen]
        assert numbers == sorted(set(numbers))
        assert numbers == [change.seq for change in await changes.after(start)]


async def test_writers_of_crossing_scopes_never_deadlock(database: FreshDatabase) -> None:
    async with connect(database.dsn(), application="writers", max_size=12) as db:
        tenancy, functions = Tenancy(db), Functions(db)

        async def churn(number: int) -> None:
            for _ in range(5):
                tenant = f"t{number % 3}"
                # Others make and delete the same tenants; a deadlock would be DatabaseUnavailable.
                with suppress(AlreadyExists, NotFound):
                    await tenancy.create_tenant(tenant)
                with suppress(AlreadyExists, NotFound):
                    await functions.create(replace(function(f"f{number}"), tenant=tenant), {})
                with suppress(AlreadyExists, NotFound):
                    await tenancy.delete_tenant(tenant)

        async with anyio.create_task_group() as tg:
            for number in range(12):
                tg.start_soon(churn, number)


async def test_a_commit_wakes_the_listener(database: FreshDatabase, db: Database) -> None:
    listener = Listener(database.dsn(), application="tests", channels=[CHANNEL, "jobs"])
    async with anyio.create_task_group() as tg:
        await tg.start(listener.run)
        with listener.subscribe(CHANNEL) as changes, listener.subscribe("jobs") as jobs:
            assert not await changes.wait(within_s=0.01)
            await Functions(db).create(function("f"), {})
            assert await changes.wait(within_s=10)
            assert not await jobs.wait(within_s=0.01)
            await Jobs(db)._bell.ring()
            assert await jobs.wait(within_s=10)
        tg.cancel_scope.cancel()


async def test_a_waiter_that_was_away_is_woken_once(database: FreshDatabase, db: Database) -> None:
    listener = Listener(database.dsn(), application="tests", channels=[CHANNEL])
    async with anyio.create_task_group() as tg:
        await tg.start(listener.run)
        with listener.subscribe(CHANNEL) as first, listener.subscribe(CHANNEL) as second:
            await Functions(db).create(function("f"), {})
            assert await first.wait(within_s=10)
            await Functions(db).create(function("g"), {})
            assert await first.wait(within_s=10)
            assert await second.wait(within_s=10)
            assert not await second.wait(within_s=0.01)
        tg.cancel_scope.cancel()


async def test_forgetting_old_changes_keeps_the_head(db: Database) -> None:
    changes = Changes(db)
    await Functions(db).create(function("f"), {})
    head = await changes.head()
    async with db.transaction() as tx:
        await tx.execute("UPDATE changes SET at = now() - interval '40 days'")
    await Retention(db).keep()
    assert await changes.head() == await changes.oldest() == head
