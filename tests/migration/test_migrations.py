from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import asyncpg
import pytest
from anyio import to_thread

from constellation.nova.store import roles
from constellation.nova.store.binaries import installations
from constellation.nova.store.migrate import Migration, MigrationRefused, migrate, shipped
from constellation.nova.store.pool import Database, connect, run_alone
from constellation.nova.store.queries import read

from ..conftest import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

FIRST = Migration(version=1, name="first", sql="CREATE TABLE first (id integer)")
SECOND = Migration(version=2, name="second", sql="CREATE TABLE second (id integer)")


@asynccontextmanager
async def empty_database(postgres: Server) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    superuser = postgres.postgres.superuser_dsn()
    await run_alone(superuser, f"CREATE DATABASE {name} OWNER {roles.role_of('owner')}")
    yield postgres.dsn("owner", database=name)
    await run_alone(superuser, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty(postgres: Server) -> AsyncIterator[Database]:
    async with empty_database(postgres) as dsn, connect(dsn, application="tests", max_size=8) as db:
        yield db


def dump(dsn: str) -> str:
    done = subprocess.run(
        [installations()[0].binary("pg_dump"), "--schema-only", "--no-owner", "--exclude-table=schema_migrations", dsn],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"LC_ALL": "C"},
    )
    # The fence of pg_dump against psql injection is drawn anew for each dump.
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


async def test_the_schema_equals_the_sum_of_the_migrations(postgres: Server) -> None:
    async with empty_database(postgres) as migrated, empty_database(postgres) as described:
        async with connect(migrated, application="tests", max_size=1) as db:
            assert await migrate(db) == tuple(migration.version for migration in shipped())
        async with connect(described, application="tests", max_size=1) as db, db.transaction() as tx:
            await tx.run_script(read("schema.sql"))
        assert await to_thread.run_sync(dump, migrated) == await to_thread.run_sync(dump, described)


async def test_a_second_run_applies_nothing(empty: Database) -> None:
    assert await migrate(empty, [FIRST]) == (1,)
    assert await migrate(empty, [FIRST]) == ()
    assert await migrate(empty, [FIRST, SECOND]) == (2,)
    rows = await empty.fetch("SELECT version, name, sha256 FROM schema_migrations ORDER BY version")
    assert [(row["version"], row["name"], row["sha256"]) for row in rows] == [
        (1, "first", FIRST.sha256),
        (2, "second", SECOND.sha256),
    ]


async def test_many_at_once_apply_each_once(empty: Database) -> None:
    applied: list[int] = []

    async def run() -> None:
        applied.extend(await migrate(empty, [FIRST, SECOND]))

    async with anyio.create_task_group() as tg:
        for _ in range(6):
            tg.start_soon(run)
    assert sorted(applied) == [1, 2]


async def test_a_failing_migration_leaves_no_trace(empty: Database) -> None:
    broken = replace(SECOND, sql="CREATE TABLE second (id integer); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty, [FIRST, broken])
    assert await empty.fetch_value("SELECT to_regclass('second')") is None
    assert await migrate(empty, [FIRST, SECOND]) == (2,)


async def test_a_changed_or_unknown_history_is_refused(empty: Database) -> None:
    await migrate(empty, [FIRST, SECOND])
    with pytest.raises(MigrationRefused, match="has changed"):
        await migrate(empty, [replace(FIRST, sql="CREATE TABLE first (id bigint)"), SECOND])
    with pytest.raises(MigrationRefused, match="newer"):
        await migrate(empty, [FIRST])
