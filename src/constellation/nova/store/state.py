"""Key-value stores: one of each function, and shared ones of a namespace. Values are JSON, versions only grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from constellation.base.errors import ConstellationError, InvalidRequest, NotFound, VersionConflict
from constellation.nova.domain.names import check_function_name
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("state")

MAX_KEY_BYTES, MAX_VALUE_BYTES = 512, 256 << 10  # as the table's constraints
MAX_TTL_S = 10 * 366 * 86_400.0  # chosen: longer is for ever
_NO_VERSION = 0  # what a key that is not there is said to have


class StateFull(ConstellationError):
    """The store has as many keys as it may."""

    code, http_status = "state_full", 409

    def __init__(self, store: str, *, limit: int) -> None:
        super().__init__(f"store {store} has {limit} keys, as many as it may", extras={"limit": limit})


class StateValueTooLarge(ConstellationError):
    """A value above its bound."""

    code, http_status = "value_too_large", 413

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"the value has {size_bytes} bytes of JSON, at most {MAX_VALUE_BYTES} are kept",
            extras={"limit_bytes": MAX_VALUE_BYTES},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Whose keys: a function's, or those shared under a name in the namespace."""

    tenant: str
    namespace: str
    name: str
    is_shared: bool = False

    @property
    def key(self) -> tuple[str, str, bool, str]:
        return (self.tenant, self.namespace, self.is_shared, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEntry:
    """A key as it is read back; in a list without its value."""

    key: str
    version: int
    size_bytes: int
    expires_at: datetime | None
    updated_at: datetime
    value: bytes | None = None  # JSON


class State:
    """The table function_state. Every question names its store."""

    def __init__(self, db: Database, *, max_keys: Callable[[str], int]) -> None:
        """Keep at most `max_keys` of a tenant in one store."""
        self._db, self._max_keys = db, max_keys

    async def get(self, store: Store, key: str) -> StateEntry | None:
        """Return a key, or None when it is not there or past its time."""
        _check_key(key)
        row = await self._db.fetch_row(SQL["get"], *store.key, key)
        return None if row is None else _entry(row, row["value"])

    async def put(
        self, store: Store, key: str, value: bytes, *, ttl_s: float | None = None, if_version: int | None = None
    ) -> int:
        """Keep a value and return its version.

        Args:
            ttl_s: it is gone after so many seconds; None: it stays.
            if_version: the version that the key must have; 0: it must not be there.

        Raises:
            VersionConflict, StateFull, StateValueTooLarge
            InvalidRequest: the key or the time is out of range.
            NotFound: the function, or the namespace, is deleted.
        """
        _check_key(key)
        if len(value) > MAX_VALUE_BYTES:
            raise StateValueTooLarge(len(value))
        if ttl_s is not None and not 0 < ttl_s <= MAX_TTL_S:
            raise InvalidRequest(f"ttl_s must be above 0 and at most {MAX_TTL_S:.0f}", field="ttl_s")
        place = (*store.key, key)
        async with self._db.transaction() as tx:
            version: int | None = None
            if if_version != _NO_VERSION:
                version = await tx.fetch_value(SQL["change"], *place, value, ttl_s, if_version)
            if version is None and not if_version:
                await tx.fetch_value(SQL["lock"], *store.key)
                limit = self._max_keys(store.tenant)
                if await tx.fetch_value(SQL["count"], *store.key, "", limit) >= limit:
                    raise StateFull(store.name, limit=limit)
                try:
                    version = await tx.fetch_value(SQL["add"], *place, value, ttl_s)
                    if version is None and if_version is None:  # it came before we had the lock
                        version = await tx.fetch_value(SQL["change"], *place, value, ttl_s, None)
                except asyncpg.ForeignKeyViolationError as error:
                    raise NotFound("namespace" if store.is_shared else "function", store.name) from error
            if version is None:
                await self._refuse(store, key)
            assert version is not None
        return version

    async def delete(self, store: Store, key: str, *, if_version: int | None = None) -> bool:
        """Delete a key; False when it was not there.

        Raises:
            VersionConflict: it is there with another version.
        """
        _check_key(key)
        async with self._db.transaction() as tx:
            if await tx.fetch_value(SQL["delete"], *store.key, key, if_version) is not None:
                return True
        if if_version:
            await self._refuse(store, key)
        return False

    async def list(
        self, store: Store, *, prefix: str = "", after: str = "", limit: int = 100, offset: int = 0
    ) -> Page[StateEntry]:
        """Return keys that begin with a prefix, in byte order, without their values."""
        for text in (prefix, after):
            if text:
                _check_key(text)
        rows = await self._db.fetch(SQL["list"], *store.key, prefix, after, limit + 1, offset)
        total: int = await self._db.fetch_value(SQL["count"], *store.key, prefix, COUNT_LIMIT + 1)
        return Page(
            items=tuple(_entry(row) for row in rows[:limit]),
            total=min(total, COUNT_LIMIT),
            total_is_exact=total <= COUNT_LIMIT,
            has_more=len(rows) > limit,
        )

    async def _refuse(self, store: Store, key: str) -> None:
        found = await self.get(store, key)
        raise VersionConflict("key", key[:128], found=found.version if found is not None else 0)


def check_store_name(name: str) -> str:
    """Return the name of a shared store, which is like a function's. Raises `InvalidRequest`."""
    return check_function_name(name)


def _check_key(key: str) -> None:
    size = len(key.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_KEY_BYTES or "\0" in key or not key.isprintable():
        raise InvalidRequest(f"a key is 1 to {MAX_KEY_BYTES} bytes of printable text", field="key")


def _entry(row: Record, value: bytes | None = None) -> StateEntry:
    return StateEntry(
        key=row["key"],
        version=row["version"],
        size_bytes=row["size_bytes"],
        expires_at=row["expires_at"],
        updated_at=row["updated_at"],
        value=value,
    )
