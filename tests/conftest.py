"""Fixtures for all tests. One embedded PostgreSQL serves the whole run; each test gets a database of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio
import pytest

from constellation.nova.store import roles
from constellation.nova.store.embedded import EmbeddedPostgres
from constellation.nova.store.migrate import migrate
from constellation.nova.store.pool import Database, connect, run_alone

TEMPLATE = "constellation_template"


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the planes run on."""
    return "asyncio", {"use_uvloop": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The embedded server of this run, with the planes' roles and a migrated template."""

    postgres: EmbeddedPostgres
    passwords: dict[str, str]  # by plane, and "owner"

    def dsn(self, plane: str, *, database: str) -> str:
        return self.postgres.dsn(roles.role_of(plane), self.passwords[plane], database=database)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshDatabase:
    """A migrated database that nobody else uses."""

    server: Server
    name: str

    def dsn(self, plane: str = "owner") -> str:
        return self.server.dsn(plane, database=self.name)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A power cut in the middle of a test run loses nothing worth keeping.
    state_dir = tmp_path_factory.mktemp("state")
    server = EmbeddedPostgres(state_dir, settings={"fsync": "off", "synchronous_commit": "off"})
    passwords = {name: secrets.token_urlsafe(16) for name in ("owner", *roles.PLANES)}
    rig = Server(postgres=server, passwords=passwords)
    anyio.run(_prepare, rig)
    yield rig
    anyio.run(server.stop)


async def _prepare(rig: Server) -> None:
    await rig.postgres.start()
    superuser = rig.postgres.superuser_dsn()
    owner = roles.role_of("owner")
    async with connect(superuser, application="tests", max_size=1) as db, db.transaction() as tx:
        await roles.write_role(tx, "create_owner", owner, rig.passwords["owner"])
    await run_alone(superuser, f"CREATE DATABASE {TEMPLATE} OWNER {owner}")
    dsn = rig.dsn("owner", database=TEMPLATE)
    async with connect(dsn, application="tests", max_size=1) as db:
        await migrate(db)
        await roles.ensure_roles(db, dsn, rig.passwords)


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[FreshDatabase]:
    name = f"test_{secrets.token_hex(6)}"
    superuser = postgres.postgres.superuser_dsn()
    await run_alone(superuser, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {roles.role_of('owner')}")
    # A template hands on all rights but those on the database itself.
    planes = ", ".join(map(roles.role_of, roles.PLANES))
    await run_alone(superuser, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {planes}")
    yield FreshDatabase(server=postgres, name=name)
    await run_alone(superuser, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def db(database: FreshDatabase) -> AsyncIterator[Database]:
    """A pool of the owner role in a fresh database."""
    async with connect(database.dsn(), application="tests", min_size=0, max_size=8) as pool:
        yield pool
