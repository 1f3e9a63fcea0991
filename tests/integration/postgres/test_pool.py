from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import asyncpg
import pytest

from constellation.nova.store import roles
from constellation.nova.store.embedded import EmbeddedPostgres
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import Database, DatabaseUnavailable, connect, with_credentials
from constellation.testing.database import FreshDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@pytest.fixture
async def table(db: Database) -> Database:
    async with db.transaction() as tx:
        await tx.execute("CREATE TABLE notes (id integer PRIMARY KEY)")
    return db


async def count(db: Database) -> int:
    return await db.fetch_value("SELECT count(*) FROM notes")


async def test_only_a_transaction_writes(table: Database) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await table.fetch("INSERT INTO notes VALUES (1)")
    async with table.transaction() as tx:
        assert await tx.execute("INSERT INTO notes VALUES (1), (2)") == 2
    assert await count(table) == 2


async def test_a_block_that_raises_writes_nothing(table: Database) -> None:
    async def write_twice_then(failure: Exception | None) -> None:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO notes VALUES (1)")
            if failure is not None:
                raise failure
            await tx.execute("INSERT INTO notes VALUES (1)")

    with pytest.raises(LookupError):
        await write_twice_then(LookupError())
    with pytest.raises(asyncpg.UniqueViolationError):
        await write_twice_then(None)
    assert await count(table) == 0


async def test_a_callers_own_os_error_is_not_the_databases(table: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with table.transaction():
            raise FileNotFoundError


async def test_a_cancelled_block_writes_nothing_and_returns_its_connection(database: FreshDatabase) -> None:
    async with connect(database.dsn(), application="tests", max_size=1, acquire_timeout_s=5) as db:
        async with db.transaction() as tx:
            await tx.execute("CREATE TABLE notes (id integer PRIMARY KEY)")
        for _ in range(5):
            with anyio.move_on_after(0.05) as scope:
                async with db.transaction() as tx:
                    await tx.execute("INSERT INTO notes VALUES (1)")
                    await tx.fetch("SELECT pg_sleep(60)")
            assert scope.cancelled_caught
        assert await count(db) == 0


async def test_a_full_pool_is_a_retryable_refusal(database: FreshDatabase) -> None:
    async with (
        connect(database.dsn(), application="tests", max_size=1, acquire_timeout_s=0.05) as db,
        db.transaction(),
    ):
        with pytest.raises(DatabaseUnavailable) as refusal:
            await db.fetch("SELECT 1")
    assert refusal.value.http_status == 503
    assert refusal.value.retryable


async def test_a_statement_that_takes_too_long_is_ended(database: FreshDatabase) -> None:
    async with connect(database.dsn(), application="tests", max_size=1, statement_timeout_s=0.05) as db:
        with pytest.raises(DatabaseUnavailable):
            await db.fetch("SELECT pg_sleep(60)")
        assert await db.fetch_value("SELECT 1") == 1


async def test_our_own_mistakes_are_not_called_unavailability(db: Database) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await db.fetch("SELEKT 1")
    with pytest.raises(asyncpg.InterfaceError):
        await db.fetch("SELECT 1", "one argument too many")


async def test_connect_names_what_keeps_it_out(database: FreshDatabase, tmp_path: Path) -> None:
    wrong = with_credentials(database.dsn(), roles.role_of("nova"), "wrong")
    for dsn in (wrong, f"postgresql://u:p@/d?host={tmp_path}&port=5432"):
        with pytest.raises(DatabaseUnavailable):
            async with connect(dsn, application="tests", wait_s=0.3):
                pytest.fail("let in")


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that a test may kill."""
    server = EmbeddedPostgres(tmp_path / "state", settings={"fsync": "off"})
    await server.start()
    yield server
    await server.stop()


async def written(db: Database, number: int) -> bool:
    """Try to write a row once; only unavailability may stop it."""
    try:
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO notes VALUES ($1)", number)
    except DatabaseUnavailable:
        return False
    except asyncpg.UniqueViolationError:  # the commit went through, its answer was lost
        return True
    return True


async def test_clients_recover_when_the_server_is_killed(own_server: EmbeddedPostgres) -> None:
    dsn = own_server.superuser_dsn()
    listener = Listener(dsn, application="tests", channels=["jobs"])
    async with (
        connect(dsn, application="tests", max_size=4) as db,
        anyio.create_task_group() as tg,
    ):
        await tg.start(own_server.watch)
        await tg.start(listener.run)
        with listener.subscribe("jobs") as wakeup:
            assert not await wakeup.wait(within_s=0.01)
            async with db.transaction() as tx:
                await tx.execute("CREATE TABLE notes (id integer PRIMARY KEY)")
            for number in range(3):
                victim = own_server.pid
                assert victim is not None
                os.kill(victim, signal.SIGKILL)
                with anyio.fail_after(60):
                    # An orphaned session may still answer for a moment; what it commits is kept.
                    while not await written(db, number):
                        await anyio.sleep(0.02)
                    while own_server.pid in (None, victim):
                        await anyio.sleep(0.02)
                assert await wakeup.wait(within_s=30), "a reconnect wakes everybody"
            with anyio.fail_after(60):
                while not await written(db, 3):
                    await anyio.sleep(0.02)
            assert await count(db) == 4
        tg.cancel_scope.cancel()
    assert own_server.pid is not None


async def test_a_killed_server_ends_a_query_under_way_with_a_clean_error(own_server: EmbeddedPostgres) -> None:
    async with connect(own_server.superuser_dsn(), application="tests", max_size=2) as db:
        outcome: list[BaseException] = []

        async def sleep() -> None:
            try:
                await db.fetch("SELECT pg_sleep(9)")
            except DatabaseUnavailable as error:
                outcome.append(error)

        async with anyio.create_task_group() as tg:
            tg.start_soon(sleep)
            while not await db.fetch_value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(9)%'"):
                await anyio.sleep(0.01)
            await own_server.stop()
        assert len(outcome) == 1


async def test_a_password_with_any_character_connects(own_server: EmbeddedPostgres) -> None:
    password = "p@ss/w:rd?#%& ü" + secrets.token_urlsafe(4)
    async with connect(own_server.superuser_dsn(), application="tests", max_size=1) as db, db.transaction() as tx:
        await roles.write_role(tx, "create", "odd role", password)
    assert await roles.lets_in(own_server.dsn("odd role", password, database="postgres"))
    assert not await roles.lets_in(own_server.dsn("odd role", "wrong", database="postgres"))
