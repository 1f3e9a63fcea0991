"""What the queue does beside its work: tell how long the line is, and forget idempotency keys that expired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nova.domain.job import JobStatus

log = structlog.get_logger()

COUNT_INTERVAL_S = 30.0  # chosen: a count reads the whole live table; two scrapes of Prometheus lie between
FORGET_INTERVAL_S = 3600.0  # chosen: keys live a day by default
FORGET_BATCH = 10_000
_LIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.DEAD)  # of a delivery


class JobUpkeep(Protocol):
    """What upkeep needs of the store."""

    async def totals(self) -> Mapping[JobStatus, int]: ...

    async def forget_keys(self, *, limit: int = FORGET_BATCH) -> int: ...


class DeliveryBook(Protocol):
    """The deliveries of all tenants."""

    async def waiting(self) -> tuple[Mapping[JobStatus, int], float]: ...


class Upkeep:
    """A service; several may run at a time."""

    def __init__(self, jobs: JobUpkeep, deliveries: DeliveryBook, *, metrics: QueueMetrics) -> None:
        self._jobs, self._deliveries, self._metrics = jobs, deliveries, metrics

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        forget_at = anyio.current_time()
        while True:
            try:
                for status, count in (await self._jobs.totals()).items():
                    self._metrics.jobs.labels(status.value).set(count)
                counts, lag_s = await self._deliveries.waiting()
                for status in _LIVE:
                    self._metrics.waiting.labels(status.value).set(counts.get(status, 0))
                self._metrics.delivery_lag.set(lag_s)
                if anyio.current_time() >= forget_at:
                    forget_at = anyio.current_time() + FORGET_INTERVAL_S
                    await self._forget_keys()
            except ConstellationError as error:
                log.info("upkeep.postponed", reason=str(error))
            await anyio.sleep(COUNT_INTERVAL_S)

    async def _forget_keys(self) -> None:
        while True:
            count = await self._jobs.forget_keys(limit=FORGET_BATCH)
            self._metrics.keys_forgotten.inc(count)
            if count < FORGET_BATCH:
                return
