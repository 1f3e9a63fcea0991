"""Fixtures for all tests. One embedded PostgreSQL serves the whole run; each test gets a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import strategies

from constellation.nova.store.pool import Database, connect
from constellation.testing.database import FreshDatabase, Server, fresh_database, start_server
from constellation.testing.dockerd import NoDocker, running_dockerd


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the planes run on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session", autouse=True)
def characters() -> None:
    """The table of all characters, made before any test: in a fresh clone it takes a second, which the first test that
    draws a text would be charged for as one whose input is slow to make.
    """
    strategies.text().validate()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded server of this run, with the planes' roles."""
    server = anyio.run(start_server, tmp_path_factory.mktemp("state"))
    yield server
    anyio.run(server.postgres.stop)


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a Docker daemon of this run, which has an image with python3 and node."""
    try:
        with running_dockerd(tmp_path_factory.mktemp("docker")) as socket:
            yield socket
    except NoDocker as error:
        pytest.skip(str(error))


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[FreshDatabase]:
    """A migrated database; `database.dsn("comet")` is its address for a plane's role."""
    async with fresh_database(postgres) as fresh:
        yield fresh


@pytest.fixture
async def db(database: FreshDatabase) -> AsyncIterator[Database]:
    """A pool of the owner role in a fresh database."""
    # A statement has as long as its test: a busy machine is no fault
    async with connect(database.dsn(), application="tests", max_size=8, statement_timeout_s=100.0) as pool:
        yield pool
