"""Aliases of functions, and the versions that they stand for."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from uuid import UUID

import asyncpg

from constellation.base.errors import InvalidRequest, NotFound
from constellation.nova.domain.alias import MAX_ALIASES, WHOLE, Alias, Share
from constellation.nova.domain.function import Function
from constellation.nova.store import versions
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("aliases")


class Aliases:
    """The tables function_aliases and function_alias_shares."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(self, tenant: str, function_id: UUID) -> tuple[Alias, ...]:
        """Return all aliases of a function, by name; there are `MAX_ALIASES` at most."""
        return tuple(map(alias_of, await self._db.fetch(SQL["list"], tenant, function_id, None)))

    async def get(self, tenant: str, function_id: UUID, name: str) -> Alias:
        """Return an alias. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["list"], tenant, function_id, name)
        if row is None:
            raise NotFound("alias", name)
        return alias_of(row)

    async def served(
        self, function: Function, *, also: Collection[int] = ()
    ) -> tuple[tuple[Alias, ...], tuple[Function, ...]]:
        """Return a function's aliases, and as functions the versions that they name, and those of `also` that exist."""
        named = await self.list(function.tenant, function.id)
        numbers = set(also).union(*(alias.versions for alias in named))
        return named, await versions.pinned(self._db, function, numbers) if numbers else ()

    async def put(self, tenant: str, function_id: UUID, alias: Alias) -> Alias:
        """Write an alias, new or over what it was, and return it as it stands.

        Raises:
            NotFound: the function, or a version that the alias names, does not exist.
            InvalidRequest: the function has too many.
        """
        try:
            async with self._db.transaction() as tx:
                await put(tx, tenant, function_id, alias)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", str(function_id)) from error
        return await self.get(tenant, function_id, alias.name)

    async def delete(self, tenant: str, function_id: UUID, name: str) -> None:
        """Delete an alias. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], tenant, function_id, name):
                raise NotFound("alias", name)


async def put(tx: Session, tenant: str, function_id: UUID, alias: Alias) -> None:
    """Write an alias in a transaction of the caller's; errors as `Aliases.put`."""
    await tx.execute(SQL["put"], tenant, function_id, alias.name, alias.is_sticky, alias.description)
    if await tx.fetch_value(SQL["count"], tenant, function_id) > MAX_ALIASES:
        raise InvalidRequest(f"a function has at most {MAX_ALIASES} aliases", field="alias")
    await tx.execute(SQL["clear_shares"], tenant, function_id, alias.name)
    numbers, weights = [share.version for share in alias.shares], [share.weight for share in alias.shares]
    found = await tx.fetch(SQL["insert_shares"], tenant, function_id, alias.name, numbers, weights)
    missing = set(numbers) - {row["version"] for row in found}
    if missing:
        raise NotFound("version", str(min(missing)))


async def refuse_unknown(tx: Session, tenant: str, namespace: str, function_name: str, qualifier: str) -> None:
    """Raise `NotFound` when a function has no such version or alias; whether there is the function is others' to say."""
    if qualifier and await tx.fetch_value(SQL["has_qualifier"], tenant, namespace, function_name, qualifier) is False:
        raise NotFound("version or alias", f"{function_name}:{qualifier}")


async def version_now(tx: Session, tenant: str, namespace: str, function_name: str, qualifier: str) -> str:
    """Return the number of the version that a call under a name gets at this moment, an alias's by its weights.

    Of a function that is gone, or never had a version, it is the name itself: whoever calls it is told.

    Raises:
        NotFound: the function has no such version or alias.
    """
    lot = secrets.randbelow(WHOLE)
    row = await tx.fetch_row(SQL["version_of"], tenant, namespace, function_name, qualifier, lot)
    if row is None:
        return qualifier
    if row["version"] is None:
        raise NotFound("version or alias", f"{function_name}:{qualifier}")
    return str(row["version"] or "")


def alias_of(row: Record) -> Alias:
    """Return the alias that a row of `list` is."""
    columns = dict(row)
    shares = zip(columns.pop("versions"), columns.pop("weights"), strict=True)
    return Alias(**columns, shares=tuple(Share(version=version, weight=weight) for version, weight in shares))
