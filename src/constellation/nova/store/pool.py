"""Connections to PostgreSQL: bounded, with a deadline on every wait, and no driver error past this door.

Reads go through `Database`, whose connections refuse to write; all writes go through `Database.transaction`.
A server that went away is `DatabaseUnavailable` (503, try again) and the pool connects anew by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import anyio
import asyncpg

from constellation.base.errors import ConstellationError
from constellation.nova.config.sections import PostgresSettings
from constellation.nova.domain.quota import Dimension, QuotaExceeded

Record = asyncpg.Record
if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Record] | PoolConnectionProxy[Record]

RELEASE_GRACE_S = 2.0  # chosen: ends a cancelled query and rolls back; then the connection is cut
CONNECT_TIMEOUT_S = 5.0  # chosen: one attempt, authentication included
RETRY_CONNECT_S = 0.1  # chosen: a restart of the embedded server takes a few tenths of a second
STATEMENT_ALONE_LIMIT_S = 60.0  # chosen: a new database copies its template
COPY_PIECE_BYTES = 64 << 10  # chosen: what a socket takes at once
COPY_PACE_S = 0.004  # chosen: between pieces of a COPY that is spread; busy, each is half a millisecond of the server
_BEGIN = "BEGIN READ WRITE"
_BEGIN_UNSYNCED = "BEGIN READ WRITE; SET LOCAL synchronous_commit TO off"
IDLE_CONNECTION_S = 60.0  # chosen: each idle backend holds a few MiB of the server's memory

_BEYOND_QUOTA = "CQ429"  # what `refuse_beyond_quota` raises

# The server ended the session or has no room for one: the same call may succeed later.
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)


class DatabaseUnavailable(ConstellationError):
    """The database can not answer now; nothing is known to be written."""

    code, http_status, retryable = "database_unavailable", 503, True

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the database can not be used: {reason}", retry_after_s=1)
        self.reason = reason


class Session:
    """One connection in the caller's hands, inside a transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        """Return all rows."""
        with translated(self._connection):
            rows: list[Record] = await self._connection.fetch(sql, *args)
            return rows

    async def fetch_row(self, sql: str, *args: object) -> Record | None:
        """Return the first row, or None."""
        with translated(self._connection):
            return await self._connection.fetchrow(sql, *args)

    async def fetch_value(self, sql: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        with translated(self._connection):
            return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement and return how many rows it touched."""
        with translated(self._connection):
            status: str = await self._connection.execute(sql, *args)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def copy(self, table: str, columns: Sequence[str], rows: memoryview, *, over_s: float = 0.0) -> None:
        """Put rows into a table that are encoded for a binary COPY, its beginning and end included.

        Args:
            over_s: the time to spread them over, so that the server does not take a core for all of them at once.
        """
        with translated(self._connection):
            pieces = _pieces(rows, over_s)
            await self._connection.copy_to_table(table, columns=columns, source=pieces, format="binary")

    async def run_script(self, sql: str) -> None:
        """Run several statements without arguments, as a migration is."""
        with translated(self._connection):
            await self._connection.execute(sql)

    async def roll_back(self) -> None:
        """Undo the transaction, even when the caller is cancelled; cut the connection when that can not be done."""
        with anyio.move_on_after(RELEASE_GRACE_S, shield=True) as grace:
            try:
                await self.execute("ROLLBACK")
            except (DatabaseUnavailable, asyncpg.PostgresError):
                _cut(self._connection)  # the server rolls back when the socket closes
        if grace.cancelled_caught:
            _cut(self._connection)


class Database:
    """A bounded pool of connections of one role. Made by `connect`."""

    def __init__(self, pool: asyncpg.Pool, *, acquire_timeout_s: float) -> None:
        self._pool, self._acquire_timeout_s = pool, acquire_timeout_s

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        """Return all rows of a reading query.

        Raises:
            DatabaseUnavailable: no connection was free in time, or the server went away.
        """
        async with self._session() as session:
            return await session.fetch(sql, *args)

    async def fetch_row(self, sql: str, *args: object) -> Record | None:
        """Return the first row of a reading query, or None. Raises as `fetch`."""
        async with self._session() as session:
            return await session.fetch_row(sql, *args)

    async def fetch_value(self, sql: str, *args: object) -> Any:
        """Return the first column of the first row of a reading query, or None. Raises as `fetch`."""
        async with self._session() as session:
            return await session.fetch_value(sql, *args)

    @asynccontextmanager
    async def transaction(self, *, is_durable: bool = True) -> AsyncIterator[Session]:
        """Write: commits when the block ends, rolls back when it raises or is cancelled.

        Args:
            is_durable: wait for the disk. What is not may be lost, whole, when the server's host fails within a second.

        Raises:
            DatabaseUnavailable: as `fetch`; raised by the commit itself it leaves open whether it was written.
        """
        async with self._session() as session:
            await session.run_script(_BEGIN if is_durable else _BEGIN_UNSYNCED)
            try:
                yield session
            except BaseException:
                await session.roll_back()
                raise
            await session.execute("COMMIT")

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        with translated():
            try:
                with anyio.fail_after(self._acquire_timeout_s):
                    connection = await self._pool.acquire()
            except TimeoutError as error:
                raise DatabaseUnavailable(
                    reason=f"no connection was free within {self._acquire_timeout_s:g} s"
                ) from error
        try:
            yield Session(connection)
        finally:
            with anyio.CancelScope(shield=True), translated():
                await self._pool.release(connection, timeout=RELEASE_GRACE_S)


@contextmanager
def translated(connection: Connection | None = None) -> Iterator[None]:
    """Turn the driver's errors of a server that can not answer into `DatabaseUnavailable`, and what a trigger refuses for
    a tenant's quota into `QuotaExceeded`; let all others through.
    """
    try:
        yield
    except _GONE as error:
        raise DatabaseUnavailable(reason=str(error) or type(error).__name__) from error
    except asyncpg.PostgresError as error:
        if error.sqlstate != _BEYOND_QUOTA:
            raise
        dimension, used, limit = (error.detail or "").split()
        raise QuotaExceeded(Dimension(dimension), used=float(used), limit=float(limit)) from error
    except asyncpg.InterfaceError as error:
        # The driver says "connection is closed" with the class it uses for our own mistakes.
        if connection is not None and _is_open(connection):
            raise
        raise DatabaseUnavailable(reason=str(error)) from error
    except asyncpg.InternalClientError as error:
        # The driver lost count of a connection that the server cut in the middle of something.
        if connection is not None:
            _cut(connection)
        raise DatabaseUnavailable(reason=str(error)) from error


async def _pieces(rows: memoryview, over_s: float) -> AsyncIterator[bytes]:
    """Yield a batch in pieces, so that the driver waits for the server, and the server for the time, in between."""
    count = max(int(over_s / COPY_PACE_S), 1)
    size = min(max(-(-len(rows) // count), 1), COPY_PIECE_BYTES)
    due = anyio.current_time()
    for at in range(0, len(rows), size):
        if over_s:
            await anyio.sleep_until(due)
            due += COPY_PACE_S
        yield bytes(rows[at : at + size])


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool took a closed connection back while it was lent out
        return False


def _cut(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # taken back already
        connection.terminate()


@asynccontextmanager
async def connect(
    dsn: str,
    *,
    application: str,
    min_size: int = 0,
    max_size: int = 8,
    acquire_timeout_s: float = 5.0,
    statement_timeout_s: float = 10.0,
    wait_s: float = 30.0,
) -> AsyncIterator[Database]:
    """Open a pool for the length of the block.

    Args:
        application: shown by the server in pg_stat_activity, e.g. the plane's name.
        min_size: connections that are kept even when idle.
        max_size: connections at most; further callers wait up to `acquire_timeout_s`.
        acquire_timeout_s: how long a caller waits for a connection.
        statement_timeout_s: the server ends a statement that takes longer.
        wait_s: how long to wait for a server that is still starting.

    Raises:
        DatabaseUnavailable: the server did not let us in within `wait_s` seconds.
    """
    pool = await _open_pool(
        dsn,
        application=application,
        min_size=min_size,
        max_size=max_size,
        statement_timeout_s=statement_timeout_s,
        wait_s=wait_s,
    )
    try:
        yield Database(pool, acquire_timeout_s=acquire_timeout_s)
    finally:
        with anyio.move_on_after(RELEASE_GRACE_S, shield=True):
            await pool.close()
        pool.terminate()


def connect_as(dsn: str, settings: PostgresSettings, *, application: str) -> AbstractAsyncContextManager[Database]:
    """Open a plane's pool, bounded as the settings say; `connect` tells the rest."""
    return connect(
        dsn,
        application=application,
        min_size=settings.min_conns,
        max_size=settings.max_conns,
        acquire_timeout_s=settings.acquire_timeout_s,
        statement_timeout_s=settings.statement_timeout_s,
    )


async def run_alone(dsn: str, sql: str) -> None:
    """Run one statement that no transaction may hold, such as CREATE DATABASE, on a connection of its own.

    Raises:
        DatabaseUnavailable: the server can not be reached.
    """
    with translated():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=STATEMENT_ALONE_LIMIT_S)
    try:
        with translated(connection):
            await connection.execute(sql)
    finally:
        connection.terminate()


async def _open_pool(
    dsn: str, *, application: str, min_size: int, max_size: int, statement_timeout_s: float, wait_s: float
) -> asyncpg.Pool:
    last: DatabaseUnavailable | None = None
    with anyio.move_on_after(wait_s):
        while True:
            pool = asyncpg.create_pool(
                dsn,
                min_size=min_size,
                max_size=max_size,
                timeout=CONNECT_TIMEOUT_S,
                # The server's own limit speaks first; this one is for a server that no longer answers at all.
                command_timeout=statement_timeout_s + RELEASE_GRACE_S,
                max_inactive_connection_lifetime=IDLE_CONNECTION_S,
                reset=_nothing_to_reset,
                server_settings=session_settings(application, statement_timeout_s=statement_timeout_s),
            )
            try:
                with translated():
                    await pool
                    async with pool.acquire():
                        return pool
            except DatabaseUnavailable as error:
                last = error
                pool.terminate()
            await anyio.sleep(RETRY_CONNECT_S)
    raise last or DatabaseUnavailable(reason=f"no connection within {wait_s:g} s")


def with_credentials(dsn: str, role: str, password: str) -> str:
    """Return the same database's address for another role."""
    parts = urlsplit(dsn)
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{quote(role, safe='')}:{quote(password, safe='')}@{place}"
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name not in ("user", "password")])
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def session_settings(application: str, *, statement_timeout_s: float) -> dict[str, str]:
    """Return what every session of ours is started with."""
    return {
        "application_name": application,
        "default_transaction_read_only": "on",  # only `transaction` writes
        "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{statement_timeout_s * 1000:.0f}",
        "timezone": "UTC",
        "search_path": "public",
    }


async def _nothing_to_reset(connection: Connection) -> None:
    """Leave a returned connection as it is: sessions of ours change no setting, which saves a round trip a call."""
