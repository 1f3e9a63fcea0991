"""Counts logins that failed, by account and by address, so that guessing is slow whoever restarts what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from constellation.base.errors import ConstellationError
from constellation.nova.domain.throttle import (
    ACCOUNT,
    ADDRESS,
    FORGET_AFTER,
    Allowance,
    source_of_address,
    wait_s,
)
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("logins")


class TooManyLogins(ConstellationError):
    """Logins of this account, or from this address, failed too often lately."""

    code, http_status, retryable = "too_many_logins", 429, True

    def __init__(self, *, after_s: float) -> None:
        super().__init__(f"too many logins failed: try again in {int(after_s) + 1} s", retry_after_s=int(after_s) + 1)


class Logins:
    """The table login_failures. Each attempt counts as a failure until it succeeded, so many at once do not slip through."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def begin(self, tenant: str, user: str, address: str, *, now: datetime) -> None:
        """Count an attempt.

        Raises:
            TooManyLogins: it is not to be made now; it was not counted.
        """
        await self._begin(_sources(tenant, user, address), now=now)

    async def begin_from(self, address: str, *, now: datetime) -> None:
        """Count an attempt of whoever is at an address; errors as in `begin`."""
        await self._begin((_place(address),), now=now)

    async def _begin(self, sources: Sequence[tuple[Allowance, str, str]], *, now: datetime) -> None:
        async with self._db.transaction() as tx:
            for allowance, *source in sources:
                row = await tx.fetch_row(SQL["read"], *source)
                if row is None:
                    continue
                wait = wait_s(allowance, failures=row["failures"], last_at=row["last_at"], now=now)
                if wait > 0:
                    raise TooManyLogins(after_s=wait)
            for _, *source in sources:
                await tx.execute(SQL["count"], *source, now, now - FORGET_AFTER)
        async with self._db.transaction() as tx:
            await tx.execute(SQL["forget_old"], now - FORGET_AFTER)

    async def succeeded(self, tenant: str, user: str, address: str) -> None:
        """Forget the account's failures, and that this attempt was counted."""
        async with self._db.transaction() as tx:
            (_, *from_where), (_, *account) = _sources(tenant, user, address)
            await tx.execute(SQL["take_back"], *from_where)
            await tx.execute(SQL["forgive"], *account)

    async def succeeded_from(self, address: str) -> None:
        """Forget that this attempt was counted."""
        async with self._db.transaction() as tx:
            _, *from_where = _place(address)
            await tx.execute(SQL["take_back"], *from_where)


def _place(address: str) -> tuple[Allowance, str, str]:
    return ADDRESS, "", f"address:{source_of_address(address)}"


def _sources(tenant: str, user: str, address: str) -> tuple[tuple[Allowance, str, str], ...]:
    """Return the two that an attempt is counted for, always in this order: rows are locked in it."""
    return _place(address), (ACCOUNT, tenant, f"user:{user}")
