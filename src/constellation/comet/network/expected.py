"""Starts the network helper before the first call waits for it: once a function that has a network is known here."""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

from constellation.nova.domain.function import Function


class NetworkExpected:
    """Told of functions as they are deployed and changed."""

    def __init__(self, start_nowait: Callable[[], None], *, backends: Collection[str]) -> None:
        self._start_nowait, self._backends = start_nowait, backends  # what functions say that it is for

    def update(self, function: Function, *, is_suspended: bool) -> None:
        if function.network.reaches_out and not is_suspended and function.backend in self._backends:
            self._start_nowait()

    def remove(self, function_id: UUID) -> None:
        """Others may need it."""

    def unpin(self, function: Function) -> None:
        """Likewise."""

    def forget(self, function_id: UUID) -> None:
        """Likewise."""
