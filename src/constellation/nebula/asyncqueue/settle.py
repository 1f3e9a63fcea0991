"""Writes outcomes: all that are ready share one transaction, and each waits for its own commit."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.backoff import backoff_s
from constellation.base.errors import ConstellationError
from constellation.nebula.asyncqueue.ledger import JobLedger
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nebula.asyncqueue.verdict import Again, Dead, PutBack, Succeeded, Suspended, Verdict
from constellation.nova.store.jobs import ClaimedJob, Completion, Failure
from constellation.nova.store.listen import Wakeup

log = structlog.get_logger()

RETRY_BASE_S, RETRY_CAP_S = 0.1, 2.0  # chosen: the embedded database restarts within a second


@dataclass(slots=True, kw_only=True, eq=False)
class _Pending:
    claim: ClaimedJob
    request_id: UUID
    verdict: Verdict
    is_wanted: bool = True  # False: its lease ended while it stood in line
    is_written: bool = False
    was_tried: bool = False  # a write whose answer got lost may have been done
    settled: anyio.Event = field(default_factory=anyio.Event)


class Settler:
    """A service: `run` writes until cancelled. Its line is as long as the queue has workers."""

    def __init__(self, jobs: JobLedger, *, batch: int, metrics: QueueMetrics, rng: random.Random) -> None:
        self._jobs, self._batch, self._metrics, self._rng = jobs, batch, metrics, rng
        self._line: deque[_Pending] = deque()
        self._wakeup = Wakeup()

    async def settle(self, claim: ClaimedJob, request_id: UUID, verdict: Verdict) -> bool:
        """Return when the outcome is committed; False when the claim was lost and nothing was written.

        The database being away is waited out; the caller's lease ends the wait. Cancelled, the outcome is not
        written any more, unless its transaction is under way.
        """
        pending = _Pending(claim=claim, request_id=request_id, verdict=verdict)
        self._line.append(pending)
        self._wakeup.wake_nowait()
        try:
            await pending.settled.wait()
        finally:
            pending.is_wanted = False
        return pending.is_written or pending.was_tried

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Write outcomes until cancelled."""
        task_status.started()
        failures = 0
        while True:
            if not self._line:
                await self._wakeup.wait(within_s=60.0)
                continue
            count = min(len(self._line), self._batch)
            taken = [pending for pending in (self._line.popleft() for _ in range(count)) if pending.is_wanted]
            left = await self._write(taken)
            self._line.extendleft(reversed(left))
            failures = failures + 1 if left else 0
            if left:
                jitter = self._rng.random()
                await anyio.sleep(backoff_s(failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, jitter=jitter))

    async def _write(self, taken: Sequence[_Pending]) -> list[_Pending]:
        """Write each kind of outcome in a transaction of its own; return what the store did not take."""
        left: list[_Pending] = []
        done = [(pending, result) for pending in taken if (result := _completion(pending))]
        failed = [(pending, failure) for pending in taken if (failure := _failure(pending))]
        back: dict[float, list[_Pending]] = {}
        for pending in taken:
            if isinstance(pending.verdict, PutBack):
                back.setdefault(pending.verdict.delay_s, []).append(pending)
        if done:
            results = [result for _, result in done]
            left += await self._commit([pending for pending, _ in done], lambda: self._jobs.complete(results))
        if failed:
            failures = [failure for _, failure in failed]
            left += await self._commit([pending for pending, _ in failed], lambda: self._jobs.fail(failures))
        waiting = [pending for pending in taken if isinstance(pending.verdict, Suspended)]
        if waiting:
            claims = [pending.claim for pending in waiting]
            left += await self._commit(waiting, lambda: self._jobs.suspend(claims))
        for delay_s, group in back.items():
            left += await self._put_back(group, delay_s)
        return left

    async def _put_back(self, group: list[_Pending], delay_s: float) -> list[_Pending]:
        claims = [pending.claim for pending in group]
        return await self._commit(group, lambda: self._jobs.release(claims, delay_s=delay_s))

    async def _commit(self, group: list[_Pending], write: Callable[[], Awaitable[frozenset[UUID]]]) -> list[_Pending]:
        try:
            written = await write()
        except ConstellationError as error:
            self._metrics.store_failures.labels("settle").inc()
            log.warning("outcomes.not_written", count=len(group), reason=str(error))
            for pending in group:
                pending.was_tried = True
            return group
        except Exception:  # the supervision point of a batch: what can not be written runs again after its lease
            log.exception("outcomes.refused", count=len(group))
            written = frozenset()
        self._metrics.batch.observe(len(group))
        for pending in group:
            pending.is_written = pending.claim.job.id in written
            pending.settled.set()
        return []


def _completion(pending: _Pending) -> Completion | None:
    match pending.verdict:
        case Succeeded(output=output, duration_ms=duration_ms, version=version):
            return Completion(
                claim=pending.claim,
                request_id=pending.request_id,
                output=output,
                duration_ms=duration_ms,
                version=version,
            )
        case _:
            return None


def _failure(pending: _Pending) -> Failure | None:
    match pending.verdict:
        case Again(error=error, delay_s=delay_s, duration_ms=duration_ms, version=version):
            retry_after_s: float | None = delay_s
        case Dead(error=error, duration_ms=duration_ms, version=version):
            retry_after_s = None
        case _:
            return None
    return Failure(
        claim=pending.claim,
        request_id=pending.request_id,
        error=error,
        duration_ms=duration_ms,
        retry_after_s=retry_after_s,
        version=version,
    )
