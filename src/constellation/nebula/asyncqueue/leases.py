"""The jobs in hand: each is held by a lease, all are renewed together, and a lost lease ends its job's work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nebula.asyncqueue.ledger import JobLedger
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nova.store.jobs import ClaimedJob

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True, eq=False)
class Hold:
    """One job in hand. Its lease scope is cancelled when the lease ends, by time or because the store says so."""

    claim: ClaimedJob
    lease: anyio.CancelScope
    call: anyio.CancelScope = field(default_factory=anyio.CancelScope)  # around the call alone
    is_settling: bool = False  # its outcome is on the way to the store, which decides by the token
    is_lost: bool = False


class Leases:
    """A service: `run` renews what is held at a third of the lease."""

    def __init__(self, jobs: JobLedger, *, lease_s: float, metrics: QueueMetrics) -> None:
        self._jobs, self._lease_s, self._metrics = jobs, lease_s, metrics
        self._holds: dict[UUID, Hold] = {}

    def __len__(self) -> int:
        return len(self._holds)

    @contextmanager
    def hold(self, claim: ClaimedJob, *, until: float) -> Iterator[Hold]:
        """Work on a job for the length of the block, which is cut short when the lease is lost.

        Args:
            until: loop time at which the lease ends unless it is renewed; taken before the claim was sent, so it
                never lies behind the store's own.
        """
        with anyio.CancelScope(deadline=until) as scope:
            held = self._holds[claim.job.id] = Hold(claim=claim, lease=scope)
            try:
                yield held
            finally:
                del self._holds[claim.job.id]
        if scope.cancelled_caught:
            held.is_lost = True
            self._metrics.lease_losses.inc()
            log.warning("job.lease_lost", job=str(claim.job.id), tenant=claim.job.tenant, attempt=claim.job.attempt)

    def interrupt(self) -> None:
        """End every call in hand; their jobs are settled as interrupted."""
        for hold in self._holds.values():
            hold.call.cancel()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Renew until cancelled."""
        task_status.started()
        pause_s = self._lease_s / 3
        while True:
            await anyio.sleep(pause_s)
            pause_s = self._lease_s / 3 if await self._renew() else self._lease_s / 20

    async def _renew(self) -> bool:
        holds = list(self._holds.values())
        if not holds:
            return True
        until = anyio.current_time() + self._lease_s
        try:
            with anyio.fail_after(self._lease_s / 3):
                kept = await self._jobs.renew([hold.claim for hold in holds], lease_s=self._lease_s)
        except (ConstellationError, TimeoutError) as error:
            self._metrics.store_failures.labels("renew").inc()
            log.warning("leases.not_renewed", held=len(holds), reason=str(error) or "no answer in time")
            return False
        for hold in holds:
            if hold.claim.job.id in kept:
                hold.lease.deadline = until
            elif not hold.is_settling:  # a job that is being settled may have left the table just now
                hold.lease.cancel()
        return True
