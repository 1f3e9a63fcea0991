"""Keeps a template ready for each runtime that some function uses, and none for the others."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.comet.backend.contract import Backend

log = structlog.get_logger()

LOOK_AGAIN_S = 60.0  # chosen: how long an unused template may outlive the last instance that it started
SETTLE_S = 0.5  # chosen: a deployment of many functions is many changes and one look


class Wakeup(Protocol):
    async def wait(self, *, within_s: float) -> bool: ...


class UsedRuntimes(Protocol):
    async def list_runtimes(self) -> tuple[str, ...]: ...


class TemplateKeeper:
    """A service beside the pool: what is deployed decides what is held ready, within a bound of memory."""

    def __init__(self, functions: UsedRuntimes, backend: Backend, *, memory_bytes: int) -> None:
        self._functions, self._backend, self._memory_bytes = functions, backend, memory_bytes

    async def run(
        self,
        changes: AbstractContextManager[Wakeup],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Follow the functions until cancelled; nobody waits for the first templates."""
        with changes as wakeup:
            task_status.started()
            while True:
                try:
                    runtimes = await self._functions.list_runtimes()
                except ConstellationError as error:  # the database is away: what is ready stays so
                    log.warning("templates.not_looked_at", error=str(error))
                else:
                    await self._backend.keep_templates(runtimes, memory_bytes=self._memory_bytes)
                await wakeup.wait(within_s=LOOK_AGAIN_S)
                await anyio.sleep(SETTLE_S)
