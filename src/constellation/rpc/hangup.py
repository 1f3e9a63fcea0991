"""Notices clients that hung up, at the price of a dictionary entry for the calls that are answered quickly.

A task that waits for the hang-up of each request would double the tasks of the hot path. Instead one sweep looks
at what has been in hand for a while, and only then gives it a watching task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

_SWEEP_S = 0.1  # chosen: a hang-up frees its instance within two sweeps
_YOUNG_S = 0.1  # warm calls are over by then


class Watched(Protocol):
    """A request in hand. It is hashable by its identity."""

    cancel: anyio.CancelScope | None  # around its handler; a hang-up cancels it
    watch: anyio.CancelScope | None  # around the task that waits for the hang-up

    @property
    def body_done(self) -> bool:
        """Its body was read whole."""
        ...

    async def until_gone(self) -> None:
        """Wait until the client hangs up. Only once the body is read."""


class HangupWatch:
    """Cancels the handler of a request whose client is gone."""

    def __init__(self) -> None:
        self._begun_s: dict[Watched, float] = {}  # in order of time
        self._busy = anyio.Event()  # an idle gateway sweeps nothing

    @contextmanager
    def over(self, request: Watched) -> Iterator[None]:
        """Watch a request for the length of the block, which is cancelled when the client hangs up.

        Only a request whose body was read whole is watched: until then its handler itself sees the hang-up.
        """
        with anyio.CancelScope() as request.cancel:
            self._begun_s[request] = anyio.current_time()
            self._busy.set()
            try:
                yield
            finally:
                del self._begun_s[request]
                if request.watch is not None:
                    request.watch.cancel()

    def cancel_all(self) -> None:
        """Cut what is in hand off, at the end of a stop: an answer begun ends without its end."""
        for request in self._begun_s:
            if request.cancel is not None:
                request.cancel.cancel()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        async with anyio.create_task_group() as tasks:
            task_status.started()
            while True:
                await self._busy.wait()
                await anyio.sleep(_SWEEP_S)
                if not self._begun_s:
                    self._busy = anyio.Event()
                old_s = anyio.current_time() - _YOUNG_S
                for request, begun_s in self._begun_s.items():
                    if begun_s > old_s:
                        break
                    if request.watch is None and request.body_done:
                        request.watch = anyio.CancelScope()
                        tasks.start_soon(_watch, request, request.watch)


async def _watch(request: Watched, scope: anyio.CancelScope) -> None:
    with scope:
        await request.until_gone()
        if request.cancel is not None:
            request.cancel.cancel()
