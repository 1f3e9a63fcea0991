"""Run async code in virtual time under a seeded scheduler: a failing seed replays exactly."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import trio
import trio.testing

EPOCH = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday


class VirtualClock:
    """Wall and monotonic time that follow the event loop's clock."""

    def __init__(self, epoch: datetime = EPOCH) -> None:
        self._epoch, self._began = epoch, anyio.current_time()

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self.monotonic_s())

    def monotonic_s(self) -> float:
        return anyio.current_time() - self._began

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def simulate(main: Callable[[random.Random], Awaitable[None]], *, seed: int) -> None:
    """Run `main` to its end; time jumps whenever every task sleeps."""
    # Trio shuffles runnable tasks by a generator of its own; seeding it is what makes a run repeatable.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # noqa: SLF001  no public door
    trio._core._run._r.seed(seed)  # noqa: SLF001
    trio.run(main, random.Random(seed), clock=trio.testing.MockClock(autojump_threshold=0))  # noqa: S311  not a secret
