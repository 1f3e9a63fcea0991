"""A clock that is the event loop's: virtual under trio's MockClock, so a simulated hour costs microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)


class LoopClock:
    """Implements `base.clock.Clock`."""

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=anyio.current_time())

    def monotonic_s(self) -> float:
        return anyio.current_time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
