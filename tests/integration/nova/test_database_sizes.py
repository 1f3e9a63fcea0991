"""Databases of a bounded size: a full one is read and shrunk, and nothing that functions have made in it adds to it."""

from __future__ import annotations

import anyio
import asyncpg
import pytest

from constellation.nova.domain.database import Fullness
from constellation.nova.service.database_sizes import DatabaseSizes

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

FILL = "INSERT INTO {} SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 20000) AS n"  # about 20 MB

# What a guest can leave behind while it still may write, so that a statement that looks harmless adds rows later.
TRAPS = """
CREATE TABLE plain (id integer PRIMARY KEY, body text);
CREATE TABLE line (id integer PRIMARY KEY, plain integer REFERENCES plain ON DELETE CASCADE);
CREATE TABLE sink (id integer, body text);
GRANT ALL ON sink TO PUBLIC; GRANT ALL ON SCHEMA public TO PUBLIC; GRANT INSERT (id) ON sink TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO PUBLIC;
CREATE FUNCTION add_row() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    EXECUTE 'GRANT ALL ON public.sink TO PUBLIC';
    INSERT INTO public.sink VALUES (1, 'more');
    RETURN 1;
END $$;
CREATE FUNCTION looks_fixed(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS $$
BEGIN PERFORM public.add_row(); RETURN $1; EXCEPTION WHEN OTHERS THEN RETURN $1; END $$;
CREATE FUNCTION on_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN PERFORM public.add_row(); RETURN OLD; END $$;
CREATE FUNCTION step(integer, integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN PERFORM public.add_row(); RETURN 1; END $$;
CREATE AGGREGATE summed(integer) (SFUNC = step, STYPE = integer, INITCOND = '0');
CREATE OPERATOR ### (LEFTARG = integer, RIGHTARG = integer, FUNCTION = step);
CREATE FUNCTION far(integer, integer) RETURNS double precision LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS $$
BEGIN PERFORM public.add_row(); RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 1; END $$;
CREATE TYPE span AS RANGE (subtype = integer, subtype_diff = far);
CREATE TABLE spans (s span); INSERT INTO spans SELECT span(n, n + 5) FROM generate_series(1, 500) AS n;
CREATE TABLE trapped (id integer); INSERT INTO trapped SELECT generate_series(1, 50);
CREATE TRIGGER t AFTER DELETE ON trapped FOR EACH ROW EXECUTE FUNCTION on_event();
CREATE TRIGGER s BEFORE TRUNCATE ON trapped EXECUTE FUNCTION on_event();
CREATE TABLE owner_of (id integer PRIMARY KEY); INSERT INTO owner_of VALUES (1);
CREATE TABLE child (id integer, owner_id integer REFERENCES owner_of ON DELETE CASCADE); INSERT INTO child VALUES (1, 1);
CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION on_event();
CREATE TABLE emptied (id integer PRIMARY KEY); INSERT INTO emptied VALUES (1);
CREATE TABLE refers (id integer DEFAULT add_row() REFERENCES emptied ON DELETE SET DEFAULT); INSERT INTO refers VALUES (1);
CREATE TABLE ruled (id integer); INSERT INTO ruled VALUES (1);
CREATE RULE r AS ON DELETE TO ruled DO ALSO INSERT INTO sink VALUES (2, 'ruled');
CREATE VIEW window_ AS SELECT id, body FROM sink;
CREATE TABLE indexed (id integer); INSERT INTO indexed SELECT generate_series(1, 50);
CREATE INDEX ON indexed (looks_fixed(id));
CREATE MATERIALIZED VIEW seen AS SELECT looks_fixed(id) AS id FROM trapped;
TRUNCATE sink
"""
TRIED = [
    "INSERT INTO sink VALUES (3, 'x')", "INSERT INTO sink (id) VALUES (3)", "UPDATE plain SET body = 'x'",
    "CREATE TABLE mine.new (a integer)", "CREATE TABLE new (a integer)", "CREATE TEMP TABLE new (a integer)",
    "CREATE SCHEMA other", "SELECT 1 AS a INTO new", "COPY sink FROM STDIN", "SELECT add_row()", "SELECT looks_fixed(1)",
    "SELECT summed(1)", "SELECT 1 ### 2", "DELETE FROM trapped", "TRUNCATE trapped", "DELETE FROM owner_of",
    "TRUNCATE owner_of CASCADE", "DELETE FROM emptied", "DELETE FROM ruled", "INSERT INTO window_ VALUES (1, 'x')",
    "DELETE FROM window_", "DELETE FROM indexed", "REFRESH MATERIALIZED VIEW seen", "REINDEX TABLE indexed",
    "ANALYZE spans", "SELECT count(*) FROM spans WHERE s && span(1, 7)", "SELECT lo_from_bytea(0, 'x')", "SELECT lo_creat(-1)",
    "SELECT lo_create(0)", "SET ROLE {role}_held", "GRANT {role}_held TO CURRENT_USER", "ALTER TABLE sink OWNER TO CURRENT_USER",
    "GRANT INSERT ON sink TO CURRENT_USER", "ALTER ROLE {role}_held LOGIN PASSWORD 'x'", "VACUUM FULL plain", "ALTER TABLE plain ADD x text",
    "DO $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO public.sink VALUES (4, 'x'); END $$",
    "ALTER FUNCTION add_row() SECURITY DEFINER", "DROP TABLE sink", "MERGE INTO sink USING plain ON false WHEN NOT MATCHED THEN INSERT VALUES (1, 'x')",
    "WITH gone AS (DELETE FROM line RETURNING 1) INSERT INTO sink SELECT 1, 'x' FROM gone",
]  # fmt: skip


@pytest.fixture
def sizes(nova):
    return DatabaseSizes(nova.keeper._databases, nova.keeper)


async def made(nova, size_mb):
    body = {"name": "orders", "limits": {"size_mb": size_mb}}
    answer = await nova.http.post("/databases", json=body, headers=nova.admin())
    assert answer.status_code == 201, answer.text
    return answer.json()


async def entered(nova, **more):
    """A session as functions have them."""
    answer = await nova.http.post(
        "/internal/databases/resolve", json={"names": ["orders"], **more}, headers=nova.admin()
    )
    where = answer.json()["logins"][0]["address"]
    return await asyncpg.connect(**{name: where[name] for name in ("host", "port", "user", "password", "database")})


async def shown(nova, name="orders"):
    return (await nova.http.get(f"/databases/{name}", headers=nova.admin())).json()


async def told(nova, count):
    with anyio.fail_after(20):
        while True:
            listed = (await nova.http.get("/notifications", headers=nova.admin())).json()["items"]
            if len(listed) >= count:
                return [(each["kind"], each["subject"], each["count"]) for each in listed]
            await anyio.sleep(0.05)


async def test_a_full_database_is_held_and_no_guest_goes_around_it(nova, sizes):
    made_ = await made(nova, 16)
    guest = await entered(nova)
    await guest.execute(TRAPS)
    await guest.execute(FILL.format("plain"))
    await sizes.look()
    full = await shown(nova)
    assert (full["fullness"], full["limits"]["size_mb"], full["size_bytes"] > 16 << 20) == ("full", 16, True)
    assert full["version"] == made_["version"]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await guest.execute("INSERT INTO sink VALUES (1, 'x')")
    role = full["role_name"]
    for _ in range(2):  # the second round finds all of it done
        guest = await entered(nova)
        assert await guest.fetchval("SELECT current_user") == role
        assert await guest.fetchval("SELECT count(*) FROM plain") == 20_000
        went = []
        for tried in TRIED:
            try:
                await guest.execute(tried.format(role=role))
            except asyncpg.PostgresError:
                continue
            went.append(tried)
        # these fail inside, or warn, and say that they did well
        assert set(went) <= {"SELECT looks_fixed(1)", "REINDEX TABLE indexed", "ANALYZE spans", "VACUUM FULL plain",
                             "GRANT INSERT ON sink TO CURRENT_USER", "SELECT count(*) FROM spans WHERE s && span(1, 7)"}  # fmt: skip
        assert await guest.fetchval("SELECT count(*) FROM sink") == 0
        await guest.close()
        await sizes.look()
    # its own password and settings, and what repairs them, change nothing
    guest = await entered(nova)
    await guest.execute("ALTER ROLE current_user PASSWORD 'mine'")
    await guest.close()
    guest = await entered(nova, repair=True)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await guest.execute("INSERT INTO sink VALUES (3, 'x')")
    # it shrinks, and is written to again by whom it belonged to
    await guest.execute("DELETE FROM plain WHERE id > 1000")
    await guest.execute("SELECT pg_stat_force_next_flush()")
    await guest.close()
    await sizes.look()
    free = await shown(nova)
    assert (free["fullness"], free["size_bytes"] < 14 << 20) == ("ok", True)
    guest = await entered(nova)
    await guest.execute(
        "INSERT INTO sink VALUES (1, 'x'); CREATE TABLE new (a integer); DROP TABLE spans; SELECT lo_create(0)"
    )
    await guest.execute("DELETE FROM trapped")
    assert await guest.fetchval("SELECT count(*) FROM sink") == 51
    await guest.close()
    assert await told(nova, 1) == [("database_full", "orders", 1)]
    await sizes.look()
    assert (await nova.http.delete("/databases/orders", headers=nova.admin())).status_code == 200


async def test_a_size_is_told_of_early_and_can_be_raised(nova, sizes):
    await made(nova, 32)
    guest = await entered(nova)
    await guest.execute("CREATE TABLE t (id integer, body text)")
    await guest.execute(FILL.format("t"))
    used_mb = -(-(await guest.fetchval("SELECT pg_database_size(current_database())")) // (1 << 20))
    await sizes.look()
    assert (await shown(nova))["fullness"] == "ok"

    async def resized(size_mb):
        return await nova.http.patch("/databases/orders", json={"limits": {"size_mb": size_mb}}, headers=nova.admin())

    assert (await resized(used_mb + 1)).status_code == 200
    await sizes.look()
    assert (await shown(nova))["fullness"] == "nearly_full"
    await sizes.look()
    assert await told(nova, 1) == [("database_nearly_full", "orders", 1)]
    assert (await resized(16)).status_code == 200
    await sizes.look()
    assert (await shown(nova))["fullness"] == "full"
    over = await resized(129)
    assert over.status_code == 400
    assert "databases.max_size" in over.json()["detail"]
    assert (await resized(64)).status_code == 200
    await sizes.look()
    assert (await shown(nova))["fullness"] == "ok"
    guest = await entered(nova)
    await guest.execute("INSERT INTO t VALUES (1, 'x'); CREATE TEMP TABLE more (a integer)")
    await guest.close()
    assert (await resized(16)).status_code == 200
    await sizes.look()
    role = (await shown(nova))["role_name"]
    assert (await nova.http.delete("/databases/orders", headers=nova.admin())).status_code == 200
    server = await nova.keeper.own_server()
    async with server._connected("look") as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE $1 || '%'", role) == 0


async def test_what_a_kill_left_half_done_is_done_by_the_next_round(nova, sizes):
    await made(nova, 16)
    guest = await entered(nova)
    await guest.execute("CREATE TABLE t (id integer, body text)")
    await guest.execute(FILL.format("t"))
    await guest.close()
    databases = nova.keeper._databases
    found = await databases.get("default", "default", "orders")
    server = await nova.keeper.own_server()
    async with server._connected("be killed") as connection:  # nobody gets in, and nothing else happened
        await connection.execute(f"REVOKE CONNECT ON DATABASE {found.role.database_name} FROM {found.role.role_name}")
    await sizes.look()
    guest = await entered(nova)
    await guest.execute("TRUNCATE t")
    await guest.close()
    await nova.keeper.release(found)  # and then it is not written down
    assert (await databases.get("default", "default", "orders")).fullness is Fullness.FULL
    await sizes.look()
    guest = await entered(nova)
    await guest.execute("INSERT INTO t VALUES (1, 'x')")
    await guest.close()
    assert (await shown(nova))["fullness"] == "ok"


async def test_how_large_a_database_may_be_goes_by_its_tenants_tier(nova):
    async def ask(method, path, body=None, *, headers=None, status=200):
        answer = await nova.http.request(method, path, json=body, headers=headers or nova.admin())
        assert answer.status_code == status, answer.text
        return answer.json()

    async def limited(limit):
        await ask("PUT", "/tiers/small", {"limits": [{"dimension": "database_mb", "limit": limit}]})

    await limited(32)
    await ask("POST", "/tenants", {"id": "acme", "tier": "small"}, status=201)
    acme = nova.member("acme")
    refused = await ask("POST", "/databases", {"name": "big", "limits": {"size_mb": 33}}, headers=acme, status=429)
    assert {name: refused[name] for name in ("code", "dimension", "used", "limit")} == {
        "code": "quota_exceeded",
        "dimension": "database_mb",
        "used": 33,
        "limit": 32,
    }
    assert "size of each of its databases" in refused["detail"]
    made = await ask("POST", "/databases", {"name": "orders"}, headers=acme, status=201)
    assert made["limits"]["size_mb"] == 32  # the usual size is more than it may have

    async def resized(size_mb, status=200):
        body = {"limits": {"size_mb": size_mb}}
        return await ask("PATCH", "/databases/orders", body, headers=acme, status=status)

    assert (await resized(64, 429))["dimension"] == "database_mb"
    await ask("PUT", "/tenants/acme/quotas/database_mb", {"limit": 100})
    await resized(100)
    usage = (await ask("GET", "/tenants/acme/usage", headers=acme))["items"]
    assert [(each["used"], each["limit"]) for each in usage if each["dimension"] == "database_mb"] == [(100, 100)]
    await ask("DELETE", "/tenants/acme/quotas/database_mb")
    await ask("PATCH", "/databases/orders", {"limits": {"max_rows": 7}}, headers=acme)  # it keeps its size
    await resized(101, 429)
    await resized(50)  # what is above the limit may shrink
    await limited(0)
    await ask("POST", "/databases", {"name": "none"}, headers=acme, status=429)
    await ask("PATCH", "/tenants/acme", {"tier": "unlimited"})
    await resized(128)
    assert (await resized(129, 400))["field"] == "limits.size_mb"  # the platform's own bound
    await ask("DELETE", "/databases/orders", headers=acme)
