"""The numbered stream of changes: read from the database once a wake-up, handed to any number of followers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Protocol

import anyio
import msgspec
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError, Overloaded
from constellation.nova.domain.change import Change
from constellation.nova.store.changes import CHANNEL
from constellation.nova.store.listen import Wakeup

log = structlog.get_logger()

MAX_FOLLOWERS = 256  # chosen: every gateway and comet of a large fleet
TAIL_CHANGES = 4096  # chosen: a follower that was away for a minute of busy deploys is served from memory
BATCH = 1000
PING_S = 5.0  # of the contract: a follower that hears nothing for longer knows that it is cut off
SAFETY_POLL_S = 30.0  # chosen: finds what a lost notification hid; the listener notices a lost connection itself
_RETRY_S = 0.5  # chosen: the database is down; its restart takes a few tenths of a second


class ChangeLog(Protocol):
    """The table behind the feed."""

    async def after(self, seq: int, *, limit: int = BATCH) -> tuple[Change, ...]: ...

    async def head(self) -> int: ...


class Wakeups(Protocol):
    """The database's listener."""

    def subscribe(self, channel: str) -> AbstractContextManager[Wakeup]: ...


class _Line(msgspec.Struct, kw_only=True, frozen=True):
    seq: int
    kind: str
    tenant: str
    namespace: str
    name: str


class _Mark(msgspec.Struct, kw_only=True, frozen=True):
    seq: int
    kind: str


class ChangeFeed:
    """Keeps the newest changes in memory and wakes followers; `run` must be running while it is followed."""

    def __init__(self, changes: ChangeLog, *, wakeups: Wakeups, ping_s: float = PING_S) -> None:
        self._changes, self._wakeups, self._ping_s = changes, wakeups, ping_s
        self._tail: deque[Change] = deque(maxlen=TAIL_CHANGES)
        self._floor = 0  # the tail holds every change with a greater number
        self._head = 0
        self._moved = anyio.Event()
        self._followers = 0
        self._is_closed = False

    @property
    def head(self) -> int:
        return self._head

    @property
    def followers(self) -> int:
        return self._followers

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow the table until cancelled; through any failure of the database."""
        with self._wakeups.subscribe(CHANNEL) as wakeup:
            self._floor = self._head = await self._changes.head()
            task_status.started()
            while True:
                await wakeup.wait(within_s=SAFETY_POLL_S)
                try:
                    await self._catch_up()
                except ConstellationError as error:
                    log.warning("changes.delayed", reason=str(error))
                    await anyio.sleep(_RETRY_S)
                    wakeup.wake_nowait()

    async def _catch_up(self) -> None:
        while rows := await self._changes.after(self._head, limit=BATCH):
            for change in rows:
                if len(self._tail) == TAIL_CHANGES:
                    self._floor = self._tail[0].seq
                self._tail.append(change)
            self._head = rows[-1].seq
            self._wake()

    def close(self) -> None:
        """End every stream; a plane that stops does so before its server waits for answers in hand."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def follow(self, after: int | None) -> AsyncIterator[bytes]:
        """Return the lines for one follower: hello, then each change after number `after` (None: from now on), and
        pings.

        A number beyond the head begins at the head: the follower sees in the hello that it knows another past.

        Raises:
            Overloaded: `MAX_FOLLOWERS` follow already.
        """
        if self._followers >= MAX_FOLLOWERS:
            raise Overloaded("followers of changes", limit=MAX_FOLLOWERS)
        return self._lines(self._head if after is None else min(after, self._head))

    async def _lines(self, seq: int) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            yield _encode(_Mark(seq=self._head, kind="hello"))
            while not self._is_closed:
                moved = self._moved
                changes = await self._since(seq)
                for change in changes:
                    yield _encode(
                        _Line(
                            seq=change.seq,
                            kind=change.kind.value,
                            tenant=change.tenant,
                            namespace=change.namespace,
                            name=change.name,
                        )
                    )
                    seq = change.seq
                if changes:
                    continue
                with anyio.move_on_after(self._ping_s) as quiet:
                    await moved.wait()
                if quiet.cancelled_caught:
                    yield _encode(_Mark(seq=self._head, kind="ping"))
        finally:
            self._followers -= 1

    async def _since(self, seq: int) -> list[Change]:
        """Return what followed `seq`, up to `BATCH` changes: from memory, or from the table for one long away."""
        if seq >= self._head:
            return []
        if seq < self._floor:
            return list(await self._changes.after(seq, limit=BATCH))
        found: list[Change] = []
        for change in reversed(self._tail):
            if change.seq <= seq:
                break
            found.append(change)
        found.reverse()
        return found[:BATCH]


def _encode(line: _Line | _Mark) -> bytes:
    return msgspec.json.encode(line) + b"\n"
