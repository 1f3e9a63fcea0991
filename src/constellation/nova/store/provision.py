"""What nova does on the servers of functions' databases: makes the role that is theirs, bounds it, takes it down.

A role is LOGIN, NOINHERIT and a member of nothing, so there is no role to switch to; its password reaches the server as
a verifier only. On the platform's own server each database is closed to everybody else. On a server of somebody else's
nothing that functions made is ever dropped, nor handed to the administrator: it could run as that one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import asyncpg

from constellation.base.errors import ConstellationError
from constellation.nova.domain.database import (
    Access,
    Database,
    DatabaseLimits,
    DatabaseRole,
    DatabaseServerRefused,
    Networks,
    ServerAddress,
    Tls,
    may_connect,
)
from constellation.nova.store.pool import CONNECT_TIMEOUT_S
from constellation.nova.store.queries import load
from constellation.nova.store.roles import verifier_of
from constellation.nova.store.server_tls import context_for

if TYPE_CHECKING:
    from constellation.nova.store.pool import Connection

SQL = load("provision")
STATEMENT_S = 60.0  # chosen: a new database copies its template
HELD = "_held"  # behind a role's name while its database is full; provision.sql says it too
_AMONG_THEIRS = {"search_path": "pg_catalog", "lock_timeout": "2000"}
OWN_TEMP_KIB = 1 << 20  # chosen: what one session of our own server may sort on disk


class Server:
    """A server, as one of its administrators."""

    def __init__(self, address: ServerAddress, *, allowed: Networks = (), is_own: bool = False) -> None:
        """Touch nothing yet.

        Args:
            allowed: networks that a server may be in although this host is, or its link.
            is_own: the platform's own, where databases are made and we are a superuser.
        """
        self._address, self._allowed, self._is_own = address, allowed, is_own

    async def close_to_public(self) -> None:
        """Let nobody but us into what a new server begins with. Raises as `make`."""
        async with self._connected("close it") as connection:
            await _run(connection, "close_statements")

    async def make(self, database: Database, password: str) -> None:
        """Make the role of a database, and on our own server the database; what is there of it already stays.

        Raises:
            DatabaseServerRefused: it can not be reached, or says no.
        """
        role, limits = database.role, database.limits
        doing = "make a role for the functions"
        async with self._connected(doing) as connection:
            verifier = verifier_of(password)
            has_role = await connection.fetchval(SQL["has_role"], role.role_name)
            how = "limit_statements" if has_role else "role_statements"
            await _run(connection, how, role.role_name, verifier, *_bounds(limits))
            if self._is_own:
                await _run(connection, "own_role_statements", role.role_name, OWN_TEMP_KIB)
                if not await connection.fetchval(SQL["has_database"], role.database_name):
                    await _run(connection, "database_statements", role.database_name)
        async with self._connected(doing, database=role.database_name) as connection:
            await _run(
                connection, "connect_statements", role.role_name, role.database_name, database.access is Access.CREATE
            )
            await _run(connection, "grant_statements", role.role_name, database.access is not Access.READ)

    async def limit(self, database: Database, password: str) -> None:
        """Have the role as it is to be: limits, password, and none of what it has set for itself. Raises as `make`."""
        async with self._connected("bound the functions' role") as connection:
            await _run(
                connection,
                "limit_statements",
                database.role.role_name,
                verifier_of(password),
                *_bounds(database.limits),
            )
            if self._is_own:
                await _run(connection, "own_role_statements", database.role.role_name, OWN_TEMP_KIB)

    async def take_down(self, role: DatabaseRole) -> bool:
        """Remove a role; False when it stays, locked, since it owns things. Our own server's database goes with it.

        Raises as `make`.
        """
        async with self._connected("take the functions' role down", database=self._database_of(role)) as connection:
            if self._is_own:
                await _run(connection, "drop_database_statements", role.database_name)
                await _run(connection, "drop_role_statements", role.role_name)
                return True
            if not await connection.fetchval(SQL["has_role"], role.role_name):
                return True
            await _run(connection, "lock_out_statements", role.role_name)
            await connection.fetchval(SQL["end_sessions"], role.role_name)
            if await connection.fetchval(SQL["owned"], role.role_name):
                return False
            await _run(connection, "forget_role_statements", role.role_name)
            return True

    async def sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many bytes databases have, of those that are there. Raises as `make`."""
        async with self._connected("measure databases") as connection:
            return {row["name"]: row["size_bytes"] for row in await connection.fetch(SQL["sizes"], list(names))}

    async def hold(self, database: Database, password: str) -> None:
        """Have functions read in a database of our own and delete, and add nothing, whatever they have made in it.

        The role goes by another name, under which nobody logs in, and keeps all that is its own; a new one has its name and
        few rights. Nothing of what functions can do brings the old one back, nor lends them its rights: see `hold_statements`.
        May be done again at any time; where it fails, nobody gets in.

        Raises as `make`.
        """
        doing, role = "hold a full database", database.role
        held = f"{role.role_name}{HELD}"
        async with self._connected(doing) as connection:
            if not await connection.fetchval(SQL["has_role"], held):
                await _run(connection, "shut_statements", role.role_name, role.database_name)
                await self._end(connection, role.role_name, doing)
                async with connection.transaction():
                    await _run(connection, "displace_statements", role.role_name)
                    await _run(
                        connection, "role_statements", role.role_name, verifier_of(password), *_bounds(database.limits)
                    )
                    await _run(connection, "own_role_statements", role.role_name, OWN_TEMP_KIB)
            await self._end(connection, held, doing)
            if await connection.fetchval(SQL["is_held"], role.role_name, role.database_name):
                return
        inside = self._connected(doing, database=role.database_name, is_theirs=True)
        async with inside as connection, connection.transaction():
            await _run(connection, "hold_statements", role.role_name, role.database_name)

    async def compact(self, role: DatabaseRole) -> None:
        """Give back what deleted rows took in a database that is held; tables in use are left for the next time.

        Raises as `make`.
        """
        async with self._connected(
            "compact a full database", database=role.database_name, is_theirs=True
        ) as connection:
            if not await connection.fetchval(SQL["is_held"], role.role_name, role.database_name):
                return
            for statement in await connection.fetchval(SQL["compact_statements"], role.role_name) or ():
                with suppress(asyncpg.LockNotAvailableError):
                    await connection.execute(statement)

    async def release(self, database: Database, password: str) -> None:
        """Give a role back what `hold` took. May be done again. Raises as `make`."""
        doing, role = "release a database", database.role
        async with self._connected(doing, database=role.database_name, is_theirs=True) as connection:
            if await connection.fetchval(SQL["has_role"], f"{role.role_name}{HELD}"):
                await _run(connection, "shut_statements", role.role_name, role.database_name)
                await self._end(connection, role.role_name, doing)
                async with connection.transaction():
                    await _run(connection, "release_statements", role.role_name)
            await _run(
                connection, "connect_statements", role.role_name, role.database_name, database.access is Access.CREATE
            )
        await self.limit(database, password)

    async def _end(self, connection: Connection, role_name: str, doing: str) -> None:
        if not await connection.fetchval(SQL["end_sessions_and_wait"], role_name):
            raise DatabaseServerRefused(doing=doing, reason="sessions do not end")

    def _database_of(self, role: DatabaseRole) -> str:
        return self._address.database if self._is_own else role.database_name

    @asynccontextmanager
    async def _connected(self, doing: str, *, database: str = "", is_theirs: bool = False) -> AsyncIterator[Connection]:
        """Log in; `is_theirs`: where functions may have made what has the names of the server's own, or hold locks."""
        address = self._address
        connection: asyncpg.Connection | None = None
        try:
            connection = await asyncpg.connect(
                host=await self._place(),
                port=address.port,
                user=address.user,
                password=address.password,
                database=database or address.database,
                ssl=context_for(address.tls) or "disable",  # None would mean: if the server likes to
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_S,
                server_settings={"application_name": "nova databases", **(_AMONG_THEIRS if is_theirs else {})},
            )
            yield connection
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseServerRefused(doing=doing, reason=_reason(error)) from error
        finally:
            if connection is not None:
                connection.terminate()

    async def _place(self) -> str:
        """Return what to connect to: an address that was looked at, unless its certificate will prove the name."""
        address = self._address
        if address.host.startswith("/"):
            return address.host
        found = await looked_up(address, allowed=self._allowed)
        return address.host if address.tls is Tls.VERIFY_FULL else found


async def looked_up(address: ServerAddress, *, allowed: Networks) -> str:
    """Return an IP address of a server.

    Raises:
        DatabaseServerRefused: the name is not known, or leads where no server may be.
    """
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            found = await anyio.getaddrinfo(address.host, address.port)
    except (OSError, TimeoutError) as error:
        raise DatabaseServerRefused(doing="find it", reason=f"{address.host}: {_reason(error)}") from error
    places = [str(each[4][0]) for each in found]
    for place in places:
        if may_connect(place, allowed):
            return place
    raise DatabaseServerRefused(
        doing="connect",
        reason=f"{address.host} is on this host or its link; an operator can allow that (databases.networks)",
    )


def _bounds(limits: DatabaseLimits) -> tuple[int, int, int]:
    return limits.max_sessions, round(limits.statement_timeout_s * 1000), round(limits.idle_transaction_s * 1000)


async def _run(connection: Connection, name: str, *args: object) -> None:
    for statement in await connection.fetchval(SQL[name], *args):
        await connection.execute(statement)


def _reason(error: Exception) -> str:
    if isinstance(error, ConstellationError | asyncpg.PostgresError | OSError):
        return str(error)[:300] or type(error).__name__
    return type(error).__name__
