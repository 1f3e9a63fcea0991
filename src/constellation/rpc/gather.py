"""What one turn of the loop writes leaves in one piece.

uvloop hands each write to the kernel at once. The parts of an answer, written one after the other, then cost a system
call each, and wake whoever waits for them as often.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

_AT_ONCE_BYTES = 64 << 10  # chosen: so much need not wait; what is beyond goes the usual way, and its bounds hold


class Gathering:
    """Stands for a transport, or a stream's writer: everything but the time of its writes is theirs."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes) -> None:
        if not data:
            return
        if self._inner.is_closing():
            self._inner.write(data)  # which says so
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _AT_ONCE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write now what is held."""
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            # It broke since: who reads from it, too, hears of that.
            with suppress(RuntimeError, OSError):
                self._inner.write(held[0] if len(held) == 1 else b"".join(held))

    def write_eof(self) -> None:
        self.flush()
        self._inner.write_eof()

    def close(self) -> None:
        self.flush()
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
