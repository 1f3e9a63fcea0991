"""Databases of functions as nova keeps them: where, under which role, with which limits, and what was asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from uuid import UUID

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, VersionConflict
from constellation.nova.domain.database import (
    Access,
    Database,
    DatabaseInUse,
    DatabaseLimits,
    DatabaseRole,
    DatabaseSize,
    Fullness,
)
from constellation.nova.domain.notification import NotificationKind
from constellation.nova.domain.secret import Sealed, SecretUnknown
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database as Connections
from constellation.nova.store.pool import Record
from constellation.nova.store.queries import load
from constellation.nova.store.secrets import ADMINISTERS

SQL, NOTICES = load("databases"), load("notifications")
SHOWN_FUNCTIONS = 20  # chosen: as of a secret
USES = ("function_databases_database", "version_databases_database")  # tie functions and their versions to theirs
_TOLD = {Fullness.NEARLY_FULL: NotificationKind.DATABASE_NEARLY_FULL, Fullness.FULL: NotificationKind.DATABASE_FULL}
_LIMITS = tuple(each.name for each in fields(DatabaseLimits))
_ROLE = ("role_name", "database_name", "admin_secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRequest:
    """One row of `database_requests`: a statement, and what became of it. The id says when it began."""

    tenant: str
    namespace: str
    database: str
    id: UUID
    function_name: str
    function_version: str
    session: str
    statement: str
    outcome: str
    code: str
    rows: int
    bytes: int
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFilter:
    """Which rows; None leaves a question out."""

    function_name: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_ms: float | None = None


class Databases:
    """The tables databases, database_leftovers and database_requests."""

    def __init__(self, db: Connections) -> None:
        self._db = db

    async def create(self, database: Database, password: Sealed) -> None:
        """Write a new database, not ready yet.

        Raises:
            AlreadyExists: the name is taken in this scope.
            SecretUnknown: there is no secret of the administrator's name.
            NotFound: the namespace does not exist.
        """
        role = database.role
        try:
            async with self._db.transaction() as tx:
                await tx.execute(
                    SQL["insert"], database.tenant, database.namespace, database.name, database.kind, database.access.value,
                    role.admin_secret, role.database_name, role.role_name, password.key_version, password.key,
                    password.value, *astuple(database.limits),
                )  # fmt: skip
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("database", database.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            if error.constraint_name == ADMINISTERS:
                raise SecretUnknown(role.admin_secret or "", variable="admin_secret") from error
            raise NotFound("namespace", f"{database.tenant}/{database.namespace}") from error

    async def set_ready(self, database: Database) -> bool:
        """Say that the server has it; False when the row is gone, or is another's meanwhile."""
        async with self._db.transaction() as tx:
            return bool(await tx.execute(SQL["set_ready"], *_key(database), database.role.role_name))

    async def get(self, tenant: str, namespace: str, name: str) -> Database:
        """Return a database. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name, SHOWN_FUNCTIONS)
        if row is None:
            raise NotFound("database", name)
        return _database(row)

    async def list(
        self, tenant: str, namespace: str, *, search: str | None = None, limit: int = 100, offset: int = 0
    ) -> Page[Database]:
        """Return databases by name, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, namespace, search, SHOWN_FUNCTIONS, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, namespace, search)
        return Page(items=tuple(map(_database, rows)), total=total, has_more=offset + len(rows) < total)

    async def count_own(self, tenant: str) -> int:
        """Return how many databases a tenant has on the platform's own server."""
        count: int = await self._db.fetch_value(SQL["count_own"], tenant)
        return count

    async def own(self, *, after: str = "", limit: int = 500) -> tuple[Database, ...]:
        """Return some databases of the platform's own server, whosesoever, by their roles' names; without their functions."""
        return tuple(map(_database, await self._db.fetch(SQL["own"], after, limit)))

    async def measured(self, database: Database, size_bytes: int, fullness: Fullness, *, tell: bool) -> None:
        """Write down how large a database is; `tell` people, too, that it is as full as that."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["measured"], database.tenant, database.role.role_name, size_bytes, fullness.value)
            if tell:
                detail = f"{size_bytes >> 20} of {database.limits.size_mb} MB"
                await tx.fetch_value(
                    NOTICES["notice"], database.tenant, database.namespace, _TOLD[fullness].value, database.name, detail
                )

    async def size_of(self, tenant: str, namespace: str, name: str) -> DatabaseSize | None:
        """Return how full a database is; None: it is on another server, or there is none."""
        row = await self._db.fetch_row(SQL["size_of"], tenant, namespace, name)
        if row is None:
            return None
        return DatabaseSize(size_mb=row["size_mb"], size_bytes=row["size_bytes"], fullness=Fullness(row["fullness"]))

    async def missing(self, tenant: str, namespace: str, names: Iterable[str]) -> frozenset[str]:
        """Return which of the names are no databases of the scope."""
        wanted = frozenset(names)
        found = await self._db.fetch(SQL["names"], tenant, namespace, sorted(wanted))
        return wanted - {row["name"] for row in found}

    async def sealed(self, database: Database) -> Sealed:
        """Return the password of a database as it is stored. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["sealed"], *_key(database))
        if row is None:
            raise NotFound("database", database.name)
        return Sealed(key_version=row["key_version"], key=row["sealed_key"], value=row["sealed_value"])

    async def update(self, database: Database) -> Database:
        """Write the limits over the row that the caller read.

        Raises:
            VersionConflict: it was changed since it was read.
            NotFound: it was deleted.
        """
        async with self._db.transaction() as tx:
            count = await tx.execute(SQL["update"], *_key(database), database.version, *astuple(database.limits))
        found = await self.get(*_key(database))
        if not count:
            raise VersionConflict("database", database.name)
        return found

    async def delete(self, database: Database) -> None:
        """Delete a database that no function uses, nor a kept version of one; what its server has of it is then a leftover.

        Raises:
            DatabaseInUse: one does.
            NotFound: it is not there any more, or another one has its name.
        """
        try:
            async with self._db.transaction() as tx:
                if not await tx.execute(SQL["delete_role"], *_key(database), database.role.role_name):
                    raise NotFound("database", database.name)
        except asyncpg.ForeignKeyViolationError as error:
            used = await self.get(*_key(database))
            older = await self._db.fetch(SQL["versions_using"], *_key(database), SHOWN_FUNCTIONS)
            raise DatabaseInUse(
                database.name,
                functions=used.functions,
                functions_count=used.functions_count,
                versions=tuple(row["version"] for row in older),
                versions_count=older[0]["count"] if older else 0,
            ) from error

    async def leftovers(self, *, limit: int) -> tuple[DatabaseRole, ...]:
        """Return some of what servers still have of databases that are gone, the oldest first."""
        return tuple(DatabaseRole(**row) for row in await self._db.fetch(SQL["leftovers"], limit))

    async def forget_leftover(self, role: DatabaseRole) -> None:
        """Note that a server has nothing of it any more."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["forget_leftover"], role.tenant, role.role_name)

    async def record(self, records: Sequence[DatabaseRequest]) -> None:
        """Write rows of the log; those of databases that are gone are left out."""
        columns = zip(*map(astuple, records), strict=True)
        async with self._db.transaction(is_durable=False) as tx:
            await tx.execute(SQL["insert_requests"], *(list(column) for column in columns))

    async def requests(
        self, database: Database, wanted: RequestFilter, *, limit: int = 100, offset: int = 0
    ) -> Page[DatabaseRequest]:
        """Return what was asked of a database, newest first, counted up to `COUNT_LIMIT`."""
        question = (*_key(database), *astuple(wanted))
        found = await self._db.fetch(SQL["list_requests"], *question, limit + 1, offset)
        count: int = await self._db.fetch_value(SQL["count_requests"], *question, COUNT_LIMIT)
        tenant, namespace, name = _key(database)
        return Page(
            items=tuple(
                DatabaseRequest(tenant=tenant, namespace=namespace, database=name, **row) for row in found[:limit]
            ),
            total=count,
            total_is_exact=count < COUNT_LIMIT,
            has_more=len(found) > limit,
        )


def _key(database: Database) -> tuple[str, str, str]:
    return database.tenant, database.namespace, database.name


def _database(row: Record) -> Database:
    columns = dict(row)
    limits = DatabaseLimits(**{name: columns.pop(name) for name in _LIMITS})
    role = DatabaseRole(
        tenant=columns["tenant"], namespace=columns["namespace"], **{name: columns.pop(name) for name in _ROLE}
    )
    given = {
        "access": Access(columns["access"]),
        "fullness": Fullness(columns["fullness"]),
        "functions": tuple(columns["functions"]),
    }
    return Database(**columns | given, role=role, limits=limits)
