"""How many statements a second one database serves: those over it wait, and their guests are not read on."""

from __future__ import annotations

from collections.abc import Callable

import anyio


class Rate:
    """A bucket that holds a second's worth. Waiters are served in turn."""

    def __init__(self, per_s: float, *, now_s: Callable[[], float]) -> None:
        self.per_s = per_s
        self._now_s = now_s
        self._left, self._at_s = per_s, now_s()
        self._turn = anyio.Lock()

    async def take(self, count: int) -> None:
        """Wait until `count` statements may run."""
        async with self._turn:
            while (wait_s := self._taken(count)) > 0:  # noqa: ASYNC110  # time gives more, and nobody else
                await anyio.sleep(wait_s)

    def _taken(self, count: int) -> float:
        now_s = self._now_s()
        self._left = min(self.per_s, self._left + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s
        if self._left < count and self._left < self.per_s:
            return min(count, self.per_s) / self.per_s - self._left / self.per_s
        self._left -= count
        return 0.0
