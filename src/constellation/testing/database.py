"""A real PostgreSQL for tests: one embedded server a run, one migrated database a test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from constellation.nova.store import roles
from constellation.nova.store.embedded import EmbeddedPostgres
from constellation.nova.store.migrate import migrate
from constellation.nova.store.pool import connect, run_alone

TEMPLATE = "constellation_template"
OWNER = roles.role_of("owner")
# A power cut in the middle of a test run loses nothing worth keeping.
_CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_init_zero": "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An embedded server with the planes' roles and a migrated template database."""

    postgres: EmbeddedPostgres
    passwords: Mapping[str, str]  # by plane, and "owner"

    def dsn(self, plane: str, *, database: str) -> str:
        return self.postgres.dsn(roles.role_of(plane), self.passwords[plane], database=database)

    def superuser_dsn(self) -> str:
        return self.postgres.superuser_dsn()


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshDatabase:
    """A database that nobody else uses."""

    server: Server
    name: str

    def dsn(self, plane: str = "owner") -> str:
        """Return the address for a plane's role, or for the owner of the tables."""
        return self.server.dsn(plane, database=self.name)


async def start_server(state_dir: Path) -> Server:
    """Start a server for a run of tests. The caller stops it: `await server.postgres.stop()`."""
    postgres = EmbeddedPostgres(state_dir, settings=_CARELESS)
    passwords = {name: secrets.token_urlsafe(16) for name in ("owner", *roles.PLANES)}
    server = Server(postgres=postgres, passwords=passwords)
    await postgres.start()
    superuser = server.superuser_dsn()
    async with connect(superuser, application="tests", max_size=1) as db, db.transaction() as tx:
        await roles.write_role(tx, "create_owner", OWNER, passwords["owner"])
    await run_alone(superuser, f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
    dsn = server.dsn("owner", database=TEMPLATE)
    async with connect(dsn, application="tests", max_size=1) as db:
        await migrate(db)
        await roles.ensure_roles(db, dsn, passwords)
    return server


@asynccontextmanager
async def fresh_database(server: Server, *, template: str = TEMPLATE) -> AsyncIterator[FreshDatabase]:
    """Lend a database for the length of the block: migrated, or empty with the template "template1"."""
    name = f"test_{secrets.token_hex(6)}"
    superuser = server.superuser_dsn()
    # Of files, for the log would have every page again, which takes three times the CPU.
    await run_alone(superuser, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY file_copy")
    # A template hands on all rights but those on the database itself.
    planes = ", ".join(map(roles.role_of, roles.PLANES))
    await run_alone(
        superuser, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {planes}"
    )
    try:
        yield FreshDatabase(server=server, name=name)
    finally:
        await run_alone(superuser, f"DROP DATABASE {name} WITH (FORCE)")
