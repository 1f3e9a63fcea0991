"""Secrets as they are sealed, and the master keys that there have been. No value is ever here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, StateConflict
from constellation.nova.domain.database import DATABASE_PLACE
from constellation.nova.domain.secret import Sealed, Secret, SecretInUse
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("secrets")
SHOWN_FUNCTIONS = 20  # chosen: enough to see who uses a secret; the count tells the rest
USES = ("function_secrets_secret", "version_secrets_secret")  # tie functions and their versions to their secrets
ADMINISTERS = "databases_admin_secret"  # and the one that ties databases to theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKey:
    """One row of `master_keys`."""

    version: int
    fingerprint: bytes
    created_at: datetime
    secrets_count: int  # that it has sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """A secret, or the password of a database, whose key an older master key has sealed."""

    place: tuple[str, str, str]  # tenant, namespace, name
    version: int
    sealed: Sealed  # without its value


class Secrets:
    """The tables secrets and master_keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, tenant: str, namespace: str, name: str, sealed: Sealed) -> Secret:
        """Write a new secret and return it as it stands.

        Raises:
            AlreadyExists: the name is taken in this scope.
            NotFound: the namespace does not exist.
        """
        try:
            await self._write("insert", tenant, namespace, name, sealed)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("secret", name) from error
        return await self.get(tenant, namespace, name)

    async def put(self, tenant: str, namespace: str, name: str, sealed: Sealed) -> Secret:
        """Write a secret, or its new value, and return it. Raises `NotFound`: the namespace does not exist."""
        await self._write("put", tenant, namespace, name, sealed)
        return await self.get(tenant, namespace, name)

    async def _write(self, how: str, tenant: str, namespace: str, name: str, sealed: Sealed) -> None:
        try:
            async with self._db.transaction() as tx:
                await tx.execute(SQL[how], tenant, namespace, name, sealed.key_version, sealed.key, sealed.value)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("namespace", f"{tenant}/{namespace}") from error

    async def get(self, tenant: str, namespace: str, name: str) -> Secret:
        """Return a secret. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name, SHOWN_FUNCTIONS)
        if row is None:
            raise NotFound("secret", name)
        return _secret(row)

    async def list(
        self, tenant: str, namespace: str, *, search: str | None = None, limit: int = 100, offset: int = 0
    ) -> Page[Secret]:
        """Return secrets by name, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, namespace, search, SHOWN_FUNCTIONS, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, namespace, search)
        return Page(items=tuple(map(_secret, rows)), total=total, has_more=offset + len(rows) < total)

    async def missing(self, tenant: str, namespace: str, names: Iterable[str]) -> frozenset[str]:
        """Return which of the names are no secrets of the scope."""
        wanted = frozenset(names)
        found = await self._db.fetch(SQL["names"], tenant, namespace, sorted(wanted))
        return wanted - {row["name"] for row in found}

    async def sealed(self, tenant: str, namespace: str, names: Collection[str]) -> Mapping[str, Sealed]:
        """Return what is stored of some secrets by name. Raises `NotFound` for the first that does not exist."""
        found = {
            row["name"]: _sealed(row, row["sealed_value"])
            for row in await self._db.fetch(SQL["sealed"], tenant, namespace, list(names))
        }
        for name in names:
            if name not in found:
                raise NotFound("secret", name)
        return found

    async def delete(self, tenant: str, namespace: str, name: str) -> None:
        """Delete a secret that no function uses, nor any version that is kept of one.

        Raises:
            SecretInUse: one does.
            StateConflict: a database does.
            NotFound: there is no such secret.
        """
        try:
            async with self._db.transaction() as tx:
                if not await tx.execute(SQL["delete"], tenant, namespace, name):
                    raise NotFound("secret", name)
        except asyncpg.ForeignKeyViolationError as error:
            if error.constraint_name == ADMINISTERS:
                raise StateConflict(
                    "secret", name, state="the address of a database's server", wanted="unused"
                ) from error
            used = await self.get(tenant, namespace, name)
            older = await self._db.fetch(SQL["versions_using"], tenant, namespace, name, SHOWN_FUNCTIONS)
            raise SecretInUse(
                name,
                functions=used.functions,
                functions_count=used.functions_count,
                versions=tuple(row["version"] for row in older),
                versions_count=older[0]["count"] if older else 0,
            ) from error

    async def outdated(self, *, newest: int, readable: Collection[int], limit: int) -> tuple[Outdated, ...]:
        """Return some secrets that one of the `readable` master keys sealed, and not the newest."""
        rows = await self._db.fetch(SQL["outdated"], newest, list(readable), limit)
        return tuple(
            Outdated(
                place=(row["tenant"], row["namespace"], row["name"]), version=row["version"], sealed=_sealed(row, b"")
            )
            for row in rows
        )

    async def reseal(self, renewed: Iterable[tuple[Outdated, Sealed]]) -> None:
        """Write secrets' keys under another master key; one whose value was set meanwhile stays as it is."""
        async with self._db.transaction() as tx:
            for old, new in renewed:
                tenant, namespace, name = old.place
                database = name.removeprefix(DATABASE_PLACE)
                if database != name:
                    await tx.execute(
                        SQL["reseal_database"], tenant, namespace, database, new.key_version, new.key,
                        old.sealed.key_version,
                    )  # fmt: skip
                    continue
                await tx.execute(
                    SQL["reseal"], *old.place, old.version, new.key_version, new.key, old.sealed.key_version
                )

    async def sealed_settings(self, keys: Collection[str]) -> Mapping[str, str]:
        """Return the platform's settings of these that are set, as they are sealed."""
        return {row["key"]: row["value"] for row in await self._db.fetch(SQL["sealed_settings"], list(keys))}

    async def reseal_setting(self, key: str, old: str, new: str) -> int:
        """Write a setting under another master key; 0 when it was set anew meanwhile."""
        async with self._db.transaction() as tx:
            return await tx.execute(SQL["reseal_setting"], key, old, new)

    async def master_keys(self) -> tuple[MasterKey, ...]:
        """Return the master keys that there have been, the newest first."""
        return tuple(MasterKey(**row) for row in await self._db.fetch(SQL["master_keys"]))

    async def note_master_keys(self, fingerprints: Mapping[int, bytes]) -> None:
        """Remember which keys are in use; those that are known stay as they are."""
        async with self._db.transaction() as tx:
            for version, known_by in fingerprints.items():
                await tx.execute(SQL["insert_master_key"], version, known_by)


def _secret(row: Record) -> Secret:
    columns = dict(row)
    return Secret(**columns | {"functions": tuple(columns["functions"])})


def _sealed(row: Record, value: bytes) -> Sealed:
    return Sealed(key_version=row["key_version"], key=row["sealed_key"], value=value)
