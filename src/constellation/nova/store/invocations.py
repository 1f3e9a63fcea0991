"""The invocation log: written in batches, read by scope, newest first, and followed as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from constellation.base.errors import NotFound
from constellation.nova.domain.invocation import InvocationRecord
from constellation.nova.store.bell import Bell
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load
from constellation.nova.store.rows import COLUMNS

SQL = load("invocations")

CHANNEL = "invocations"  # notified after each batch

# A batch is stamped when its transaction begins and seen when it ends, some milliseconds later; chosen: three
# seconds outlast a stalled disk. A follower misses a batch that takes longer, the log does not.
OVERLAP = timedelta(seconds=3)
FOLLOW_BATCH = 1000
SEARCHED = 100_000  # chosen: texts that one search looks into; about a fifth of a second of the database
_FIRST = UUID(int=0)


class Invocations:
    """The table invocations."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, CHANNEL)

    async def record(self, records: Sequence[InvocationRecord]) -> None:
        """Write a batch in one commit. A batch that may have been written can be written again."""
        if not records:
            return
        columns = (
            [record.tenant for record in records],
            [record.namespace for record in records],
            [record.id for record in records],
            [record.function_id for record in records],
            [record.function_name for record in records],
            [record.function_version for record in records],
            [record.runtime for record in records],
            [record.node for record in records],
            [record.started_at for record in records],
            [record.duration_ms for record in records],
            [record.queued_ms for record in records],
            [record.cold_start for record in records],
            [record.status for record in records],
            [None if record.error is None else _storable(record.error) for record in records],
            [record.input_bytes for record in records],
            [record.output_bytes for record in records],
            [_storable(record.log) for record in records],
            [record.log_truncated for record in records],
            [record.source for record in records],
        )
        async with self._db.transaction(is_durable=False) as tx:
            await tx.execute(SQL["insert"], *columns)
        await self._bell.ring()

    async def copy(self, rows: memoryview, *, over_s: float = 0.0) -> None:
        """Write a batch that is encoded already (`store.rows`), as `record` does, spread over `over_s` seconds."""
        try:
            async with self._db.transaction(is_durable=False) as tx:
                await tx.copy("invocations", COLUMNS, rows, over_s=over_s)
        except asyncpg.UniqueViolationError:
            # COPY knows no ON CONFLICT: a batch with a row that is there already takes the way round. It is rare, a
            # commit whose answer got lost or a caller that used its request id again, so that the others go straight.
            async with self._db.transaction(is_durable=False) as tx:
                await tx.copy("invocations_staged", COLUMNS, rows)
                await tx.execute(SQL["insert_staged"])
                await tx.execute(SQL["clear_staged"])
        await self._bell.ring()

    async def get(self, tenant: str, namespace: str, request_id: UUID) -> InvocationRecord:
        """Return one record. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, request_id)
        if row is None:
            raise NotFound("invocation", str(request_id))
        return InvocationRecord(**row)

    async def list(
        self,
        tenant: str,
        namespace: str,
        *,
        function_name: str | None = None,
        status: str | None = None,
        is_error: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[InvocationRecord]:
        """Return records, newest first, counted up to `COUNT_LIMIT`.

        Args:
            status: exactly this one.
            is_error: True for every status but "ok", False for "ok".
            since: begun at or after this instant.
            until: begun at or before this instant.
            search: a part of what the handler printed or of the error, letter case aside; looked for in the newest
                `SEARCHED` records of the function and the time.
            before: only older ones than this id: the last of the page before. Costs the same at any depth,
                which `offset` does not.
        """
        filters = (tenant, namespace, function_name, status, is_error, since, until, search)
        first: UUID | None = None
        if search is not None:
            whose = (tenant, namespace, function_name, since, until)
            first = await self._db.fetch_value(SQL["search_from"], *whose, SEARCHED)
        rows = await self._db.fetch(SQL["list"], *filters, before, first, limit + 1, offset)
        total: int = await self._db.fetch_value(SQL["count"], *filters, first, COUNT_LIMIT + 1)
        return Page(
            items=tuple(InvocationRecord(**row) for row in rows[:limit]),
            total=min(total, COUNT_LIMIT),
            total_is_exact=total <= COUNT_LIMIT,
            has_more=len(rows) > limit,
        )

    async def follow(self, tenant: str, namespace: str, *, function_name: str | None = None) -> Tail:
        """Return a reader of the records that are written from now on."""
        now: datetime = await self._db.fetch_value(SQL["now"])
        return Tail(self._db, tenant, namespace, function_name=function_name, start=now)


class Tail:
    """Reads records as they are written, each once. Poll it when the channel `invocations` is notified."""

    def __init__(
        self, db: Database, tenant: str, namespace: str, *, function_name: str | None, start: datetime
    ) -> None:
        self._db, self._scope, self._start = db, (tenant, namespace, function_name), start
        self._newest = start
        self._seen: dict[UUID, datetime] = {}  # of the overlap only

    async def poll(self) -> tuple[InvocationRecord, ...]:
        """Return what was written since the last call, in the order of writing."""
        fresh: list[InvocationRecord] = []
        cursor, last = max(self._start, self._newest - OVERLAP), _FIRST
        while True:
            rows = await self._db.fetch(SQL["recorded_after"], *self._scope, cursor, last, FOLLOW_BATCH)
            for row in rows:
                if row["id"] not in self._seen:
                    self._seen[row["id"]] = row["recorded_at"]
                    fresh.append(_record(row))
            if len(rows) < FOLLOW_BATCH:
                break
            cursor, last = rows[-1]["recorded_at"], rows[-1]["id"]
        self._newest = max([self._newest, *self._seen.values()])
        horizon = self._newest - OVERLAP
        self._seen = {request_id: at for request_id, at in self._seen.items() if at > horizon}
        return tuple(fresh)


def _record(row: Record) -> InvocationRecord:
    columns = dict(row)
    del columns["recorded_at"]
    return InvocationRecord(**columns)


def _storable(text: str) -> str:
    """Return what a text column takes: a guest may print NUL and lone surrogates, which PostgreSQL refuses."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
