"""Keeps the cores of the machine from deep sleep while calls flow: waking one costs more than a whole call.

The kernel's `cpu_dma_latency` takes a number of microseconds that nobody minds waiting for a core, and holds to it for as
long as the file is open (Linux, Documentation/power/pm_qos_interface). With 0 an idle core of a virtual machine polls
instead of leaving to the host, which would have to call it back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import structlog

from constellation.base.clock import Clock

log = structlog.get_logger()

DEVICE = Path("/dev/cpu_dma_latency")
_NO_WAIT = (0).to_bytes(4, "little")  # microseconds, an s32
# Chosen: below this many calls a second the cores had better sleep; a person who tries a function now and then is below.
FLOW_PER_S = 200
WINDOW_S = 0.1


class Wakefulness:
    """Watches how many calls there are, from the first that it is told of until they are few again."""

    def __init__(self, calls: Callable[[], int], clock: Clock, *, device: Path = DEVICE) -> None:
        """`calls` counts all that ended, for ever."""
        self._calls, self._clock, self._device = calls, clock, device
        self._some = anyio.Event()

    def wake_nowait(self) -> None:
        """There are calls."""
        self._some.set()

    async def run(self) -> None:
        """Hold the device while calls flow, until cancelled; where this process may not, return."""
        if not os.access(self._device, os.W_OK):
            log.info("wakefulness.unavailable", needs=f"write access to {self._device}")
            return
        while True:
            await self._some.wait()
            self._some = anyio.Event()
            if await self._is_flowing():
                await self._hold()

    async def _hold(self) -> None:
        with _held(self._device):
            flows = True
            while flows:
                flows = await self._is_flowing()

    async def _is_flowing(self) -> bool:
        before = self._calls()
        await self._clock.sleep(WINDOW_S)
        return self._calls() - before >= FLOW_PER_S * WINDOW_S


@contextmanager
def _held(device: Path) -> Iterator[None]:
    descriptor = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, _NO_WAIT)
        yield
    finally:
        os.close(descriptor)
