"""Notifications: an outbox that is written where things happen, and the rows that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from constellation.base.errors import NotFound
from constellation.base.ids import uuid7
from constellation.nova.config.live import PLATFORM
from constellation.nova.domain.notification import KEY_STAGES_DAYS, Notification, NotificationKind
from constellation.nova.store.bell import Bell
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("notifications")

OUTBOX = "notices"  # notified when something was put into the outbox
CHANNEL = "notifications"  # notified when it was folded
FOLD_BATCH = 1000  # chosen: small rows; a few milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a reader may see."""

    tenants: tuple[str, ...]  # "": the platform's own
    namespace: str | None  # None: of all of them, and of the tenants as a whole
    reader: str

    def arguments(self) -> tuple[object, ...]:
        return list(self.tenants), self.namespace, self.reader


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilter:
    """Which of them; None leaves a question out."""

    kinds: frozenset[NotificationKind] | None = None
    subject: str | None = None
    since: datetime | None = None
    is_unread: bool = False

    def arguments(self) -> tuple[object, ...]:
        kinds = None if self.kinds is None else sorted(self.kinds)
        return kinds, self.subject, self.since, self.is_unread


class Notifications:
    """The tables notices, notifications and notification_reads."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, CHANNEL)

    async def tell(self, tenant: str, namespace: str, kind: NotificationKind, subject: str, detail: str) -> None:
        """Put something into the outbox."""
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["notice"], tenant, namespace, kind.value, subject, detail)

    async def tell_resealed(self, version: int, count: int) -> None:
        """Put the end of a rotation of the master key into the outbox."""
        await self.tell(PLATFORM, "", NotificationKind.SECRETS_RESEALED, str(version), f"{count} sealed anew")

    async def tell_expiring_keys(self) -> int:
        """Put keys that expire soon into the outbox, each once a stage; return how many."""
        async with self._db.transaction() as tx:
            return len(await tx.fetch(SQL["expiring_keys"], list(KEY_STAGES_DAYS)))

    async def fold(self) -> int:
        """Fold the oldest of the outbox into what people read; return how many things they were about."""
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["serialize"])
            taken = await tx.fetch(SQL["take"], FOLD_BATCH)
            for row in taken:
                await tx.execute(SQL["fold"], *row.values(), uuid7())
        if taken:
            await self._bell.ring()
        return len(taken)

    async def list(
        self, sight: Sight, wanted: NotificationFilter, *, limit: int = 100, offset: int = 0
    ) -> Page[Notification]:
        """Return notifications, what happened last first, counted up to `COUNT_LIMIT`."""
        arguments = (*sight.arguments(), *wanted.arguments())
        rows = await self._db.fetch(SQL["list"], *arguments, limit + 1, offset)
        count: int = await self._db.fetch_value(SQL["count"], *arguments, COUNT_LIMIT)
        return Page(
            items=tuple(map(_notification, rows[:limit])),
            total=count,
            total_is_exact=count < COUNT_LIMIT,
            has_more=len(rows) > limit,
        )

    async def unread(self, sight: Sight) -> int:
        """Return how many are not read, counted up to `COUNT_LIMIT`."""
        wanted = NotificationFilter(is_unread=True)
        found: int = await self._db.fetch_value(SQL["count"], *sight.arguments(), *wanted.arguments(), COUNT_LIMIT)
        return found

    async def after(self, sight: Sight, seq: int, *, limit: int = 100) -> Sequence[Notification]:
        """Return what happened after a number, in order."""
        rows = await self._db.fetch(SQL["after"], list(sight.tenants), sight.namespace, seq, limit)
        return tuple(map(_notification, rows))

    async def newest(self, sight: Sight) -> int:
        """Return the number of what happened last; 0 when nothing has."""
        found: int = await self._db.fetch_value(SQL["newest"], list(sight.tenants))
        return found

    async def read(self, sight: Sight, notification_id: UUID) -> None:
        """Write down that one was read. Raises `NotFound`."""
        if not await self._read(sight, notification_id):
            raise NotFound("notification", str(notification_id))

    async def read_all(self, sight: Sight) -> int:
        """Write down that all were read; return how many were not."""
        return await self._read(sight, None)

    async def _read(self, sight: Sight, notification_id: UUID | None) -> int:
        async with self._db.transaction() as tx:
            return await tx.execute(SQL["read"], *sight.arguments(), notification_id)


def _notification(row: Record) -> Notification:
    columns = dict(row)
    return Notification(**columns | {"kind": NotificationKind(columns["kind"])})
