"""An alarm clock for one loop: any number of sources ring it, and a ring between two waits is not lost."""

from __future__ import annotations

import anyio


class Wakeup:
    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        self._rung.set()

    async def wait(self, *, timeout_s: float) -> bool:
        """Sleep until rung or until `timeout_s` seconds have passed; True when it was rung."""
        with anyio.move_on_after(timeout_s):
            await self._rung.wait()
        # No await between here and the return: a ring from now on belongs to the next wait.
        was_rung = self._rung.is_set()
        self._rung = anyio.Event()
        return was_rung
