"""What builds made: packed trees, kept in parts so that no message to the database is large."""

from __future__ import annotations

from collections.abc import AsyncIterator

from constellation.base.errors import NotFound
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("artifacts")

PART_BYTES = 1 << 20


class Artifacts:
    """The tables artifacts and artifact_parts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def touch(self, tenant: str, digest: str) -> bool:
        """Keep an artifact from being forgotten for a while; False when it is not there."""
        async with self._db.transaction() as tx:
            return bool(await tx.execute(SQL["touch"], tenant, digest))

    async def put(self, tenant: str, digest: str, parts: AsyncIterator[bytes], *, size_bytes: int) -> None:
        """Keep a packed tree under the hash of its contents; one that is there already is left as it is.

        Args:
            parts: of `PART_BYTES` each but the last, `size_bytes` in all; not read when it is there.
        """
        async with self._db.transaction() as tx:
            if await tx.execute(SQL["touch"], tenant, digest):
                return
            count = -(-size_bytes // PART_BYTES)
            if not await tx.execute(SQL["insert"], tenant, digest, size_bytes, count):
                return  # somebody's commit came first
            number = 0
            async for part in parts:
                await tx.execute(SQL["insert_part"], tenant, digest, number, part)
                number += 1
            assert number == count, f"{number} parts of {size_bytes} bytes"

    async def parts(self, tenant: str, digest: str) -> AsyncIterator[bytes]:
        """Yield a packed tree part by part. Raises `NotFound`."""
        count = await self._db.fetch_value(SQL["count_parts"], tenant, digest)
        if count is None:
            raise NotFound("artifact", digest)
        for number in range(count):
            part: bytes | None = await self._db.fetch_value(SQL["get_part"], tenant, digest, number)
            if part is None:
                raise NotFound("artifact", digest)
            yield part
