"""Volumes, and who mounts them. Their files are comet's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.volume import MAX_VOLUMES, Access, Volume, VolumeInUse, VolumesFull
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("volumes")
SHOWN_USERS = 20  # chosen: as for secrets
USES = "function_volumes_volume"  # the constraint that ties functions to their volumes
ONCE = "function_volumes_once"  # what the trigger says when a volume for one function has another


class Volumes:
    """The table volumes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(
        self, tenant: str, namespace: str, name: str, *, size_mb: int, access: Access, description: str
    ) -> Volume:
        """Write a new volume.

        Raises:
            AlreadyExists: the name is taken in this scope.
            NotFound: the namespace does not exist.
            VolumesFull: the namespace has too many.
        """
        try:
            async with self._db.transaction() as tx:
                await tx.execute(SQL["insert"], tenant, namespace, name, uuid7(), size_mb, access.value, description)
                if await tx.fetch_value(SQL["count"], tenant, namespace, None) > MAX_VOLUMES:
                    raise VolumesFull
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("volume", name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("namespace", f"{tenant}/{namespace}") from error
        return await self.get(tenant, namespace, name)

    async def get(self, tenant: str, namespace: str, name: str) -> Volume:
        """Return a volume. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name, SHOWN_USERS)
        if row is None:
            raise NotFound("volume", name)
        return _volume(row)

    async def some(self, tenant: str, namespace: str, names: Collection[str]) -> Mapping[str, Volume]:
        """Return those of some volumes that exist, by name, without who mounts them."""
        rows = await self._db.fetch(SQL["some"], tenant, namespace, list(names))
        return {row["name"]: _volume(row) for row in rows}

    async def list(
        self, tenant: str, namespace: str, *, search: str | None = None, limit: int = 100, offset: int = 0
    ) -> Page[Volume]:
        """Return volumes by name, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, namespace, search, SHOWN_USERS, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, namespace, search)
        return Page(items=tuple(map(_volume, rows)), total=total, has_more=offset + len(rows) < total)

    async def update(
        self, tenant: str, namespace: str, name: str, *, access: Access | None, description: str | None
    ) -> Volume:
        """Change a volume; None leaves a field.

        Raises:
            NotFound: there is no such volume.
            VolumeInUse: functions mount it in a way that the new access forbids.
        """
        async with self._db.transaction() as tx:
            key = (tenant, namespace, name)
            if not await tx.execute(SQL["update"], *key, None if access is None else access.value, description):
                raise NotFound("volume", name)
            await _check_users(tx, key, access)
        return await self.get(tenant, namespace, name)

    async def delete(self, tenant: str, namespace: str, name: str) -> None:
        """Delete a volume that nothing mounts.

        Raises:
            VolumeInUse: something does.
            NotFound: there is no such volume.
        """
        try:
            async with self._db.transaction() as tx:
                if not await tx.execute(SQL["delete"], tenant, namespace, name):
                    raise NotFound("volume", name)
        except asyncpg.ForeignKeyViolationError as error:
            rows = await self._db.fetch(SQL["users"], tenant, namespace, name, SHOWN_USERS)
            users = [_told(row["name"], row["function_version"]) for row in rows]
            raise VolumeInUse(
                name,
                users=users,
                count=await self._db.fetch_value(SQL["count_users"], tenant, namespace, name),
                wanted="deploy them without it and delete the versions that have it first",
            ) from error

    async def existing(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Return which of some ids are of volumes that there are."""
        return frozenset(row["id"] for row in await self._db.fetch(SQL["ids"], list(ids)))


async def _check_users(tx: Session, key: tuple[str, str, str], access: Access | None) -> None:
    """Refuse an access that the functions do not have, as they are; changes of functions wait for us meanwhile."""
    uses = await tx.fetch(SQL["uses"], *key) if access not in (None, Access.READ_WRITE) else []
    users = [row["name"] for row in uses if access is not Access.READ_ONLY or row["is_writing"]]
    wanted = "read_only: mount it so there first"
    if access is Access.READ_WRITE_ONCE:
        users, wanted = (users, "read_write_once: leave it to one") if len(users) > 1 else ([], "")
    if users:
        raise VolumeInUse(key[2], users=users[:SHOWN_USERS], count=len(users), wanted=f"it can not become {wanted}")


def _told(name: str, version: int) -> str:
    return name if version == 0 else f"{name} version {version}"


def _volume(row: Record) -> Volume:
    columns = dict(row)
    return Volume(**columns | {"access": Access(columns["access"]), "functions": tuple(columns.get("functions", ()))})
