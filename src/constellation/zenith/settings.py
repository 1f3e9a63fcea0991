"""The gateway's settings as they are set: nova is asked for them when its changes name one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nova.config.live import PLATFORM, InForce
from constellation.zenith.control import ChangeLine

log = structlog.get_logger()

RETRY_S = 0.5  # chosen: nova starts within a second


class Source(Protocol):
    async def settings(self) -> Mapping[str, str]: ...


class SettingsReader:
    """A cache to the follower of changes; `run` must be running."""

    def __init__(self, source: Source, in_force: InForce) -> None:
        self._source, self._in_force = source, in_force
        self._outdated = anyio.Event()

    def forget(self, change: ChangeLine) -> None:
        if change.kind == "setting" and change.tenant == PLATFORM:
            self._outdated.set()

    def forget_everything(self) -> None:
        self._outdated.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read the settings whenever they may be others, until cancelled."""
        task_status.started()
        while True:
            await self._outdated.wait()
            self._outdated = anyio.Event()  # a change from now on is read again
            try:
                self._in_force.take({PLATFORM: await self._source.settings()})
            except ConstellationError as error:  # the supervision point: what was read last goes on holding
                log.warning("settings.not_read", reason=str(error))
                self._outdated.set()
                await anyio.sleep(RETRY_S)
