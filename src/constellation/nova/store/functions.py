"""Functions and their code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import UUID

import asyncpg
import msgspec

from constellation.base.errors import AlreadyExists, NotFound, VersionConflict
from constellation.nova.domain.access import Limit
from constellation.nova.domain.build import BuildOutline
from constellation.nova.domain.function import Code, Function, PendingCode, SourceFile, code_hash
from constellation.nova.domain.globs import expression
from constellation.nova.store import builds
from constellation.nova.store.bell import Bell
from constellation.nova.store.function_rows import (
    build_outline,
    destinations_of,
    function_of,
    pending_columns,
    settings_of,
)
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load
from constellation.nova.store.ties import tied

SQL = load("functions")
VERSIONS = load("versions")

# Code that no version is made of, since its build failed or newer code overtook it, stays for a look at its build.
KEPT_UNUSED_CODE = 10  # chosen: of the newest


class Functions:
    """The tables functions, function_code, function_files and function_search; code that must be built goes in line with them."""

    def __init__(
        self, db: Database, *, build_queue_depth: Callable[[str], int] = lambda _tenant: builds.QUEUE_DEPTH
    ) -> None:
        self._db, self._build_queue_depth = db, build_queue_depth
        self._builders = Bell(db, builds.CHANNEL)

    async def create(self, function: Function, files: Mapping[str, bytes], *, needs_build: bool = False) -> Function:
        """Write a new function with version 1 of its code and return it as it stands.

        `code_version`, `code_hash`, `pending`, the numbers of versions and the times of `function` are not read.

        Args:
            needs_build: the code is not live before it is built.

        Raises:
            AlreadyExists: the name is taken in this scope.
            NotFound: the namespace does not exist.
            SecretUnknown: a variable stands for a secret that does not exist.
            LayerUnknown, VolumeUnknown: it uses a layer or a volume that does not exist.
            VolumeTaken: a volume is for one function, and another has it.
            BuildQueueFull: too many builds are in line.
        """
        try:
            async with tied(), self._db.transaction() as tx:
                row = await _insert(tx, function, files, needs_build=needs_build)
                if needs_build:
                    await self._enqueue(tx, function, version=1, digest=code_hash(files))
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("function", function.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("namespace", f"{function.tenant}/{function.namespace}") from error
        if needs_build:
            await self._builders.ring()
        return function_of(row)

    async def get(self, tenant: str, namespace: str, name: str) -> Function:
        """Return a function. Raises `NotFound`."""
        function = await self.try_get(tenant, namespace, name)
        if function is None:
            raise NotFound("function", name)
        return function

    async def try_get(self, tenant: str, namespace: str, name: str) -> Function | None:
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name)
        return None if row is None else function_of(row)

    async def show(self, tenant: str, namespace: str, name: str) -> tuple[Function, BuildOutline | None]:
        """Return a function, without who may call it, and its newest build, if it has one. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["show"], tenant, namespace, name)
        if row is None:
            raise NotFound("function", name)
        return function_of(row), build_outline(row)

    async def list(
        self,
        tenant: str,
        namespace: str,
        *,
        search: str | None = None,
        runtime: str | None = None,
        tag: tuple[str, str | None] | None = None,
        visible: Limit | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[Function]:
        """Return functions by name, with the exact total; what is found by words or a tag is counted up to 10,000.

        Args:
            search: beginnings of words, all of which are found in a function: in its name, description, tags, docs or
                source, letter case aside.
            tag: a key, and the value that it must have, or None for any.
            visible: which of them are listed; None: all.
        """
        only = None if visible is None else [expression(pattern) for pattern in visible.only]
        never = None if visible is None else [expression(pattern) for pattern in visible.never]
        wanted = (tenant, namespace, runtime, only, never)
        if search is not None or tag is not None:
            return await self._found(*wanted, search, *(tag or (None, None)), limit=limit, offset=offset)
        window = (tenant, namespace, only, never, limit, offset)
        rows = await (
            self._db.fetch(SQL["list"], *window)
            if runtime is None
            else self._db.fetch(SQL["list_runtime"], *window, runtime)
        )
        total: int = await (
            self._db.fetch_value(SQL["count"], tenant, namespace, runtime)
            if visible is None
            else self._db.fetch_value(SQL["count_fitting"], *wanted)
        )
        return Page(items=tuple(map(function_of, rows)), total=total, has_more=offset + len(rows) < total)

    async def _found(self, *wanted: object, limit: int, offset: int) -> Page[Function]:
        found = await self._db.fetch(SQL["search"], *wanted, limit, offset, COUNT_LIMIT + 1)
        total: int = found[0]["total"]
        rows = [row for row in found if row["name"] is not None]
        if total > COUNT_LIMIT:
            rows = await self._db.fetch(SQL["search_many"], *wanted, limit, offset)
        return Page(
            items=tuple(map(function_of, rows)),
            total=max(min(total, COUNT_LIMIT), offset + len(rows) if rows else 0),
            total_is_exact=total <= COUNT_LIMIT,
            has_more=offset + len(rows) < total,
        )

    async def list_kept_warm(self) -> tuple[Function, ...]:
        """Return the functions of every tenant whose `min_replicas` is above 0."""
        return tuple(map(function_of, await self._db.fetch(SQL["list_kept_warm"])))

    async def list_runtimes(self) -> tuple[str, ...]:
        """Return the runtimes that some function of some tenant uses."""
        return tuple(row["runtime"] for row in await self._db.fetch(SQL["list_runtimes"]))

    async def update(
        self,
        function: Function,
        *,
        files: Mapping[str, bytes] | None = None,
        needs_build: bool = False,
        is_anew: bool = False,
    ) -> Function:
        """Write a function's settings, and with `files` new code, over the row that the caller read.

        New code gets the next code version; files equal to those deployed last do not, unless they must be built for
        another handler. Versions that the function does not keep go, and the code that only they were made of.

        Args:
            function: as it was read, with changed settings; its `version` says which row was read, and its
                `code_version`, `code_hash` and `pending` are those of that row.
            files: all files of the new code, or None to leave the code.
            needs_build: with `files`: until they are built the live code stays, and with it the live handler.
            is_anew: with `files`: also equal ones are new code, since what they name may have changed.

        Raises:
            NotFound: it was deleted.
            VersionConflict: it was changed since it was read.
            SecretUnknown, LayerUnknown, VolumeUnknown, VolumeTaken: as `create`.
            BuildQueueFull: too many builds are in line.
        """
        written = "" if files is None else code_hash(files)
        is_new_code = files is not None and (
            is_anew
            or written != function.deployed_hash
            or (needs_build and function.handler != function.deployed_handler)
        )
        code_version, digest, pending = function.code_version, function.code_hash, function.pending
        version = function.newest_code_version + 1
        if files is not None and is_new_code:
            if needs_build:
                pending = PendingCode(version=version, hash=written, handler=function.handler)
            else:
                code_version, digest, pending = version, written, None
        is_superseding = False
        async with tied(), self._db.transaction() as tx:
            row = await self._write(tx, function, code_version, digest, pending, keeps_handler=needs_build)
            if files is not None and is_new_code:
                await _write_code(tx, function, version=version, digest=written, files=files)
                is_superseding = await builds.supersede(
                    tx, function.tenant, function.id, reason=f"superseded by version {version}"
                )
                if needs_build:
                    await self._enqueue(tx, function, version=version, digest=written)
            await _forget(tx, function, newest_code=row["newest_code_version"])
            await tx.execute(SQL["index"], *function.key)
        if is_superseding or (is_new_code and needs_build):
            await self._builders.ring()
        return function_of(row)

    async def _write(
        self,
        tx: Session,
        function: Function,
        code_version: int,
        digest: str,
        pending: PendingCode | None,
        *,
        keeps_handler: bool = False,
    ) -> Record:
        row = await tx.fetch_row(
            SQL["update"],
            *function.key,
            function.id,
            *settings_of(function),
            function.version,
            code_version,
            digest,
            *pending_columns(pending),
            keeps_handler,
            function.kept_versions,
            function.live_version,
            msgspec.json.encode(function.tags).decode(),
            [str(pin) for pin in function.layers],
            msgspec.json.encode(function.mounts).decode(),
            *destinations_of(function),
        )
        if row is None:
            current = await tx.fetch_row(SQL["get"], *function.key)
            if current is None or current["id"] != function.id:
                raise NotFound("function", function.name)
            raise VersionConflict("function", function.name)
        return row

    async def _enqueue(self, tx: Session, function: Function, *, version: int, digest: str) -> None:
        await builds.enqueue(
            tx,
            function.key,
            function.id,
            code=(version, digest),
            runtime=function.runtime,
            handler=function.handler,
            queue_depth=self._build_queue_depth(function.tenant),
        )

    async def activate(self, function: Function, was: Function) -> Function:
        """Make a function what one of its versions was; code that waits for its build is given up.

        Args:
            function: as it was read.
            was: as the version has it, with its number as `live_version`.

        Raises:
            NotFound: it was deleted.
            VersionConflict: it was changed since it was read.
            SecretUnknown: it refers to a secret that was deleted since.
        """
        async with tied(), self._db.transaction() as tx:
            row = await self._write(tx, replace(was, version=function.version), was.code_version, was.code_hash, None)
            is_superseding = await builds.supersede(
                tx, function.tenant, function.id, reason=f"version {was.live_version} was made live"
            )
            await tx.execute(SQL["index"], *function.key)
        if is_superseding:
            await self._builders.ring()
        return function_of(row)

    async def delete(self, tenant: str, namespace: str, name: str, *, read: Function | None = None) -> None:
        """Delete a function with its code, versions, schedules, live jobs and idempotency keys.

        Args:
            read: delete it only as it was read.

        Raises:
            NotFound: there is no such function.
            VersionConflict: it was changed since it was read.
        """
        condition = (None, None) if read is None else (read.id, read.version)
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], tenant, namespace, name, *condition):
                if await tx.fetch_row(SQL["get"], tenant, namespace, name) is not None:
                    raise VersionConflict("function", name)
                raise NotFound("function", name)
            await tx.execute(SQL["delete_jobs"], tenant, namespace, name)
            await tx.execute(SQL["delete_job_keys"], tenant, namespace, name)
            await tx.execute(SQL["delete_job_pause"], tenant, namespace, name)
            await tx.execute(SQL["delete_call_keys"], tenant, namespace, name)

    async def files(self, function: Function, *, limit: int = 100, offset: int = 0) -> Page[SourceFile]:
        """Return the files of the code that was deployed last, by path, with the exact total."""
        code = (function.tenant, function.id, function.deployed_version)
        rows = await self._db.fetch(SQL["list_files"], *code, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_files"], *code)
        files = tuple(SourceFile(**dict(row)) for row in rows)
        return Page(items=files, total=total, has_more=offset + len(rows) < total)

    async def code(self, tenant: str, function_id: UUID, version: int, *, is_source_wanted: bool = False) -> Code:
        """Return one version of a function's code as it runs, all files of it; those of a built version lie elsewhere.

        Args:
            is_source_wanted: return the sources of a built version too.

        Raises:
            NotFound: there is no such version.
        """
        row = await self._db.fetch_row(SQL["get_code"], tenant, function_id, version)
        if row is None:
            raise NotFound("code version", str(version))
        is_read = is_source_wanted or row["artifact"] is None
        files = await self._db.fetch(SQL["get_files"], tenant, function_id, version) if is_read else []
        return Code(
            function_id=function_id,
            version=version,
            hash=row["hash"],
            files={file["path"]: file["content"] for file in files},
            artifact=row["artifact"],
        )


async def plant(tx: Session, function: Function, files: Mapping[str, bytes]) -> None:
    """Write a new function in a transaction of the caller's, unless its name is taken."""
    if await tx.fetch_row(SQL["get"], *function.key) is None:
        await _insert(tx, function, files)


async def _insert(tx: Session, function: Function, files: Mapping[str, bytes], *, needs_build: bool = False) -> Record:
    digest = code_hash(files)
    pending = PendingCode(version=1, hash=digest, handler=function.handler) if needs_build else None
    live = (0, "") if needs_build else (1, digest)
    row = await tx.fetch_row(
        SQL["insert"],
        *function.key,
        function.id,
        *settings_of(function),
        *live,
        *pending_columns(pending),
        function.kept_versions,
        msgspec.json.encode(function.tags).decode(),
        [str(pin) for pin in function.layers],
        msgspec.json.encode(function.mounts).decode(),
        *destinations_of(function),
    )
    assert row is not None
    await _write_code(tx, function, version=1, digest=digest, files=files)
    await tx.execute(SQL["index"], *function.key)
    return row


async def _write_code(
    tx: Session, function: Function, *, version: int, digest: str, files: Mapping[str, bytes]
) -> None:
    size_bytes = sum(map(len, files.values()))
    await tx.execute(SQL["insert_code"], function.tenant, function.id, version, digest, size_bytes)
    await tx.execute(SQL["insert_files"], function.tenant, function.id, version, list(files), list(files.values()))


async def _forget(tx: Session, function: Function, *, newest_code: int) -> None:
    """Drop the versions that a function keeps no longer, then the code that nothing is made of."""
    await tx.execute(VERSIONS["forget_old"], function.tenant, function.id)
    await tx.execute(SQL["forget_old_code"], function.tenant, function.id, newest_code - KEPT_UNUSED_CODE)
