"""Folds the outbox of notices into notifications as it fills, and tells of keys that expire."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nova.store.listen import Wakeup

log = structlog.get_logger()

SAFETY_POLL_S = 30.0  # chosen: finds what a lost notification hid
KEYS_EVERY_S = 600.0  # chosen: keys are told of days before
RETRY_S = 1.0  # chosen: the database is away


class Outbox(Protocol):
    """What is needed of the store; see `nova.store.notifications`."""

    async def fold(self) -> int: ...

    async def tell_expiring_keys(self) -> int: ...


class NoticeKeeper:
    """Several may run: each notice is folded once."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._keys_due_s = 0.0

    async def run(
        self, subscription: AbstractContextManager[Wakeup], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Work until cancelled; `subscription` wakes when something was put into the outbox."""
        with subscription as wakeup:
            task_status.started()
            while True:
                wait_s = SAFETY_POLL_S
                try:
                    if anyio.current_time() >= self._keys_due_s:
                        await self._outbox.tell_expiring_keys()
                        self._keys_due_s = anyio.current_time() + KEYS_EVERY_S
                    while await self._outbox.fold():
                        continue
                except ConstellationError as error:  # the supervision point: the outbox keeps what is in it
                    log.warning("notices.not_folded", reason=str(error))
                    wait_s = RETRY_S
                await wakeup.wait(within_s=wait_s)
