"""The pipe behind a worker's raw fd 1 and 2: read in bursts, and with rests once what comes is thrown away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_READ_BYTES = 64 << 10
_BURST_READS = 16  # 1 MiB from the pipe of a noisy process, then others get their turn
# Chosen: a process that floods has the pipe's 64 KiB taken a hundred times a second, which costs the loop under 1 %;
# read as fast as it writes, a few of them would fill a core.
REST_S = 0.01


class Stdio:
    """Owns the reading end `fd`, non-blocking. `take(data)` says whether the bytes were of use to anybody."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, *, take: Callable[[bytes], bool], rest_s: float = REST_S
    ) -> None:
        self._loop, self._fd, self._take, self._rest_s = loop, fd, take, rest_s
        self._rest: asyncio.TimerHandle | None = None

    def open_nowait(self) -> None:
        """Begin to read."""
        self._rest = None
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._burst)

    def read_nowait(self) -> bool:
        """Take what is there, up to a burst; False when some of it was of no use."""
        is_useful = True
        for _ in range(_BURST_READS if self._fd >= 0 else 0):
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close_nowait()
                break
            is_useful &= self._take(data)
        return is_useful

    def close_nowait(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _burst(self) -> None:
        if not self.read_nowait() and self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._rest = self._loop.call_later(self._rest_s, self.open_nowait)
