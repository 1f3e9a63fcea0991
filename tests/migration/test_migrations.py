from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import anyio
import asyncpg
import pytest
from anyio import to_thread

from constellation.nova.store.binaries import installations
from constellation.nova.store.functions import Functions
from constellation.nova.store.migrate import Migration, MigrationRefused, migrate, shipped
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.queries import read
from constellation.nova.store.versions import Versions
from constellation.testing.database import Server, fresh_database

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

FIRST = Migration(version=1, name="first", sql="CREATE TABLE first (id integer)")
SECOND = Migration(version=2, name="second", sql="CREATE TABLE second (id integer)")


@pytest.fixture
async def empty(postgres: Server) -> AsyncIterator[Database]:
    async with (
        fresh_database(postgres, template="template1") as database,
        connect(database.dsn(), application="tests", max_size=8) as db,
    ):
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
    async with (
        fresh_database(postgres, template="template1") as migrated,
        fresh_database(postgres, template="template1") as described,
    ):
        async with connect(migrated.dsn(), application="tests", max_size=1) as db:
            assert await migrate(db) == tuple(migration.version for migration in shipped())
        async with connect(described.dsn(), application="tests", max_size=1) as db, db.transaction() as tx:
            await tx.run_script(read("schema.sql"))
        assert await to_thread.run_sync(dump, migrated.dsn()) == await to_thread.run_sync(dump, described.dsn())


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


async def test_functions_of_before_builds_stay_live(postgres: Server) -> None:
    async with (
        fresh_database(postgres, template="template1") as database,
        connect(database.dsn(), application="tests", max_size=2) as db,
    ):
        await migrate(db, [migration for migration in shipped() if migration.version < 5])
        async with db.transaction() as tx:
            await tx.execute(
                "INSERT INTO functions (tenant, namespace, name, id, runtime, handler, code_version, code_hash) "
                "VALUES ('default', 'default', 'old', $1, 'python', 'main.handler', 3, 'abc')",
                UUID(int=1),
            )
            await tx.execute("INSERT INTO function_code VALUES ('default', $1, 3, 'abc', 1)", UUID(int=1))
            await tx.execute("INSERT INTO function_files VALUES ('default', $1, 3, 'main.py', 'x')", UUID(int=1))
        await migrate(db)
        functions = Functions(db)
        function = await functions.get("default", "default", "old")
        assert (function.code_version, function.pending, function.is_runnable) == (3, None, True)
        code = await functions.code("default", function.id, 3)
        assert (code.artifact, dict(code.files)) == (None, {"main.py": b"x"})


async def test_functions_of_before_versions_have_their_first(postgres: Server) -> None:
    async with (
        fresh_database(postgres, template="template1") as database,
        connect(database.dsn(), application="tests", max_size=2) as db,
    ):
        await migrate(db, [migration for migration in shipped() if migration.version < 14])
        async with db.transaction() as tx:
            for number, code_version, pending in ((1, 3, None), (2, 0, 1), (3, 2, 5)):
                await tx.execute(
                    "INSERT INTO functions (tenant, namespace, name, id, runtime, handler, memory_mb, code_version, "
                    "code_hash, pending_version, pending_hash, pending_handler) "
                    "VALUES ('default', 'default', $1, $2, 'python', 'main.handler', 256, $3, 'abc', $4, $5, $5)",
                    f"old{number}",
                    UUID(int=number),
                    code_version,
                    pending,
                    None if pending is None else "main.handler",
                )
                await tx.execute("INSERT INTO function_code VALUES ('default', $1, $2, 'abc', 1)", UUID(int=number), 2)
                await tx.execute("INSERT INTO function_code VALUES ('default', $1, 3, 'abc', 1)", UUID(int=number))
        await migrate(db)
        functions, versions = Functions(db), Versions(db)
        old = await functions.get("default", "default", "old1")
        assert (old.live_version, old.newest_version, old.newest_code_version) == (1, 1, 3)
        first = await versions.get("default", "default", "old1", 1)
        assert (first.is_live, first.function.memory_mb, first.function.code_version) == (True, 256, 3)
        changed = await functions.update(replace(old, memory_mb=512))
        assert changed.live_version == 2
        new = await functions.update(changed, files={"main.py": b"x"})
        assert (new.live_version, new.code_version) == (3, 4)
        unbuilt = await functions.get("default", "default", "old2")
        assert (unbuilt.live_version, (await versions.list(unbuilt)).items) == (0, ())
        waiting = await functions.get("default", "default", "old3")
        assert (waiting.live_version, waiting.newest_code_version) == (1, 5)
