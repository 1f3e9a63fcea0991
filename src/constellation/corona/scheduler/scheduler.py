"""Fires due schedules: claim by lease, submit under the run's own key, plan the next under the claim's token.

Two coronas, or one that is killed at any instruction, fire a run once: the claim is exclusive while its lease
lasts, the job's idempotency key is the run itself, and a runner whose claim is lost can write nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.backoff import backoff_s
from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.base.ids import RequestId, uuid7
from constellation.corona.scheduler.metrics import SchedulerMetrics
from constellation.corona.scheduler.plan import following_run, run_key, run_source
from constellation.nova.domain.schedule import Schedule
from constellation.nova.store.listen import Wakeup
from constellation.nova.store.schedules import ClaimedSchedule
from constellation.rpc.faults import Fault, fault_of
from constellation.rpc.invoker import Accepted, AsyncOptions, Invoker
from constellation.rpc.metadata import CallContext
from constellation.rpc.owner import OwnerTokens

log = structlog.get_logger()

SUBMIT_TIMEOUT_S = 10.0  # chosen: comet answers as soon as the job is committed
RETRY_BASE_S, RETRY_CAP_S = 0.2, 5.0  # chosen: a plane that restarts is back within two seconds
STORE_RETRY_S = 1.0  # chosen: the embedded database restarts within that


class DueSchedules(Protocol):
    """What the scheduler needs of the store. Errors: `ConstellationError` that may pass."""

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedSchedule, ...]: ...

    async def finish(
        self,
        claim: ClaimedSchedule,
        *,
        next_run_at: datetime | None,
        last_run_at: datetime | None,
        job_id: UUID | None,
    ) -> bool: ...

    async def seconds_to_next(self) -> float | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOptions:
    owner: str  # unique among all runners, this life of the process included
    lease_s: float
    batch: int  # schedules in hand at most
    safety_poll_s: float


class Scheduler:
    """A service: `run` works until cancelled; `drain` lets it end what is in hand."""

    def __init__(
        self,
        schedules: DueSchedules,
        invoker: Invoker,
        tokens: OwnerTokens,
        *,
        options: SchedulerOptions,
        clock: Clock,
        metrics: SchedulerMetrics,
        wakeup: Wakeup,
        rng: random.Random,
    ) -> None:
        self._schedules, self._invoker, self._tokens = schedules, invoker, tokens
        self._options, self._clock, self._metrics = options, clock, metrics
        self._wakeup, self._rng = wakeup, rng
        self._in_hand = 0
        self._is_draining = False

    def drain(self) -> None:
        """Claim nothing more; `run` returns when what is in hand is fired or its lease has ended."""
        self._is_draining = True
        self._wakeup.wake_nowait()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Fire what is due until cancelled or drained.

        Cancelled, it leaves its claims to their leases: whoever claims them next submits under the same keys.
        """
        task_status.started()
        async with anyio.create_task_group() as firing:
            while not self._is_draining:
                wait_s = await self._claim_into(firing)
                if wait_s > 0 and not self._is_draining:
                    await self._wakeup.wait(within_s=wait_s)

    async def _claim_into(self, firing: anyio.abc.TaskGroup) -> float:
        """Claim what there is room for, start it, and return how long nothing can be due, in seconds."""
        room = self._options.batch - self._in_hand
        if room <= 0:
            return self._options.safety_poll_s  # each run that ends wakes us
        lease_end = anyio.current_time() + self._options.lease_s  # before the claim: never later than the store's
        try:
            claims = await self._schedules.claim(owner=self._options.owner, lease_s=self._options.lease_s, limit=room)
            next_s = await self._schedules.seconds_to_next() if len(claims) < room else 0.0
        except ConstellationError as error:
            log.warning("schedules.unreachable", reason=str(error))
            return STORE_RETRY_S
        for claim in claims:
            self._in_hand += 1
            self._metrics.in_hand.set(self._in_hand)
            firing.start_soon(self._fire, claim, lease_end)
        return min(self._options.safety_poll_s, self._options.safety_poll_s if next_s is None else next_s)

    async def _fire(self, claim: ClaimedSchedule, lease_end: float) -> None:
        try:
            with anyio.CancelScope(deadline=lease_end) as lease:
                await self._fire_once(claim)
            if lease.cancelled_caught:
                self._metrics.lease_losses.inc()
                log.warning("schedule.lease_ended", **_about(claim.schedule))
        except Exception:  # the supervision point of one schedule: it costs this run only, until its lease ends
            log.exception("schedule.failed", **_about(claim.schedule))
        finally:
            self._in_hand -= 1
            self._metrics.in_hand.set(self._in_hand)
            self._wakeup.wake_nowait()

    async def _fire_once(self, claim: ClaimedSchedule) -> None:
        schedule = claim.schedule
        due = schedule.next_run_at
        assert due is not None  # a claim is of something due
        accepted = await self._submit(schedule, due)
        now = self._clock.now()
        is_recorded = await self._finish(
            claim,
            next_run_at=_next_run(schedule, due=due, now=now),
            last_run_at=now if accepted else schedule.last_run_at,
            job_id=UUID(accepted.id) if accepted else schedule.last_job_id,
        )
        if not is_recorded:
            self._metrics.lease_losses.inc()
            log.info("schedule.claim_lost", **_about(schedule))
        if accepted:
            self._metrics.fired.labels("replayed" if accepted.is_replay else "fired").inc()
            self._metrics.lateness.observe(max(0.0, (now - due).total_seconds()))
            log.debug("schedule.fired", job=accepted.id, due=due.isoformat(), **_about(schedule))

    async def _submit(self, schedule: Schedule, due: datetime) -> Accepted | None:
        """Submit the run, again and again while that may help; None when it is refused for good."""
        options = AsyncOptions(idempotency_key=run_key(schedule, due), source=run_source(schedule))
        subject = f"schedule:{schedule.id}"
        failures = 0
        while True:
            try:
                return await self._invoker.invoke_async(
                    schedule.function_name,
                    schedule.input,
                    token=self._tokens.token(tenant=schedule.tenant, namespace=schedule.namespace, subject=subject),
                    context=CallContext(
                        request_id=RequestId(uuid7()), source=options.source, qualifier=schedule.qualifier
                    ),
                    options=options,
                    timeout_s=SUBMIT_TIMEOUT_S,
                )
            except ConstellationError as error:
                about = _about(schedule) | {"code": error.code, "reason": str(error)}
                if fault_of(error) is Fault.PERMANENT:
                    self._metrics.fired.labels("refused").inc()
                    log.warning("schedule.refused", **about)
                    return None
                failures += 1
                self._metrics.retries.inc()
                log.info("schedule.submit_failed", failures=failures, **about)
            await self._back_off(failures)

    async def _finish(
        self,
        claim: ClaimedSchedule,
        *,
        next_run_at: datetime | None,
        last_run_at: datetime | None,
        job_id: UUID | None,
    ) -> bool:
        failures = 0
        while True:
            try:
                is_recorded = await self._schedules.finish(
                    claim, next_run_at=next_run_at, last_run_at=last_run_at, job_id=job_id
                )
            except ConstellationError as error:
                failures += 1
                log.info("schedules.unreachable", reason=str(error))
            else:
                return is_recorded or failures > 0  # a try whose answer was lost may have been the one that wrote
            await self._back_off(failures)

    async def _back_off(self, failures: int) -> None:
        jitter = self._rng.random()
        await self._clock.sleep(backoff_s(failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, jitter=jitter))


def _next_run(schedule: Schedule, *, due: datetime, now: datetime) -> datetime | None:
    try:
        return following_run(schedule, due=due, now=now)
    except InvalidRequest as error:  # it was valid when it was written: this host lacks its time zone
        log.exception("schedule.ended", reason=str(error), **_about(schedule))
        return None


def _about(schedule: Schedule) -> dict[str, str]:
    return {"schedule": str(schedule.id), "tenant": schedule.tenant, "function": schedule.function_name}
