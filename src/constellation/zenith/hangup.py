"""Notices clients that hung up, at the price of a dictionary entry for the calls that are answered quickly.

A task that waits for the hang-up of each request would double the tasks of the hot path. Instead one sweep looks
at what has been in hand for a while, and only then gives it a watching task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskStatus

from constellation.zenith.request import Request

_SWEEP_S = 0.1  # chosen: a hang-up frees its instance within two sweeps
_YOUNG_S = 0.1  # warm calls are over by then


class HangupWatch:
    """Cancels the handler of a request whose client is gone."""

    def __init__(self) -> None:
        self._begun_s: dict[Request, float] = {}  # in order of time

    @contextmanager
    def over(self, request: Request) -> Iterator[None]:
        """Watch a request for the length of the block, which is cancelled when the client hangs up.

        Only a request whose body was read whole is watched: until then its handler itself sees the hang-up.
        """
        with anyio.CancelScope() as request.cancel:
            self._begun_s[request] = anyio.current_time()
            try:
                yield
            finally:
                del self._begun_s[request]
                if request.watch is not None:
                    request.watch.cancel()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        async with anyio.create_task_group() as tasks:
            task_status.started()
            while True:
                await anyio.sleep(_SWEEP_S)
                old_s = anyio.current_time() - _YOUNG_S
                for request, begun_s in self._begun_s.items():
                    if begun_s > old_s:
                        break
                    if request.watch is None and request.body_done:
                        request.watch = anyio.CancelScope()
                        tasks.start_soon(_watch, request, request.watch)


async def _watch(request: Request, scope: anyio.CancelScope) -> None:
    with scope:
        await request.until_gone()
        if request.cancel is not None:
            request.cancel.cancel()
