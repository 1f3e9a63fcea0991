"""The proxy between real clients and a real PostgreSQL: what passes, what does not, and who is who."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import asyncpg
import pg8000.native
import psycopg
import pytest
from anyio import to_thread
from prometheus_client import CollectorRegistry

from constellation.base.clock import SystemClock
from constellation.base.errors import Unavailable
from constellation.base.ids import uuid7
from constellation.comet.databases.doors import Doors
from constellation.comet.databases.meters import DatabaseMeters
from constellation.comet.databases.wire import cancel_request, message, startup, tls_request
from constellation.nova.domain.database import (
    Access,
    Database,
    DatabaseLimits,
    DatabaseLogin,
    DatabaseRole,
    DatabaseSize,
    Fullness,
)
from constellation.nova.domain.function import Function
from constellation.nova.store.provision import Server
from constellation.testing.databases import OwnServerOfTests

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

FUNCTION = Function(tenant="acme", namespace="prod", name="f", id=uuid7(), runtime="python", handler="main.handler")
LIMITS = DatabaseLimits(
    max_sessions=6, instance_sessions=3, statement_timeout_s=1.0, idle_transaction_s=1.0, max_rows=1000,
    max_bytes=1 << 20, statements_per_s=2000,
)  # fmt: skip


@dataclass
class Rig:
    """Doors of a plane, and databases on the server of the run."""

    doors: Doors
    server: Server
    address: object
    log: list
    made: list
    passwords: dict
    sizes: dict  # by the name of a database

    async def database(self, name="orders", tenant="acme", limits=LIMITS):
        role = f"fn_{secrets.token_hex(6)}"
        database = Database(
            tenant=tenant, namespace="prod", name=name, access=Access.CREATE, limits=limits,
            role=DatabaseRole(tenant=tenant, namespace="prod", role_name=role, database_name=role, admin_secret=None),
        )  # fmt: skip
        password = self.passwords[role] = secrets.token_urlsafe(16)
        await self.server.make(database, password)
        self.made.append(database)
        address = replace(self.address, database=role, user=role, password=password)
        return DatabaseLogin(name=name, address=address, limits=limits)

    async def open(self, *logins, function=FUNCTION):
        directory = await self.doors.open(function, logins)
        return [directory / login.name for login in logins] if len(logins) > 1 else directory / logins[0].name

    def outcomes(self):
        return [(each.statement, each.outcome, each.code) for each in self.log]


@pytest.fixture
async def rig(postgres) -> AsyncIterator[Rig]:
    directory = Path(tempfile.mkdtemp(prefix="ct-db-"))  # short: clients outside a sandbox have its whole path
    address = await OwnServerOfTests(postgres).address()
    log, made, passwords, sizes = [], [], {}, {}
    server = Server(address, is_own=True)

    async def repair(_function, name):
        database = next(each for each in made if each.name == name)
        await server.limit(database, passwords[database.role.role_name])

    async def size_of(_tenant, _namespace, name):
        if isinstance(found := sizes.get(name), Exception):
            raise found
        return found

    doors = Doors(
        directory / "doors",
        clock=SystemClock(),
        meters=DatabaseMeters(CollectorRegistry()),
        record=log.append,
        repair=repair,
        size_of=size_of,
        allowed=(),
        max_sessions=50,
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(doors.run)
        yield Rig(doors, server, address, log, made, passwords, sizes)
        tasks.cancel_scope.cancel()
    shutil.rmtree(directory)
    for database in made:
        await server.take_down(database.role)


def connected(path, **more):
    return psycopg.connect(f"postgresql:///orders?host={path}", **{"autocommit": True, **more})


async def in_thread(work, *args):
    return await to_thread.run_sync(work, *args)


async def test_psycopg_speaks_through_it(rig):
    path = await rig.open(await rig.database())

    def work():
        with connected(path) as c:
            assert c.execute("SELECT current_user = session_user").fetchone() == (True,)
            c.execute("CREATE TABLE t (a integer, b text)")
            with c.cursor() as cursor:
                cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(n, "x" * n) for n in range(100)])
                with cursor.copy("COPY t FROM STDIN") as copy:
                    for n in range(100, 200):
                        copy.write_row((n, None))
                with cursor.copy("COPY t TO STDOUT") as copy:
                    assert sum(1 for _ in copy.rows()) == 200
            with c.pipeline():
                asked = [c.execute("SELECT %s::int", (n,)) for n in range(50)]
                assert [each.fetchone() for each in asked] == [(n,) for n in range(50)]
            with pytest.raises(psycopg.errors.UndefinedTable):
                c.execute("SELECT * FROM missing WHERE a = 'secret'")
            big = "y" * 500_000
            assert c.execute("SELECT %s::text", (big,)).fetchone() == (big,)
            with c.transaction():
                c.execute("DELETE FROM t")
            assert c.execute("SELECT count(*) FROM t").fetchone() == (0,)

    await in_thread(work)
    said = rig.outcomes()
    assert ("CREATE TABLE t (a integer, b text)", "succeeded", "") in said
    assert ("COPY t TO STDOUT", "succeeded", "") in said
    assert ("SELECT * FROM missing WHERE a = ?", "failed", "42P01") in said
    assert not any("secret" in each[0] or "yyy" in each[0] for each in said)
    copied = [each.rows for each in rig.log if each.statement.startswith("COPY")]
    assert copied == [100, 200]


async def test_a_copy_takes_in_no_more_than_it_may_and_the_session_goes_on(rig):
    path = await rig.open(await rig.database())

    def copied(c, rows, wide):
        with c.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            for n in range(rows):
                copy.write_row((n, "x" * wide))

    def work():
        with connected(path) as c:
            c.execute("CREATE TABLE t (a integer, b text)")
            for rows, wide in ((200_000, 0), (900, 5000)):
                with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="takes in more than"):
                    copied(c, rows, wide)
                assert c.execute("SELECT count(*) FROM t").fetchone() == (0,)
            copied(c, 900, 0)
            assert c.execute("SELECT count(*) FROM t").fetchone() == (900,)

    await in_thread(work)
    assert [each[1:] for each in rig.outcomes() if each[0].startswith("COPY")] == [
        ("cut", "54000"),
        ("cut", "54000"),
        ("succeeded", ""),
    ]
    c = await asyncpg.connect(f"postgresql:///orders?host={path}", user="whoever")
    with pytest.raises(asyncpg.PostgresError, match="takes in more than"):
        await c.copy_records_to_table("t", records=[(n, "x" * 5000) for n in range(900)])
    assert await c.fetchval("SELECT count(*) FROM t") == 900
    await c.close()


async def test_asyncpg_and_pg8000_speak_through_it(rig):
    path = await rig.open(await rig.database())
    c = await asyncpg.connect(f"postgresql:///orders?host={path}", user="whoever", statement_cache_size=10)
    await c.execute("CREATE TABLE t (a integer)")
    await c.executemany("INSERT INTO t VALUES ($1)", [(n,) for n in range(3000)])
    await c.copy_records_to_table("t", records=[(n,) for n in range(500)])
    async with c.transaction():
        assert [len(await c.fetch("SELECT * FROM t LIMIT $1", n)) for n in (1, 7)] == [1, 7]
        assert len([row async for row in c.cursor("SELECT * FROM t", prefetch=100)]) == 3500
    await c.add_listener("news", lambda *_: None)
    await c.close()

    def work():
        c = pg8000.native.Connection("whoever", unix_sock=f"{path}/.s.PGSQL.5432", database="orders")
        assert c.run("SELECT count(*) FROM t WHERE a < :top", top=10) == [[20]]
        c.close()

    await in_thread(work)


async def test_a_session_is_the_functions_role_whatever_the_guest_says(rig):
    login = await rig.database()
    path = await rig.open(login)

    def work():
        with connected(
            path, user="postgres", options="-c role=postgres -c statement_timeout=0", application_name="mine"
        ) as c:
            row = c.execute(
                "SELECT current_user, session_user, current_database(), current_setting('statement_timeout'), "
                "current_setting('application_name')"
            ).fetchone()
            assert row == (login.address.user, login.address.user, login.address.database, "1s", "f mine")
            facts = c.execute(
                "SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, "
                "(SELECT count(*) FROM pg_auth_members WHERE member = pg_roles.oid) FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert facts == (False, False, False, False, False, False, 0)
            for refused in (
                "SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "SELECT * FROM pg_authid",
                "COPY (SELECT 1) TO PROGRAM 'id'", "COPY (SELECT 1) TO '/tmp/x'", "SELECT pg_read_file('/etc/passwd')",
                "SELECT lo_import('/etc/passwd')", "CREATE ROLE x", "CREATE DATABASE x",
                "ALTER ROLE current_user BYPASSRLS", "ALTER SYSTEM SET work_mem = '1GB'", "SET temp_file_limit = -1",
                "GRANT postgres TO current_user", "ALTER ROLE current_user CONNECTION LIMIT -1",
            ):  # fmt: skip
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    c.execute(refused)

    await in_thread(work)


async def test_other_databases_are_not_reached(rig):
    mine, theirs = await rig.database("orders"), await rig.database("orders", tenant="umbrella")
    path = await rig.open(mine)

    def work():
        for name in (theirs.address.database, "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="leads to the database orders"):
                connected(path, dbname=name)

    await in_thread(work)
    # nor by whoever knows its password
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(
            host=mine.address.host, port=mine.address.port, user=mine.address.user, password=mine.address.password,
            database=theirs.address.database,
        )  # fmt: skip
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(
            host=mine.address.host, port=mine.address.port, user=mine.address.user, password=mine.address.password,
            database="constellation_template",
        )  # fmt: skip


async def test_limits_hold_when_the_guest_sets_them_away(rig):
    path = await rig.open(await rig.database())

    def work():
        with connected(path) as c:
            for name in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
                c.execute(f"SET {name} = 0")
                c.execute(f"ALTER ROLE current_user SET {name} = 0")
            with pytest.raises(psycopg.errors.QueryCanceled):
                c.execute("SELECT pg_sleep(30)")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="more than 1000 rows"):
                c.execute("SELECT * FROM generate_series(1, 5000000)")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="bytes"):
                c.execute("SELECT repeat('x', 2000000)")
            assert c.execute("SELECT 1").fetchone() == (1,)
        with connected(path) as c:
            c.execute("SET statement_timeout = 0")
            stubborn = "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
            with pytest.raises(psycopg.OperationalError):
                c.execute(stubborn)
        with connected(path, autocommit=False) as c:
            c.execute("SET idle_in_transaction_session_timeout = 0")
            c.commit()
            c.execute("SELECT 1")
            time.sleep(1.6)
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                c.execute("SELECT 1")

    await in_thread(work)
    codes = {each.code for each in rig.log if each.outcome == "cut"}
    assert {"57014", "54000"} <= codes


async def test_sessions_are_bounded_an_instance_and_a_database(rig):
    login = await rig.database()
    one, other = await rig.open(login), await rig.open(login)
    third = await rig.open(login)

    def work():
        held = [connected(one) for _ in range(3)]
        with pytest.raises(psycopg.OperationalError, match="this instance has 3 sessions"):
            connected(one)
        held += [connected(other) for _ in range(3)]
        with pytest.raises(psycopg.OperationalError, match="database orders has 6 sessions"):
            connected(third)
        for each in held:
            each.close()

    await in_thread(work)
    await until_lets_in(third)


async def until_lets_in(path):
    with anyio.fail_after(10):
        while True:
            try:
                connection = await in_thread(connected, path)
            except psycopg.OperationalError:
                await anyio.sleep(0.05)
            else:
                return connection.close()


def raw(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(f"{path}/.s.PGSQL.5432")
    return s


def received(s):
    data = b""
    while piece := s.recv(65536):
        data += piece
    return data


def up_to_ready(s):
    data = b""
    while not data.endswith(message("Z", b"I")):
        piece = s.recv(65536)
        assert piece, data
        data += piece
    return data


def key_of(s):
    """Begin a session and return what it is cancelled with."""
    s.sendall(startup({"user": "u"}))
    data = up_to_ready(s)
    at = data.index(b"K\0\0\0\x0c")
    return struct.unpack("!I", data[at + 5 : at + 9])[0], data[at + 9 : at + 13]


async def test_a_statement_is_cancelled_by_its_own_instance_alone(rig):
    login = await rig.database(limits=replace(LIMITS, statement_timeout_s=20.0))
    mine, other = await rig.open(login), await rig.open(login)

    def cancelled_from(path, *, takes_s):
        with raw(mine) as s:
            pid, key = key_of(s)
            s.sendall(message("Q", b"SELECT pg_sleep(%d)\0" % takes_s))
            time.sleep(1)  # a cancelling that comes before the statement is lost
            with raw(path) as c:
                c.sendall(cancel_request(pid, key))
                assert received(c) == b""
            return b"57014" in up_to_ready(s)

    assert await in_thread(partial(cancelled_from, mine, takes_s=15))
    assert not await in_thread(partial(cancelled_from, other, takes_s=3))

    def by_psycopg():
        with connected(mine) as c:
            threading.Timer(1, c.cancel_safe).start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                c.execute("SELECT pg_sleep(15)")

    await in_thread(by_psycopg)


async def test_rubbish_half_messages_and_floods_are_answered_or_cut_and_others_go_on(rig):
    path = await rig.open(await rig.database())

    def work():
        for said in (b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", struct.pack("!II", 8, 4 << 16), b"\xff" * 100):
            with raw(path) as s:
                s.sendall(said)
                assert received(s).startswith(b"E")
        with raw(path) as s:  # encryption is refused, again and again it ends
            for _ in range(2):
                s.sendall(tls_request())
                assert s.recv(1) == b"N"
            s.sendall(tls_request())
            assert received(s).startswith(b"E")
        for said in (message("p", b"x\0"), b"F\0\0\0\x08\0\0\0\0", b"Q\xff\xff\xff\xff", b"Q\0\0\0\x01"):
            with raw(path) as s:
                key_of(s)
                s.sendall(said)
                assert b"FATAL" in received(s)
        silent = [raw(path) for _ in range(3 + 8)]
        with raw(path) as s:  # one more than may be there without a word
            assert received(s) == b""
        for each in silent:
            each.close()
        with raw(path) as s, raw(path) as half:
            key_of(s)
            half.sendall(startup({"user": "u"})[:9])
            s.sendall(b"Q\0\0\0\x20SELE")  # half a message, and then nothing
            with connected(path) as c:
                assert c.execute("SELECT 1").fetchone() == (1,)
        with raw(path) as s:  # a guest that asks and does not read
            key_of(s)
            s.settimeout(0.5)
            flood = message("Q", b"SELECT repeat('x', 900000)\0") * 100_000
            with pytest.raises(TimeoutError):
                s.sendall(flood)

    await in_thread(work)


async def test_more_statements_than_the_rate_wait(rig):
    path = await rig.open(await rig.database(limits=replace(LIMITS, statements_per_s=20)))

    def work():
        with connected(path) as c:
            for _ in range(20):
                c.execute("SELECT 1")
            began_s = time.monotonic()
            for _ in range(10):
                c.execute("SELECT 1")
            return time.monotonic() - began_s

    assert await in_thread(work) > 0.3


async def test_a_role_that_changed_its_own_password_is_mended(rig):
    path = await rig.open(await rig.database())

    def work():
        with connected(path) as c:
            c.execute("ALTER ROLE current_user PASSWORD 'mine'")
        with connected(path) as c:
            assert c.execute("SELECT 1").fetchone() == (1,)

    await in_thread(work)


async def test_sessions_end_with_their_instance(rig):
    path = await rig.open(await rig.database())
    c = await asyncpg.connect(f"postgresql:///orders?host={path}", user="u")
    rig.doors.close_nowait(path.parent)
    with anyio.fail_after(10):
        while not c.is_closed():
            await anyio.sleep(0.02)
    assert not path.parent.exists()


async def test_a_server_that_is_away_is_an_error_of_the_protocol(rig):
    login = await rig.database()
    path = await rig.open(replace(login, address=replace(login.address, host="/nowhere")))
    with pytest.raises(psycopg.OperationalError, match="can not be reached"):
        await in_thread(connected, path)


@asynccontextmanager
async def pretender(*said):
    """A server that says what it is told to, whatever it hears."""

    async def serve(stream):
        async with stream:
            for each in said:
                await stream.receive()
                await stream.send(each)
            await anyio.sleep(5)

    directory = tempfile.mkdtemp(prefix="ct-db-")
    listener = await anyio.create_unix_listener(f"{directory}/.s.PGSQL.5432")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield directory
        tasks.cancel_scope.cancel()
    shutil.rmtree(directory)


SASL = message("R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0")
OK = message("R", bytes(4)) + message("Z", b"I")


@pytest.mark.parametrize(
    "said",
    [
        (OK,),  # it lets in whoever comes
        (message("R", struct.pack("!I", 3)),),  # it wants the password itself
        (SASL, OK),
        (SASL, message("R", struct.pack("!I", 11) + b"r=mine,s=AAAA,i=4096")),
        (message("Z", b"I"),),
    ],
)
async def test_a_server_that_does_not_know_the_password_gets_nothing(rig, said):
    login = await rig.database()
    async with pretender(*said) as host:
        path = await rig.open(replace(login, address=replace(login.address, host=host)))
        with pytest.raises(psycopg.OperationalError, match="can not be trusted"):
            await in_thread(connected, path)


async def test_who_writes_to_a_full_database_is_told_so(rig):
    path = await rig.open(await rig.database())
    [database] = rig.made
    held = DatabaseSize(size_mb=16, size_bytes=17 << 20, fullness=Fullness.FULL)

    def prepare():
        with connected(path) as c:
            c.execute(
                "CREATE TABLE t (a integer); INSERT INTO t VALUES (1), (2); CREATE SEQUENCE s; CREATE VIEW v AS TABLE t"
            )
            c.execute(
                "CREATE TABLE u (a integer); CREATE TABLE locked (a integer); REVOKE ALL ON locked FROM current_user"
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table locked"):
                c.execute("SELECT * FROM locked")

    def denied():
        with connected(path) as c:
            for tried in (
                "INSERT INTO t VALUES (3)", "UPDATE t SET a = 0", "CREATE TABLE new (a integer)", "CREATE SCHEMA other",
                "CREATE TEMP TABLE new (a integer)", "SELECT nextval('s')", "INSERT INTO v VALUES (1)", "DROP TABLE u",
                "ALTER TABLE t ADD b text", "CREATE INDEX ON t (a)", "SELECT lo_create(0)", "SELECT 1 AS a INTO new",
            ):  # fmt: skip
                with pytest.raises(
                    psycopg.errors.DiskFull, match=r"the database orders is full \(17 of 16 MB\)"
                ) as full:
                    c.execute(tried)
                assert "orbit databases limit orders --size-mb 32" in full.value.diag.message_hint
                assert re.match("The server says: (permission denied|must be owner)", full.value.diag.message_detail)
            with pytest.raises(psycopg.errors.DiskFull), c.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
                copy.write_row((3,))
            with pytest.raises(psycopg.errors.DiskFull):
                c.execute("INSERT INTO t VALUES (%s)", (3,), prepare=True)
            for other in ("SELECT * FROM pg_authid", "SELECT pg_read_file('/etc/passwd')", "SET ROLE postgres"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):  # it would be denied anyway
                    c.execute(other)
            assert c.execute("DELETE FROM t WHERE a = 1").rowcount == 1
            assert c.execute("SELECT a FROM t").fetchall() == [(2,)]

    def plain():
        with connected(path) as c, pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            c.execute("INSERT INTO t VALUES (3)")

    rig.sizes["orders"] = replace(held, fullness=Fullness.OK)
    await in_thread(prepare)
    rig.sizes["orders"] = held
    await rig.server.hold(database, rig.passwords[database.role.role_name])
    await in_thread(denied)
    assert ("INSERT INTO t VALUES (?)", "failed", "53100") in rig.outcomes()
    c = await asyncpg.connect(f"postgresql:///orders?host={path}", user="whoever")
    with pytest.raises(asyncpg.DiskFullError, match="is full"):
        await c.execute("INSERT INTO t VALUES ($1)", 3)
    await c.close()
    rig.sizes["orders"] = Unavailable("the database", reason="away")  # then the server's words have to do
    await in_thread(plain)
    rig.sizes["orders"] = replace(held, fullness=Fullness.NEARLY_FULL)
    await in_thread(plain)
