"""One function version in its tenant's worker."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

import anyio
import structlog

from constellation.base.ids import InstanceId
from constellation.comet.backend.contract import InstanceSpec, InstanceStats
from constellation.comet.link.instance import WatchedInstance
from constellation.comet.runtimes.recipe import Runtime

_log = structlog.get_logger()


class WasmInstance(WatchedInstance):
    """Implements `Instance`. `held_fd` is the end of a pipe whose other end the worker closes when it has let go of all."""

    def __init__(
        self,
        instance_id: InstanceId,
        spec: InstanceSpec,
        runtime: Runtime,
        *,
        held_fd: int,
        destroy_s: float,
        on_stuck: Callable[[], None],
        on_gone: Callable[[WasmInstance], None],
    ) -> None:
        super().__init__(instance_id, spec, runtime)
        self._held_fd, self._destroy_s, self._on_stuck, self._on_gone = held_fd, destroy_s, on_stuck, on_gone

    async def stats(self) -> InstanceStats:
        """Say nothing: what the kernel counts is the worker's, of all its instances."""
        return InstanceStats(memory_bytes=None, cpu_s=None, pids=None)

    def kill_nowait(self, cause: str) -> None:
        """Hang up: the worker ends every call of this instance at its next look, 10 ms at most, and no other."""
        self._cause = self._cause or cause
        self._over_nowait()

    @property
    def _has_ended(self) -> bool:
        return self.died.is_set()

    def worker_ended_nowait(self, cause: str) -> None:
        """React to the end of the whole worker."""
        if self._channel is not None and not self.died.is_set():
            self._channel.catch_up_nowait()
        self.kill_nowait(cause)

    def _over_nowait(self) -> None:
        self._noted_nowait()
        if self._channel is not None:
            self._channel.end_nowait(self._cause or "destroyed")
        self.died.set()

    async def _end(self) -> None:
        self.kill_nowait("destroyed")
        is_gone = False
        try:
            with anyio.move_on_after(self._destroy_s, shield=True):
                await self._let_go()
                is_gone = True
            if not is_gone:  # a guest that no epoch reaches: it costs its tenant the worker
                _log.error("instance.stuck", instance=self.id, tenant=self.spec.tenant)
                self._on_stuck()
                with anyio.move_on_after(self._destroy_s, shield=True):
                    await self._let_go()
        finally:
            os.close(self._held_fd)
            self._on_gone(self)

    async def _let_go(self) -> None:
        ended = select.poll()
        ended.register(self._held_fd, select.POLLIN)
        if not ended.poll(0):
            await anyio.wait_readable(self._held_fd)
