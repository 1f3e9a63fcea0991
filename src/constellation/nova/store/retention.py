"""Keeping house: partitions are made ahead of time and dropped when their time is up."""

from __future__ import annotations

from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("retention")

ARTIFACT_GRACE_S = 3600.0  # chosen: far longer than it takes from a build's end to the version that uses it
LOG_BATCH = 5_000  # rows of the log that one transaction deletes; chosen: far below a statement's time
STATE_BATCH = 10_000  # chosen: small rows forgotten by one transaction
MESSAGE_BATCH = 5_000  # chosen: as of the log
USAGE_DAYS = 400  # chosen: a day can be compared with that of last year
MESSAGES_DAYS = 31  # a day more than any topic keeps its messages
AHEAD_DAYS = 7  # chosen: nobody notices a keeper that is away for less than a week


class Retention:
    """The housekeeping that aurora's role may do."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(
        self,
        *,
        invocations_days: int = 30,
        jobs_done_days: int = 30,
        audit_days: int = 90,
        notifications_days: int = 30,
        changes_days: int = 7,
        artifact_grace_s: float = ARTIFACT_GRACE_S,
    ) -> None:
        """Make the partitions of the days to come, drop what is older and what no code uses; safe at any time."""
        for table, days in (
            ("invocations", invocations_days),
            ("jobs_done", jobs_done_days),
            ("messages", MESSAGES_DAYS),
        ):
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["keep_partitions"], table, AHEAD_DAYS, days)
        await self._forget("forget_logs", batch=LOG_BATCH)
        await self._forget("forget_messages", batch=MESSAGE_BATCH)
        await self._forget("forget_message_keys", batch=STATE_BATCH)
        await self._forget_days("forget_audit", audit_days)
        await self._forget_days("forget_usage", USAGE_DAYS)
        await self._forget_days("forget_database_requests", invocations_days)
        await self._forget_days("forget_notifications", notifications_days)
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["forget_changes"], changes_days)
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["forget_artifacts"], artifact_grace_s)
        await self._forget("forget_state", batch=STATE_BATCH)
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["forget_steps"])

    async def _forget_days(self, query: str, days: int) -> None:
        count = STATE_BATCH
        while count == STATE_BATCH:
            async with self._db.transaction() as tx:
                count = await tx.fetch_value(SQL[query], days, STATE_BATCH)

    async def _forget(self, query: str, *, batch: int) -> None:
        count = batch
        while count == batch:
            async with self._db.transaction() as tx:
                count = await tx.fetch_value(SQL[query], batch)
