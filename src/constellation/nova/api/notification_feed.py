"""Notifications as they come, as server-sent events, to any number of readers up to a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from constellation.base.errors import ConstellationError, Overloaded
from constellation.nova.domain.notification import Notification
from constellation.nova.store.listen import Wakeup
from constellation.nova.store.notifications import CHANNEL, Sight
from constellation.routes.models.notifications import NotificationBody

MAX_READERS = 200  # chosen: of one nova; each asks the database once an event
PING_S = 10.0  # chosen: below every proxy's patience
LONGEST_S = 3600.0  # chosen: then the client asks again, with the rights that it has by then


class Book(Protocol):
    async def after(self, sight: Sight, seq: int, *, limit: int = ...) -> Sequence[Notification]: ...

    async def newest(self, sight: Sight) -> int: ...


class Wakeups(Protocol):
    def subscribe(self, channel: str) -> AbstractContextManager[Wakeup]: ...


class NotificationFeed:
    """Serves streams until it is closed."""

    def __init__(self, book: Book, wakeups: Wakeups, *, now_s: Callable[[], float], ping_s: float = PING_S) -> None:
        self._book, self._wakeups, self._now_s, self._ping_s = book, wakeups, now_s, ping_s
        self._readers: set[Wakeup] = set()
        self._is_closed = False

    def close(self) -> None:
        """End every stream; a plane that stops does so before its server waits for answers in hand."""
        self._is_closed = True
        for reader in self._readers:
            reader.wake_nowait()

    def follow(self, sight: Sight, after: int | None) -> AsyncIterator[bytes]:
        """Return the events for one reader: what happens after number `after` (None: from now on), and pings.

        Raises:
            Overloaded: `MAX_READERS` follow already.
        """
        if len(self._readers) >= MAX_READERS:
            raise Overloaded("readers of notifications", limit=MAX_READERS)
        return self._events(sight, after)

    async def _events(self, sight: Sight, after: int | None) -> AsyncIterator[bytes]:
        until_s = self._now_s() + LONGEST_S
        with self._wakeups.subscribe(CHANNEL) as wakeup:
            self._readers.add(wakeup)
            try:
                yield b": hello\n\n"
                seq = await self._book.newest(sight) if after is None else after
                while not self._is_closed and self._now_s() < until_s:
                    found = await self._book.after(sight, seq)
                    for each in found:
                        yield event_of(each)
                        seq = each.seq
                    if not found and not await wakeup.wait(within_s=self._ping_s):
                        yield b": ping\n\n"
            except ConstellationError as error:
                yield b"event: error\ndata: " + msgspec.json.encode(error.problem()) + b"\n\n"
            finally:
                self._readers.discard(wakeup)


def event_of(notification: Notification) -> bytes:
    data = msgspec.json.encode(body_of(notification))
    return b"id: %d\nevent: notification\ndata: %s\n\n" % (notification.seq, data)


def body_of(notification: Notification) -> NotificationBody:
    """Return a notification as the API shows it."""
    return NotificationBody(
        id=notification.id,
        namespace=notification.namespace,
        kind=notification.kind.value,
        severity=notification.severity.value,
        title=notification.title,
        subject=notification.subject,
        detail=notification.detail,
        count=notification.count,
        first_at=notification.first_at,
        last_at=notification.last_at,
        is_read=notification.read_at is not None,
        read_at=notification.read_at,
        seq=notification.seq,
    )
