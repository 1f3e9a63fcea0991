"""API keys. Only the SHA-256 of a key is ever here."""

from __future__ import annotations

import secrets
import string
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Any

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, VersionConflict
from constellation.nova.domain.access import ApiKey, lowered
from constellation.nova.store.bindings import SQL as BINDINGS
from constellation.nova.store.bindings import hold_role, refuse_without_admin
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("api_keys")

API_KEY_CHARACTERS = 40
ALPHABET = string.ascii_letters + string.digits


class ApiKeys:
    """The table api_keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, key: ApiKey, *, key_hash: bytes) -> ApiKey:
        """Write a new key and return it as it stands.

        Raises:
            AlreadyExists: the tenant has a key of this name.
            NotFound: the tenant does not exist, or has no such role or service account.
        """
        try:
            async with self._db.transaction() as tx:
                if key.role is not None:
                    await hold_role(tx, key.tenant, key.role)
                row = await _insert(tx, key, key_hash)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("api key", key.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            if "service_account" in str(error):
                raise NotFound("service account", key.service_account or "") from error
            raise NotFound("tenant", key.tenant) from error
        return _api_key(row)

    async def get(self, tenant: str, name: str) -> ApiKey:
        """Return a key. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, name)
        if row is None:
            raise NotFound("api key", name)
        return _api_key(row)

    async def try_get_by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Return the key with this SHA-256, enabled or not, expired or not; the caller judges.

        Its rate is what it may do: the lower one of its own and of what its tenant's limits let each key do.
        """
        row = await self._db.fetch_row(SQL["get_by_hash"], key_hash)
        if row is None:
            return None
        key = _api_key({name: value for name, value in row.items() if not name.startswith("most_")})
        return lowered(key, most_per_s=row["most_per_s"], most_burst=row["most_burst"])

    async def list(
        self,
        tenant: str,
        *,
        namespace: str | None = None,
        with_platform: bool = True,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[ApiKey]:
        """Return a tenant's keys by name, with the exact total; those that act in any tenant only when asked for."""
        rows = await self._db.fetch(SQL["list"], tenant, namespace, with_platform, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, namespace, with_platform)
        return Page(items=tuple(map(_api_key, rows)), total=total, has_more=offset + len(rows) < total)

    async def update(self, key: ApiKey) -> ApiKey:
        """Write namespace, role, enabled, expiry and rate over the row that the caller read.

        Raises:
            NotFound: it was deleted, or the tenant has no such role.
            VersionConflict: it was changed since it was read.
            StateConflict: nobody would administer the platform.
        """
        async with self._db.transaction() as tx:
            if key.role is not None:
                await hold_role(tx, key.tenant, key.role)
            row = await tx.fetch_row(
                SQL["update"],
                key.tenant,
                key.name,
                key.namespace,
                key.role,
                key.enabled,
                key.expires_at,
                key.rate_per_s,
                key.burst,
                key.version,
            )
            if row is None:
                if await tx.fetch_row(SQL["get"], key.tenant, key.name) is None:
                    raise NotFound("api key", key.name)
                raise VersionConflict("api key", key.name)
            if key.is_platform:
                await refuse_without_admin(tx, "api key", key.name)
        return _api_key(row)

    async def rotate(self, tenant: str, name: str, *, key_hash: bytes) -> ApiKey:
        """Put another key under a name; the one before is good for nothing from now on. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["set_hash"], tenant, name, key_hash):
                raise NotFound("api key", name)
        return await self.get(tenant, name)

    async def used(self, key: ApiKey, *, now: datetime) -> None:
        """Keep when a key was used; most calls of this in a minute write nothing."""
        with suppress(asyncpg.ForeignKeyViolationError):  # deleted meanwhile
            async with self._db.transaction() as tx:
                await tx.execute(SQL["used"], key.tenant, key.name, now)

    async def delete(self, tenant: str, name: str) -> None:
        """Delete a key with its bindings.

        Raises:
            NotFound: the tenant has no such key.
            StateConflict: nobody would administer the platform.
        """
        async with self._db.transaction() as tx:
            was_platforms: bool | None = await tx.fetch_value(SQL["delete"], tenant, name)
            if was_platforms is None:
                raise NotFound("api key", name)
            if was_platforms:
                await tx.execute(BINDINGS["delete_of"], tenant, f"platform-key:{name}")
            else:
                await tx.execute(BINDINGS["delete_of"], tenant, f"apikey:{name}")
            if was_platforms:
                await refuse_without_admin(tx, "api key", name)


def new_api_key() -> str:
    """Return a fresh API key: `sk_` and 40 random letters and digits, 238 bits."""
    return "sk_" + "".join(secrets.choice(ALPHABET) for _ in range(API_KEY_CHARACTERS))


def hash_api_key(key: str) -> bytes:
    """Return what is stored of a key. No salt: a key is random and long, and is looked up by this."""
    return sha256(key.encode()).digest()


async def insert_first(tx: Session, key: ApiKey, *, key_hash: bytes) -> bool:
    """Write a key when there is none at all, in a transaction of the caller's; return whether there was none.

    Until that transaction ends nobody else writes keys.
    """
    await tx.execute(SQL["lock"])
    if await tx.fetch_value(SQL["exists"]):
        return False
    await _insert(tx, key, key_hash)
    return True


async def _insert(tx: Session, key: ApiKey, key_hash: bytes) -> Record:
    row = await tx.fetch_row(
        SQL["insert"],
        key.tenant,
        key.namespace,
        key.name,
        key_hash,
        key.role,
        key.is_platform,
        key.enabled,
        key.expires_at,
        key.rate_per_s,
        key.burst,
        key.service_account,
    )
    assert row is not None
    return row


def _api_key(row: Record | dict[str, Any]) -> ApiKey:
    return ApiKey(**row)
