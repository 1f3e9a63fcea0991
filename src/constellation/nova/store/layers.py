"""Layers, their versions, and what these hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from constellation.base.errors import NotFound
from constellation.nova.domain.layer import Layer, LayerInUse
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("layers")
SHOWN_USERS = 20  # chosen: enough to see who uses a layer; the count tells the rest
USES = "function_layers_layer"  # the constraint that ties functions to their layers


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUser:
    """A function, or a version of it that is kept, and what it uses of a layer."""

    namespace: str
    name: str
    function_version: int  # 0: the function as it is
    layer_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFile:
    path: str
    size_bytes: int


class Layers:
    """The tables layers, layer_versions, layer_contents and layer_files."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def publish(
        self,
        tenant: str,
        name: str,
        files: Mapping[str, bytes],
        *,
        digest: str,
        description: str,
        runtimes: Sequence[str],
    ) -> tuple[Layer, bool]:
        """Write a new version and return it, and whether it is new: what equals the newest one is that one.

        Args:
            digest: the `code_hash` of the files.
        """
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["serialize"], tenant)
            newest = await tx.fetch_row(SQL["newest"], tenant, name)
            if newest is not None:
                was = _layer(newest)
                if (was.hash, was.description, was.runtimes) == (digest, description, tuple(runtimes)):
                    return was, False
            number = await tx.fetch_value(SQL["begin"], tenant, name)
            size_bytes = sum(map(len, files.values()))
            if await tx.execute(SQL["insert_content"], tenant, digest, size_bytes, len(files)):
                await tx.execute(SQL["insert_files"], tenant, digest, list(files), list(files.values()))
            await tx.execute(SQL["insert_version"], tenant, name, number, digest, description, list(runtimes))
        return await self.get(tenant, name, number), True

    async def get(self, tenant: str, name: str, version: int | None = None) -> Layer:
        """Return a version, or the newest. Raises `NotFound`."""
        found = await self.try_get(tenant, name, version)
        if found is None:
            raise NotFound("layer", name if version is None else f"{name}:{version}")
        return found

    async def try_get(self, tenant: str, name: str, version: int | None = None) -> Layer | None:
        if version is None:
            row = await self._db.fetch_row(SQL["newest"], tenant, name)
        else:
            row = await self._db.fetch_row(SQL["get"], tenant, name, version)
        return None if row is None else _layer(row)

    async def list(
        self, tenant: str, *, search: str | None = None, runtime: str | None = None, limit: int = 100, offset: int = 0
    ) -> Page[Layer]:
        """Return the newest version of each layer by name, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, search, runtime, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, search, runtime)
        return Page(items=tuple(map(_layer, rows)), total=total, has_more=offset + len(rows) < total)

    async def versions(self, tenant: str, name: str, *, limit: int = 100, offset: int = 0) -> Page[Layer]:
        """Return the versions of a layer, newest first, with the exact total."""
        rows = await self._db.fetch(SQL["versions"], tenant, name, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_versions"], tenant, name)
        return Page(items=tuple(map(_layer, rows)), total=total, has_more=offset + len(rows) < total)

    async def files(self, layer: Layer, *, limit: int = 100, offset: int = 0) -> Page[LayerFile]:
        """Return the files of a version by path."""
        rows = await self._db.fetch(SQL["paths"], layer.tenant, layer.hash, limit, offset)
        items = tuple(LayerFile(**row) for row in rows)
        return Page(items=items, total=layer.files_count, has_more=offset + len(rows) < layer.files_count)

    async def users(
        self, tenant: str, name: str, version: int | None = None, *, limit: int = SHOWN_USERS, offset: int = 0
    ) -> Page[LayerUser]:
        """Return the functions, and the versions of them that are kept, that use a layer."""
        rows = await self._db.fetch(SQL["users"], tenant, name, version, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_users"], tenant, name, version)
        items = tuple(LayerUser(**row) for row in rows)
        return Page(items=items, total=total, has_more=offset + len(rows) < total)

    async def delete(self, tenant: str, name: str, version: int | None = None) -> None:
        """Delete a layer, or one version of it, that nothing uses; what nobody else holds goes with it.

        Raises:
            LayerInUse: something uses it.
            NotFound: there is no such layer.
        """
        shown = name if version is None else f"{name}:{version}"
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["serialize"], tenant)
                if version is None:
                    done = await tx.execute(SQL["delete"], tenant, name)
                else:
                    done = await tx.execute(SQL["delete_version"], tenant, name, version)
                if not done:
                    raise NotFound("layer", shown)
                await tx.execute(SQL["forget"], tenant)
        except asyncpg.ForeignKeyViolationError as error:
            used = await self.users(tenant, name, version)
            raise LayerInUse(shown, users=[_told(each) for each in used.items], count=used.total) from error

    async def content(self, tenant: str, digest: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield path and content of each file, one at a time. Raises `NotFound`."""
        # Sorted here: the database's order of texts is another than that of the hash
        paths = sorted(row["path"] for row in await self._db.fetch(SQL["all_paths"], tenant, digest))
        if not paths:
            raise NotFound("layer", digest)
        for path in paths:
            content: bytes | None = await self._db.fetch_value(SQL["content"], tenant, digest, path)
            if content is None:
                raise NotFound("layer", digest)
            yield path, content


def _layer(row: Record) -> Layer:
    columns = dict(row)
    return Layer(**columns | {"runtimes": tuple(columns["runtimes"])})


def _told(user: LayerUser) -> str:
    name = f"{user.namespace}/{user.name}"
    return name if user.function_version == 0 else f"{name} version {user.function_version}"
