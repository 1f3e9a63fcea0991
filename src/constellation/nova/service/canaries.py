"""Moves canaries on and back: one look at each that runs, again and again. What to do is decided in the domain."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nova.domain.canary import Canary, Sample, Verdict, decide
from constellation.nova.store.listen import Wakeup

log = structlog.get_logger()

LOOK_S = 2.0  # chosen: the log is written once a second; a bad version is gone two looks after it was seen
IDLE_S = 30.0  # chosen: finds a canary whose notification was lost


class CanaryBook(Protocol):
    """The canaries as they are stored; see `nova.store.canaries`."""

    async def running(self) -> Sequence[Canary]: ...

    async def samples(self, canary: Canary) -> tuple[Sample, Sample]: ...

    async def now(self) -> datetime: ...

    async def settle(self, canary: Canary, verdict: Verdict) -> bool: ...


class CanaryKeeper:
    """Looks after every canary. Several may run: what one wrote, the others find."""

    def __init__(self, book: CanaryBook, *, look_s: float = LOOK_S) -> None:
        self._book, self._look_s = book, look_s

    async def run(
        self, subscription: AbstractContextManager[Wakeup], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Work until cancelled.

        Args:
            subscription: wakes when a canary begins.
        """
        with subscription as wakeup:
            task_status.started()
            while True:
                is_busy = True
                try:
                    is_busy = await self._look()
                except ConstellationError as error:  # the supervision point: the next look may do better
                    log.warning("canaries.look_failed", reason=str(error))
                if is_busy:
                    await anyio.sleep(self._look_s)
                else:
                    await wakeup.wait(within_s=IDLE_S)

    async def _look(self) -> bool:
        """Move what is to be moved; True while canaries run."""
        running = await self._book.running()
        for canary in running:
            old, new = await self._book.samples(canary)
            verdict = decide(canary, old, new, now=await self._book.now())
            if verdict is not None and await self._book.settle(canary, verdict):
                log.info(
                    "canary.moved",
                    tenant=canary.tenant,
                    function=canary.function_name,
                    alias=canary.alias,
                    state=verdict.state.value,
                    step=verdict.step,
                    reason=verdict.reason,
                )
        return bool(running)
