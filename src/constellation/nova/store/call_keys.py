"""Idempotency keys of calls: each belongs to one call at a time, by lease and fencing token, and keeps its answer.

All times are the database's, so clocks of hosts need not agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from constellation.base.ids import uuid7
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("call_keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """A caller's key, within one function."""

    tenant: str
    namespace: str
    function_name: str
    key: str

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.tenant, self.namespace, self.function_name, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """How the call of a key ended; one of `output` and `error` has bytes, unless they were too many to keep."""

    request_id: UUID
    output: bytes | None
    error: bytes | None
    duration_ms: float
    cold_start: bool
    code_version: str
    is_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The call that a key belongs to."""

    fingerprint: bytes  # SHA-256 of what it asked for
    answer: KeptAnswer | None  # None: it runs


class CallKeys:
    """The table call_keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(self, key: CallKey, fingerprint: bytes, *, lease_s: float, ttl_s: float) -> UUID | None:
        """Take a key for a call; return the token to answer with, or None when another call has the key."""
        async with self._db.transaction() as tx:
            token: UUID | None = await tx.fetch_value(SQL["claim"], *key.columns, fingerprint, uuid7(), lease_s, ttl_s)
            return token

    async def get(self, key: CallKey) -> Holder | None:
        """Return the call that has a key, None when it is free."""
        row = await self._db.fetch_row(SQL["get"], *key.columns)
        if row is None:
            return None
        columns = dict(row)
        fingerprint = columns.pop("fingerprint")
        return Holder(
            fingerprint=fingerprint, answer=KeptAnswer(**columns) if columns["request_id"] is not None else None
        )

    async def answer(self, key: CallKey, token: UUID, answer: KeptAnswer, *, ttl_s: float) -> bool:
        """Keep an answer; False when the key has gone to another call meanwhile, or with its function."""
        async with self._db.transaction() as tx:
            count = await tx.execute(
                SQL["answer"],
                *key.columns,
                token,
                ttl_s,
                answer.request_id,
                answer.output,
                answer.error,
                answer.duration_ms,
                answer.cold_start,
                answer.code_version,
                answer.is_kept,
            )
        return count == 1

    async def release(self, key: CallKey, token: UUID) -> None:
        """Free a key whose call got no answer."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["release"], *key.columns, token)

    async def renew(self, held: Mapping[CallKey, UUID], *, lease_s: float) -> None:
        """Hold keys for another `lease_s` seconds from now."""
        columns = [list(column) for column in zip(*(key.columns for key in held), strict=True)]
        async with self._db.transaction() as tx:
            await tx.execute(SQL["renew"], *columns, list(held.values()), lease_s)

    async def forget(self, *, limit: int) -> int:
        """Delete keys whose time is up, up to `limit`; return how many."""
        async with self._db.transaction() as tx:
            return await tx.execute(SQL["forget"], limit)
