"""How much the gateway takes in hand at a time; what is over is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from constellation.base.errors import Overloaded


class Admission(Protocol):
    """Lets requests in, up to a number in hand."""

    @property
    def inflight(self) -> int: ...

    def admitted(self) -> AbstractContextManager[None]:
        """Count one request for the length of the block, or raise `Overloaded`."""
        ...


class Gate:
    """Counts requests in hand."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._inflight = 0

    @property
    def inflight(self) -> int:
        return self._inflight

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count one request for the length of the block, or raise `Overloaded`."""
        if self._inflight >= self._limit:
            raise Overloaded("gateway", limit=self._limit)
        self._inflight += 1
        try:
            yield
        finally:
            self._inflight -= 1


class Budget(Protocol):
    """Bounds the bytes of bodies that are being gathered, all requests together."""

    @property
    def taken_bytes(self) -> int: ...

    def take(self, count_bytes: int) -> None:
        """Count bytes that were read, or raise `Overloaded`."""
        ...

    def give(self, count_bytes: int) -> None: ...


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
