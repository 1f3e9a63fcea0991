"""How much the gateway takes in hand at a time; what is over is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from constellation.base.errors import Overloaded


class Gate:
    """Counts requests in hand."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self.inflight = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count one request for the length of the block, or raise `Overloaded`."""
        if self.inflight >= self._limit:
            raise Overloaded("gateway", limit=self._limit)
        self.inflight += 1
        try:
            yield
        finally:
            self.inflight -= 1


class BodyBudget:
    """Bounds the bytes of bodies that are being gathered, all requests together."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.taken_bytes = 0

    def take(self, count_bytes: int) -> None:
        """Count bytes that were read, or raise `Overloaded`."""
        if self.taken_bytes + count_bytes > self._limit_bytes:
            raise Overloaded("bodies in memory, bytes", limit=self._limit_bytes)
        self.taken_bytes += count_bytes

    def give(self, count_bytes: int) -> None:
        self.taken_bytes -= count_bytes
