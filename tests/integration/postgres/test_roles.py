"""Each plane may do its own work on the database and nothing else."""

from __future__ import annotations

import asyncpg
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import NewJob
from constellation.nova.store import roles
from constellation.nova.store.api_keys import ApiKeys
from constellation.nova.store.changes import Changes
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.jobs import Completion, Failure, Jobs
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.retention import Retention
from constellation.nova.store.schedules import Schedules
from constellation.nova.store.tenancy import Tenancy
from constellation.testing.database import FreshDatabase

from .test_invocations import record

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

# All that is granted, by table: S select, I insert, U update, D delete; lower case: on some columns only.
ALLOWED = {
    "nova": {
        "tenants": "SIUD",
        "namespaces": "SIUD",
        "api_keys": "SIUD",
        "functions": "SIUD",
        "function_versions": "SD",
        "function_aliases": "SIUD",
        "function_alias_shares": "SID",
        "function_canaries": "SIU",
        "function_slos": "SIUD",
        "function_code": "SIUD",
        "function_files": "SIUD",
        "schedules": "SIUD",
        "function_urls": "SIUD",
        "users": "SIUD",
        "user_identities": "SIUD",
        "roles": "SIUD",
        "role_bindings": "SIUD",
        "sessions": "SIUD",
        "provider_sessions": "SIUD",
        "login_failures": "SIUD",
        "service_accounts": "SIUD",
        "api_key_uses": "SIUD",
        "secrets": "SIUD",
        "master_keys": "SI",
        "function_secrets": "S",
        "version_secrets": "S",
        "layers": "SIUD",
        "layer_versions": "SID",
        "layer_contents": "SID",
        "layer_files": "SI",
        "function_layers": "S",
        "function_databases": "S",
        "version_databases": "S",
        "databases": "SIUD",
        "database_leftovers": "SD",
        "database_requests": "S",
        "volumes": "SIUD",
        "function_volumes": "S",
        "audit": "SID",
        "domains": "SIUD",
        "gateway_routes": "SIUD",
        "function_ingress": "SIUD",
        "function_docs": "SIUD",
        "doc_shares": "SIUD",
        "function_search": "SIUD",
        "function_counts": "S",
        "builds": "SIuD",
        "artifacts": "sD",
        "executor_backends": "S",
        "changes": "S",
        "settings": "SIU",
        "setting_changes": "SID",
        "notices": "SD",
        "notifications": "SIUD",
        "notification_reads": "SIU",
        "tiers": "SIUD",
        "tier_limits": "SIUD",
        "tenant_limits": "SIUD",
        "tenant_usage": "S",
        "jobs": "sD",
        "job_keys": "sD",
        "job_pauses": "sD",
        "call_keys": "sD",
        "jobs_done": "sD",
        "invocations": "sD",
        "messages": "sD",
        "topics": "s",
    },
    "comet": {
        "tenants": "S",
        "functions": "Su",
        "function_versions": "S",
        "function_aliases": "S",
        "function_alias_shares": "S",
        "function_code": "Su",
        "function_files": "S",
        "function_ingress": "S",
        "layer_files": "S",
        "volumes": "S",
        "builds": "SIUD",
        "sandboxes": "SIuD",
        "build_log": "SI",
        "artifacts": "SIu",
        "artifact_parts": "SI",
        "changes": "S",
        "tenant_usage": "SIu",
        "invocations": "SI",
        "invocations_staged": "SID",
        "jobs": "SIUD",
        "jobs_done": "S",
        "job_keys": "SIUD",
        "job_pauses": "SID",
        "call_keys": "SIUD",
        "function_state": "SIUD",
        "execution_steps": "SIu",
        "execution_events": "SID",
        "executor_backends": "SID",
        "topics": "SIuD",
        "subscriptions": "SIuD",
        "messages": "SID",
        "message_keys": "SIu",
        "settings": "s",
        "databases": "s",
        "database_requests": "sI",
    },
    "corona": {"functions": "S", "schedules": "Su", "settings": "s", "tenants": "s"},
    "nebula": {
        "jobs": "SIUD",
        "jobs_done": "SI",
        "job_keys": "SD",
        "job_pauses": "S",
        "execution_steps": "Su",
        "execution_events": "s",
        "functions": "s",
        "topics": "S",
        "subscriptions": "S",
        "messages": "sI",
        "settings": "s",
        "tenants": "s",
    },
    "aurora": {"jobs": "s", "jobs_done": "s", "invocations": "s", "settings": "s"},
}
LETTERS = {"SELECT": "S", "INSERT": "I", "UPDATE": "U", "DELETE": "D"}


@pytest.mark.parametrize("plane", roles.PLANES)
async def test_a_role_has_exactly_its_grants_on_every_table(database: FreshDatabase, plane: str) -> None:
    async with connect(database.dsn(plane), application="tests", max_size=1) as db:
        tables = await db.fetch(
            "SELECT relname, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')"
        )
        found = {}
        for table in tables:
            letters = ""
            for privilege, letter in LETTERS.items():
                if await db.fetch_value("SELECT has_table_privilege($1::oid, $2)", table["oid"], privilege):
                    letters += letter
                elif privilege != "DELETE" and await db.fetch_value(
                    "SELECT has_any_column_privilege($1::oid, $2)", table["oid"], privilege
                ):
                    letters += letter.lower()
            if letters:
                found[table["relname"]] = letters
            assert not await db.fetch_value("SELECT has_table_privilege($1::oid, 'TRUNCATE')", table["oid"])
    assert found == ALLOWED[plane]


@pytest.mark.parametrize("plane", roles.PLANES)
async def test_a_role_is_refused_the_tables_of_others(database: FreshDatabase, plane: str) -> None:
    """The same, by trying: what the catalogue says is what happens."""
    everything = set().union(*ALLOWED.values()) | {"schema_migrations"}
    async with connect(database.dsn(plane), application="tests", max_size=1) as db:
        for table in sorted(everything):
            allowed = ALLOWED[plane].get(table, "")
            for letter, statement in (
                ("S", f"SELECT * FROM {table} LIMIT 1"),
                ("D", f"DELETE FROM {table}"),
            ):
                if letter in allowed:
                    continue
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with db.transaction() as tx:
                        await tx.execute(statement)


@pytest.mark.parametrize("plane", roles.PLANES)
async def test_a_role_makes_nothing_and_becomes_nobody(database: FreshDatabase, plane: str) -> None:
    async with connect(database.dsn(plane), application="tests", max_size=1) as db:
        for statement in (
            "CREATE TABLE mine (id integer)",
            "CREATE TEMPORARY TABLE mine (id integer)",
            "CREATE ROLE other",
            "SET ROLE constellation_owner",
            "ALTER TABLE functions DISABLE TRIGGER ALL",
            "COPY changes TO PROGRAM 'id'",
            "SELECT pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(asyncpg.PostgresError) as refusal:
                async with db.transaction() as tx:
                    await tx.execute(statement)
            assert isinstance(refusal.value, asyncpg.InsufficientPrivilegeError), statement


@pytest.mark.parametrize("plane", ["nova", "comet", "corona", "nebula"])
async def test_only_aurora_keeps_house(database: FreshDatabase, plane: str) -> None:
    async with connect(database.dsn(plane), application="tests", max_size=1) as db:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await Retention(db).keep()


async def test_another_database_is_closed_to_the_planes(database: FreshDatabase) -> None:
    for other in ("postgres", "template1"):
        dsn = database.server.dsn("comet", database=other)
        async with connect(dsn, application="tests", max_size=1) as db:
            with pytest.raises(asyncpg.PostgresError):
                await db.fetch("SELECT * FROM functions")


async def test_every_role_can_do_its_work(database: FreshDatabase) -> None:
    def open_as(plane: str):
        return connect(database.dsn(plane), application=plane, max_size=2)

    async with (
        open_as("nova") as nova,
        open_as("comet") as comet,
        open_as("corona") as corona,
        open_as("nebula") as nebula,
        open_as("aurora") as aurora,
    ):
        await work_of_nova(nova)
        await work_of_comet(comet)
        schedules = Schedules(corona)
        (due,) = await schedules.claim(owner="c", lease_s=60, limit=1)
        assert await schedules.renew(due, lease_s=60)
        assert await schedules.finish(due, next_run_at=None, last_run_at=due.schedule.created_at, job_id=uuid7())
        assert await schedules.seconds_to_next() is None
        jobs = Jobs(nebula)
        first, second, third = await jobs.claim(owner="n", lease_s=60, limit=10)
        await jobs.renew([first], lease_s=60)
        await jobs.complete([Completion(claim=first, request_id=uuid7(), output=b"1", duration_ms=1)])
        await jobs.fail([Failure(claim=second, request_id=uuid7(), error=b"1", duration_ms=1, retry_after_s=None)])
        await jobs.release([third])
        await jobs.seconds_to_next()
        await jobs.forget_keys()
        await Retention(aurora).keep()
        await Jobs(aurora).totals()
        assert await aurora.fetch_value("SELECT count(*) FROM invocations") == 1
        served = Jobs(comet)
        await served.retry("acme", "default", second.job.id)
        await served.delete("acme", "default", second.job.id)
        await served.redrive("acme", "default")
        assert (await served.list("acme", "default")).total == 2
        await Functions(nova).delete("acme", "default", "f")
        await Tenancy(nova).create_namespace("acme", "second")
        await Tenancy(nova).delete_namespace("acme", "second")
        await Tenancy(nova).delete_tenant("acme")
        assert (await served.list("acme", "default")).total == 0
        assert (await Invocations(comet).list("acme", "default")).total == 0


async def work_of_nova(db: Database) -> None:
    await Tenancy(db).create_tenant("acme")
    function = await Functions(db).create(
        Function(tenant="acme", namespace="default", name="f", id=uuid7(), runtime="python", handler="h"),
        {"main.py": b"1"},
    )
    await Functions(db).update(function, files={"main.py": b"2"})
    schedules = Schedules(db)
    schedule = await schedules.create(
        tenant="acme",
        namespace="default",
        function_name="f",
        cron="@hourly",
        time_zone="UTC",
        input=b"1",
        next_run_at=function.created_at,
    )
    await schedules.update(schedule)
    assert await ApiKeys(db).try_get_by_hash(b"x" * 32) is None
    assert await Changes(db).head() > 0


async def work_of_comet(db: Database) -> None:
    function = await Functions(db).get("acme", "default", "f")
    assert (await Functions(db).code("acme", function.id, 2)).files == {"main.py": b"2"}
    assert (await Tenancy(db).get_tenant("acme")).id == "acme"
    await Functions(db).list_kept_warm()
    await Changes(db).head()
    log = Invocations(db)
    await log.record([record(tenant="acme")])
    assert len((await log.list("acme", "default")).items) == 1
    jobs = Jobs(db)
    for key in ("a", "b", "c", "c"):
        await jobs.enqueue(
            NewJob(
                tenant="acme", namespace="default", function_name="f", payload=b"1", subject="s", idempotency_key=key
            )
        )
