"""Fixtures for all tests. One embedded PostgreSQL serves the whole run; each test gets a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from constellation.nova.store.pool import Database, connect
from constellation.testing.database import FreshDatabase, Server, fresh_database, start_server


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the planes run on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded server of this run, with the planes' roles."""
    server = anyio.run(start_server, tmp_path_factory.mktemp("state"))
    yield server
    anyio.run(server.postgres.stop)


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[FreshDatabase]:
    """A migrated database; `database.dsn("comet")` is its address for a plane's role."""
    async with fresh_database(postgres) as fresh:
        yield fresh


@pytest.fixture
async def db(database: FreshDatabase) -> AsyncIterator[Database]:
    """A pool of the owner role in a fresh database."""
    async with connect(database.dsn(), application="tests", max_size=8) as pool:
        yield pool
