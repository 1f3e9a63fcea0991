"""Databases over HTTP, in the database and on servers: made, bounded, bound to functions, taken down; passwords are comet's alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.database import DatabaseLimits
from constellation.nova.secrets.vault import open_vault
from constellation.nova.store.databases import DatabaseRequest, Databases
from constellation.nova.store.embedded import SUPERUSER, EmbeddedPostgres
from constellation.nova.store.pool import connect
from constellation.nova.store.retention import Retention
from constellation.nova.store.secrets import Secrets

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PORT = 54329  # chosen: of the loopback address that this server alone listens on
HOST = "127.54.32.9"


async def made(nova, name="orders", headers=None, **more):
    answer = await nova.http.post("/databases", json={"name": name, **more}, headers=headers or nova.admin())
    assert answer.status_code == 201, answer.text
    return answer.json()


async def login(nova, name="orders", headers=None, **more):
    answer = await nova.http.post(
        "/internal/databases/resolve", json={"names": [name], **more}, headers=headers or nova.admin()
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["logins"][0]


async def session(found):
    where = found["address"]
    return await asyncpg.connect(
        host=where["host"],
        port=where["port"],
        user=where["user"],
        password=where["password"],
        database=where["database"],
    )


def code(answer):
    return answer.status_code, answer.json()["code"]


async def test_a_database_is_made_shown_bounded_and_deleted(nova):
    admin = nova.admin()
    shown = await made(nova, limits={"max_sessions": 7, "statement_timeout_s": 2.5})
    assert (shown["status"], shown["access"], shown["admin_secret"], shown["kind"]) == (
        "ready",
        "create",
        None,
        "postgres",
    )
    assert shown["limits"]["max_sessions"] == 7
    assert (await nova.http.get("/databases/orders", headers=admin)).json() == shown
    assert (await nova.http.get("/databases", headers=admin)).json()["items"] == [shown]
    assert (await nova.http.get("/databases?search=x", headers=admin)).json()["items"] == []
    again = await nova.http.post("/databases", json={"name": "orders"}, headers=admin)
    assert code(again) == (409, "already_exists")
    found = await login(nova)
    c = await session(found)
    assert await c.fetchval("SHOW statement_timeout") == "2500ms"
    assert await c.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user") == 7
    await c.execute("CREATE TABLE t (a integer)")
    await c.execute("ALTER ROLE current_user PASSWORD 'mine'; ALTER ROLE current_user SET statement_timeout = 0")
    await c.close()
    changed = await nova.http.patch(
        "/databases/orders",
        json={"limits": {"max_rows": 5, "max_sessions": 9}, "version": shown["version"]},
        headers=admin,
    )
    assert changed.status_code == 200, changed.text
    assert (changed.json()["limits"]["max_rows"], changed.json()["limits"]["statement_timeout_s"]) == (5, 2.5)
    stale = await nova.http.patch("/databases/orders", json={"limits": {}, "version": shown["version"]}, headers=admin)
    assert stale.status_code == 409
    c = await session(await login(nova))  # the role has its own password again, and nothing that it set for itself
    assert await c.fetchval("SHOW statement_timeout") == "2500ms"
    assert (await nova.http.delete("/databases/orders", headers=admin)).status_code == 200
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await c.fetchval("SELECT 1")
    assert (await nova.http.get("/databases/orders", headers=admin)).status_code == 404
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await session(found)
    for answer in (again, changed, stale):
        assert found["address"]["password"] not in answer.text


async def test_a_password_is_sealed_and_sealed_anew(nova, database, tmp_path):
    await made(nova)
    password = (await login(nova))["address"]["password"]
    async with connect(database.dsn(), application="tests", max_size=1) as db:
        for table in ("databases", "changes", "audit"):
            rows = await db.fetch(f"SELECT t::text AS row FROM {table} AS t")
            assert password not in str(rows)
    async with connect(database.dsn("nova"), application="tests", max_size=2) as db:
        vault = await open_vault(Secrets(db), state_dir=tmp_path, configured="")
        await vault.rotate()
        await vault._reseal()
        assert {key.version: key.secrets_count for key in await vault.master_keys()} == {2: 1, 1: 0}
        found = await Databases(db).get("default", "default", "orders")
        sealed = await Databases(db).sealed(found)
        assert vault.open(("default", "default", "database/orders"), sealed).decode() == password


async def test_a_database_that_a_function_uses_stays(nova):
    env = {"DATABASE_URL_MAIN": "$DATABASE:orders"}
    body = {"name": "f", "runtime": "python", "code": "def handler(e, c): pass", "env": env}
    unknown = await nova.http.post("/functions", json=body, headers=nova.admin())
    assert code(unknown) == (422, "database_unknown")
    await made(nova)
    await nova.deploy("f", env=env)
    assert (await nova.http.get("/databases/orders", headers=nova.admin())).json()["functions"] == ["f"]
    held = await nova.http.delete("/databases/orders", headers=nova.admin())
    assert code(held) == (409, "database_in_use")
    wrong = await nova.http.patch("/functions/f", json={"env": {"A": "$DATABASE:../x"}}, headers=nova.admin())
    assert wrong.status_code == 400
    docker = await nova.http.patch("/functions/f", json={"backend": "docker"}, headers=nova.admin())
    assert docker.status_code == 400, docker.text
    freed = await nova.http.patch("/functions/f", json={"env": {}}, headers=nova.admin())
    assert freed.status_code == 200
    kept = (await nova.http.delete("/databases/orders", headers=nova.admin())).json()
    assert (kept["code"], kept["functions"], kept["versions"]) == ("database_in_use", [], ["f:1"])
    assert "the kept versions f:1" in kept["detail"]
    assert (await nova.http.delete("/functions/f/versions/1", headers=nova.admin())).status_code == 200
    assert (await nova.http.delete("/databases/orders", headers=nova.admin())).status_code == 200


async def test_two_tenants_have_databases_of_one_name_and_not_each_others(nova):
    logins = {}
    for tenant in ("acme", "umbrella"):
        assert (await nova.http.post("/tenants", json={"id": tenant}, headers=nova.admin())).status_code == 201
        await made(nova, headers=nova.member(tenant))
        logins[tenant] = await login(nova, headers=nova.member(tenant))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session({"address": logins["acme"]["address"] | {"database": logins["umbrella"]["address"]["database"]}})
    assert (await nova.http.delete("/databases/orders", headers=nova.member("acme"))).status_code == 200
    assert (await login(nova, headers=nova.member("umbrella"))) == logins["umbrella"]
    # what goes with its tenant is taken down as well
    assert (await nova.http.delete("/tenants/umbrella", headers=nova.admin())).status_code == 200
    (left,) = await nova.keeper._databases.leftovers(limit=10)
    await nova.keeper._take_down(left)
    assert await nova.keeper._databases.leftovers(limit=10) == ()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await session(logins["umbrella"])


async def test_a_tenant_has_so_many_on_the_platforms_server(nova):
    for name in ("one", "two"):
        await made(nova, name)
    third = await nova.http.post("/databases", json={"name": "three"}, headers=nova.admin())
    assert third.status_code == 400
    assert "databases.per_tenant" in third.json()["detail"]


async def test_only_who_may_manages_databases(nova):
    await made(nova)
    for role, manages in (("operator", True), ("invoker", False), ("viewer", False)):
        headers = nova.member("default", role=role)
        seen = await nova.http.get("/databases", headers=headers)
        changed = await nova.http.patch("/databases/orders", json={"limits": {}}, headers=headers)
        assert (seen.status_code == 200, changed.status_code == 200) == (manages, manages), role


@pytest.mark.parametrize(
    "body",
    [
        {"name": "UP"},
        {"name": "d", "kind": "mysql"},
        {"name": "d", "limits": {"max_rows": 0}},
        {"name": "d", "limits": {"max_sessions": 1, "instance_sessions": 2}},
        {"name": "d", "access": "all"},
        {"name": "d", "password": "x"},
    ],
)
async def test_what_makes_no_sense_is_refused(nova, body):
    assert (await nova.http.post("/databases", json=body, headers=nova.admin())).status_code == 400


@pytest.fixture(scope="module")
async def outside(tmp_path_factory) -> AsyncIterator[EmbeddedPostgres]:
    """A server of somebody else's, over TCP, with a table that its owner made."""
    settings = {"listen_addresses": HOST, "port": str(PORT), "fsync": "off"}
    server = EmbeddedPostgres(tmp_path_factory.mktemp("outside"), settings=settings)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


async def outside_dsn(server, database="postgres", user=None):
    password = server.superuser_dsn().partition("://")[2].partition(":")[2].partition("@")[0]
    return f"postgresql://{user or SUPERUSER}:{password}@{HOST}:{PORT}/{database}?sslmode=disable"


async def test_a_role_in_a_database_of_somebody_elses(nova, outside):
    """Its administrator makes roles, and is no superuser."""
    root = await asyncpg.connect(await outside_dsn(outside))
    await root.execute("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'b0ss-password'")
    await root.execute("CREATE DATABASE shop OWNER boss")
    await root.close()
    dsn = f"postgresql://boss:b0ss-password@{HOST}:{PORT}/shop?sslmode=disable"
    boss = await asyncpg.connect(dsn)
    await boss.execute("CREATE TABLE t (a integer); INSERT INTO t VALUES (1); CREATE TABLE safe (a integer)")
    headers = nova.admin()
    body = {"name": "shop", "admin_secret": "boss"}
    assert code(await nova.http.post("/databases", json=body, headers=headers)) == (404, "not_found")
    for value, status in (
        ("nonsense", 400),
        (dsn.replace("b0ss-", "wr0ng-"), 502),
        (dsn.replace(HOST, "169.254.169.254"), 502),
    ):
        await nova.http.put("/secrets/boss", json={"value": value}, headers=headers)
        answer = await nova.http.post("/databases", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert not [word for word in ("b0ss", "wr0ng") if word in answer.text]
    await nova.http.put("/secrets/boss", json={"value": dsn}, headers=headers)
    assert (await nova.http.get("/databases", headers=headers)).json()["items"] == []
    shown = await made(nova, "shop", admin_secret="boss", access="read")
    assert shown["database_name"] == "shop"
    assert code(await nova.http.delete("/secrets/boss", headers=headers)) == (409, "state_conflict")
    c = await session(await login(nova, "shop"))
    assert await c.fetchval("SELECT a FROM t") == 1
    await boss.execute("CREATE TABLE later (a integer)")
    assert await c.fetchval("SELECT count(*) FROM later") == 0
    for refused in ("INSERT INTO t VALUES (2)", "CREATE TABLE x ()", "CREATE SCHEMA x", "SET ROLE boss"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await c.execute(refused)
    assert (await nova.http.delete("/databases/shop", headers=headers)).status_code == 200
    assert await boss.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", shown["role_name"]) == 0
    # what functions have made stays, and nobody logs in as them any more
    kept = await made(nova, "shop", admin_secret="boss", access="create")
    found = await login(nova, "shop")
    c = await session(found)
    await c.execute("CREATE TABLE mine (a integer); INSERT INTO t VALUES (2)")
    assert (await nova.http.delete("/databases/shop", headers=headers)).status_code == 200
    assert await boss.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", kept["role_name"]) is False
    assert await boss.fetchval("SELECT count(*) FROM pg_tables WHERE tablename = 'mine'") == 1
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await session(found)
    await boss.close()


async def test_the_log_of_requests_is_read_by_page_and_filter_and_forgotten(nova, database):
    await made(nova)
    row = {
        "tenant": "default", "namespace": "default", "database": "orders", "function_name": "f", "function_version": "1",
        "session": "s", "statement": "SELECT ?", "outcome": "succeeded", "code": "", "rows": 1, "bytes": 2, "duration_ms": 3.0,
    }  # fmt: skip
    now_ms = int(time.time() * 1000)
    rows = [
        DatabaseRequest(
            id=uuid7(now_ms + n), **row | {"duration_ms": float(n), "outcome": "failed" if n == 2 else "succeeded"}
        )
        for n in range(5)
    ]
    gone = DatabaseRequest(id=uuid7(now_ms), **row | {"database": "gone"})
    async with connect(database.dsn("comet"), application="tests", max_size=1) as db:
        await Databases(db).record([*rows, gone])
        await Databases(db).record(rows)  # a batch that was sent twice

    async def asked(query=""):
        answer = await nova.http.get(f"/databases/orders/requests{query}", headers=nova.admin())
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = await asked("?limit=2")
    assert [each["duration_ms"] for each in found["items"]] == [4.0, 3.0]
    assert (found["pagination"]["total"], found["pagination"]["has_more"]) == (5, True)
    assert [each["duration_ms"] for each in (await asked("?outcome=failed"))["items"]] == [2.0]
    assert len((await asked("?min_ms=3"))["items"]) == 2
    assert (await asked("?function=g"))["items"] == []
    for wrong in ("?outcome=x", "?min_ms=-1", "?since=x", "?what=1"):
        assert (await nova.http.get(f"/databases/orders/requests{wrong}", headers=nova.admin())).status_code == 400
    assert (await nova.http.get("/databases/none/requests", headers=nova.admin())).status_code == 404
    async with connect(database.dsn(), application="tests", max_size=1) as db:
        async with db.transaction() as tx:
            await tx.execute(
                "UPDATE database_requests SET id = uuid7_floor(now() - interval '40 days') WHERE duration_ms = 0"
            )
        await Retention(db).keep(invocations_days=30)
    assert (await asked())["pagination"]["total"] == 4


async def test_a_row_whose_making_was_cut_off_is_told_and_can_be_deleted(nova, database):
    await made(nova)
    async with connect(database.dsn(), application="tests", max_size=1) as db, db.transaction() as tx:
        await tx.execute("UPDATE databases SET is_ready = false")
    assert (await nova.http.get("/databases/orders", headers=nova.admin())).json()["status"] == "creating"
    answer = await nova.http.post("/internal/databases/resolve", json={"names": ["orders"]}, headers=nova.admin())
    assert code(answer) == (409, "database_not_ready")
    assert (await nova.http.delete("/databases/orders", headers=nova.admin())).status_code == 200
    assert DatabaseLimits().max_sessions == 20
