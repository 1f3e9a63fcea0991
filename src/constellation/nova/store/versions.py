"""Versions of functions. The database makes one whenever a function's row changes in what a version keeps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from constellation.base.errors import NotFound, StateConflict
from constellation.nova.domain.function import Function
from constellation.nova.domain.version import Version
from constellation.nova.store.function_rows import function_of
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("versions")


class Versions:
    """The table function_versions."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, tenant: str, namespace: str, name: str, number: int) -> Version:
        """Return one version of a function. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name, number)
        if row is None:
            raise NotFound("version", str(number))
        return _version(row)

    async def list(self, function: Function, *, limit: int = 100, offset: int = 0) -> Page[Version]:
        """Return the versions of a function, newest first, with the exact total."""
        rows = await self._db.fetch(SQL["list"], *function.key, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], function.tenant, function.id)
        return Page(items=tuple(map(_version, rows)), total=total, has_more=offset + len(rows) < total)

    async def before_live(self, function: Function) -> int | None:
        """Return the newest version that is kept and older than the live one."""
        found: int | None = await self._db.fetch_value(SQL["before"], *function.key)
        return found

    async def delete(self, tenant: str, function_id: UUID, number: int) -> None:
        """Delete a version; code that no other is made of goes later.

        Raises:
            NotFound: there is no such version.
            StateConflict: it is live, or an alias names it.
        """
        async with self._db.transaction() as tx:
            if await tx.execute(SQL["delete"], tenant, function_id, number):
                return
            if await tx.fetch_value(SQL["exists"], tenant, function_id, number):
                raise StateConflict("version", str(number), state="in use", wanted="neither live nor named by an alias")
        raise NotFound("version", str(number))


async def pinned(db: Database, function: Function, numbers: Collection[int]) -> tuple[Function, ...]:
    """Return those of some versions that exist, each as the function that is served beside the live one."""
    rows = await db.fetch(SQL["some"], *function.key, sorted(numbers))
    # Who may call it is no matter of versions.
    return tuple(replace(was.function, pin=was.number, ingress=function.ingress) for was in map(_version, rows))


def _version(row: Record) -> Version:
    columns = dict(row)
    number, made_at, live = columns.pop("number"), columns.pop("made_at"), columns.pop("live")
    function = replace(function_of(columns), live_version=number, pending=None)
    return Version(number=number, function=function, is_live=number == live, created_at=made_at)
