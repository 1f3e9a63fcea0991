"""Keeps the history tables in shape: tomorrow's partitions are there, what is past its time is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskStatus
from prometheus_client import CollectorRegistry, Counter, Gauge

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError

log = structlog.get_logger()

RETRY_S = 60.0  # chosen: partitions are made a week ahead, so nothing is urgent


class Keeper(Protocol):
    """What housekeeping needs of the store."""

    async def keep(
        self,
        *,
        invocations_days: int = 30,
        jobs_done_days: int = 30,
        audit_days: int = 90,
        notifications_days: int = 30,
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HousekeepingOptions:
    interval_s: float
    retention_days: int  # of calls and jobs
    audit_days: int
    notifications_days: int


class Wakeup(Protocol):
    async def wait(self, *, within_s: float) -> bool: ...


class Housekeeping:
    """A service; several may run at a time, the database takes them one by one."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        options: Callable[[], HousekeepingOptions],
        changed: Wakeup,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        """Keep `keeper`'s tables; `changed` wakes when the options are others."""
        self._keeper, self._options, self._changed, self._clock = keeper, options, changed, clock
        self._runs = Counter(
            "constellation_housekeeping_runs_total",
            "Rounds of housekeeping by outcome",
            ("outcome",),
            registry=registry,
        )
        self._succeeded_at = Gauge(
            "constellation_housekeeping_last_success_timestamp_seconds",
            "When housekeeping last succeeded, Unix time",
            registry=registry,
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep house now and once an interval until cancelled; a round that failed is repeated sooner."""
        task_status.started()
        while True:
            has_kept = await self._keep()
            interval_s = self._options().interval_s
            await self._changed.wait(within_s=interval_s if has_kept else min(RETRY_S, interval_s))

    async def _keep(self) -> bool:
        options = self._options()
        days = options.retention_days
        try:
            await self._keeper.keep(
                invocations_days=days,
                jobs_done_days=days,
                audit_days=options.audit_days,
                notifications_days=options.notifications_days,
            )
        except ConstellationError as error:
            self._runs.labels("failed").inc()
            log.warning("house.not_kept", reason=str(error))
            return False
        self._runs.labels("succeeded").inc()
        self._succeeded_at.set(self._clock.now().timestamp())
        log.debug("house.kept", retention_days=days)
        return True
