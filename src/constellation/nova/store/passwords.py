"""Passwords: argon2id, off the loop, a few at a time."""

from __future__ import annotations

import secrets

import anyio
from anyio import to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from constellation.base.errors import Overloaded

# The least that OWASP's password storage cheat sheet asks of argon2id: 19 MiB, two passes, one lane.
_TIME_COST, _MEMORY_KIB, _LANES = 2, 19_456, 1
_AT_ONCE = 2  # chosen: 38 MiB, and never both cores of a small host for long
_IN_LINE = 64  # chosen: some two seconds of work


class Passwords:
    """Hashes and checks passwords; who comes when too many wait is told to come again."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """Return what may be stored of a password. Raises `Overloaded`."""
        return await self._run(password, None)

    async def is_right(self, password: str, stored: str | None) -> bool:
        """Tell whether a password is the one that was hashed; for nobody's (None) it takes as long. Raises `Overloaded`."""
        if stored is None:
            if self._nobodys is None:
                self._nobodys = await self.hash(secrets.token_urlsafe())
            await self._run(password, self._nobodys)
            return False
        return bool(await self._run(password, stored))

    def is_weak(self, stored: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    async def _run(self, password: str, stored: str | None) -> str:
        if self._waiting >= _IN_LINE:
            raise Overloaded("passwords to check", limit=_IN_LINE)
        self._waiting += 1
        try:
            return await to_thread.run_sync(self._work, password, stored, limiter=self._limiter)
        finally:
            self._waiting -= 1

    def _work(self, password: str, stored: str | None) -> str:
        """Return the hash; or, with a stored one, that when it fits and "" when it does not."""
        if stored is None:
            return self._hasher.hash(password)
        try:
            self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return ""
        return stored
