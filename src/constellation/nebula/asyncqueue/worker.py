"""The worker of durable calls: claims as many jobs as it has free slots, runs each through comet, settles it.

At least once: a job is in the table until the commit of its outcome, so a worker may be killed at any instruction.
Never twice at a time: the claim is exclusive while its lease lasts, and only the holder of its token can write.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.backoff import backoff_s
from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError
from constellation.base.ids import RequestId, uuid7
from constellation.nebula.asyncqueue.leases import Hold, Leases
from constellation.nebula.asyncqueue.ledger import JobLedger
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from constellation.nebula.asyncqueue.settle import Settler
from constellation.nebula.asyncqueue.verdict import (
    Again,
    Dead,
    PutBack,
    Succeeded,
    Suspended,
    Verdict,
    of_answer,
    of_error,
    of_interruption,
)
from constellation.nova.domain.execution import Run
from constellation.nova.domain.job import DELIVERY, Job
from constellation.nova.store.jobs import ClaimedJob
from constellation.nova.store.listen import Wakeup
from constellation.rpc.invoker import Invoked, Invoker
from constellation.rpc.metadata import CallContext
from constellation.rpc.owner import OwnerTokens

log = structlog.get_logger()

STORE_RETRY_S = 1.0  # chosen: the embedded database restarts within that
CONTENDED_WAIT_S = 0.02  # chosen: due jobs that another worker's transaction has locked are its own in a moment
COMET_RETRY_BASE_S, COMET_RETRY_CAP_S = 0.2, 2.0  # chosen: comet is back within two seconds of a crash
_SOURCES = {"schedule": "schedule", DELIVERY: "event"}  # of jobs, by how the text of their source begins
REQUEST_MARGIN_S = 5.0  # chosen: comet states its own time-out before ours ends the call


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    owner: str  # unique among all workers, this life of the process included
    workers: int  # jobs in hand at most
    batch: int  # jobs claimed at a time at most
    lease_s: float
    safety_poll_s: float
    call_timeout_s: Callable[[], float]  # of one attempt


class AsyncQueue:
    """A service: `run` works until cancelled; `drain` and `interrupt` end it in order."""

    def __init__(
        self,
        jobs: JobLedger,
        invoker: Invoker,
        tokens: OwnerTokens,
        *,
        options: QueueOptions,
        clock: Clock,
        metrics: QueueMetrics,
        wakeup: Wakeup,
        rng: random.Random,
    ) -> None:
        self._jobs, self._invoker, self._tokens = jobs, invoker, tokens
        self._options, self._clock, self._metrics = options, clock, metrics
        self._wakeup, self._rng = wakeup, rng
        self._leases = Leases(jobs, lease_s=options.lease_s, metrics=metrics)
        self._settler = Settler(jobs, batch=options.workers, metrics=metrics, rng=rng)
        self._in_hand = 0
        self._is_draining = False
        self._comet_failures = 0  # connections refused in a row
        self._comet_away_until = 0.0  # loop time before which nothing is claimed

    def drain(self) -> None:
        """Claim nothing more; `run` returns when what is in hand is settled."""
        self._is_draining = True
        self._wakeup.wake_nowait()

    def interrupt(self) -> None:
        """Drain, and end the calls in hand: each goes back in line at once, its attempt used up."""
        self.drain()
        self._leases.interrupt()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run jobs until cancelled or drained.

        Cancelled, it leaves its claims to their leases: the jobs run again when these end.
        """
        async with anyio.create_task_group() as services:
            await services.start(self._leases.run)
            await services.start(self._settler.run)
            task_status.started()
            async with anyio.create_task_group() as running:
                while not self._is_draining:
                    wait_s = await self._claim_into(running)
                    if wait_s > 0 and not self._is_draining:
                        await self._wakeup.wait(within_s=wait_s)
            services.cancel_scope.cancel()

    async def _claim_into(self, running: TaskGroup) -> float:
        """Claim what there is room for, start it, and return how long nothing can be due, in seconds."""
        away_s = self._comet_away_until - anyio.current_time()
        if away_s > 0:
            return away_s
        # While comet is away one job at a time asks whether it is back.
        slots = 1 if self._comet_failures else self._options.workers
        room = min(slots - self._in_hand, self._options.batch)
        if room <= 0:
            return self._options.safety_poll_s  # each job that is settled wakes us
        lease_end = anyio.current_time() + self._options.lease_s
        try:
            claims = await self._jobs.claim(owner=self._options.owner, lease_s=self._options.lease_s, limit=room)
            next_s = 0.0 if len(claims) == room else await self._jobs.seconds_to_next()
        except ConstellationError as error:
            self._metrics.store_failures.labels("claim").inc()
            log.warning("jobs.unreachable", reason=str(error))
            return STORE_RETRY_S
        for claim in claims:
            self._in_hand += 1
            running.start_soon(self._work, claim, lease_end)
        self._metrics.claimed.inc(len(claims))
        self._metrics.in_hand.set(self._in_hand)
        if next_s is None:
            return self._options.safety_poll_s
        if next_s == 0 and not claims:
            next_s = CONTENDED_WAIT_S
        return min(self._options.safety_poll_s, next_s)

    async def _work(self, claim: ClaimedJob, lease_end: float) -> None:
        job = claim.job
        began = anyio.current_time()
        if job.started_at is not None:
            self._metrics.start_latency.observe(max(0.0, (job.started_at - job.run_at).total_seconds()))
        try:
            with self._leases.hold(claim, until=lease_end) as hold:
                request_id = RequestId(uuid7())
                verdict = await self._attempt(hold, request_id)
                hold.is_settling = True
                if await self._settler.settle(claim, request_id, verdict):
                    self._count(job, verdict, took_s=anyio.current_time() - began)
                else:
                    self._metrics.lease_losses.inc()
                    log.warning("job.claim_lost", job=str(job.id), tenant=job.tenant, attempt=job.attempt)
        finally:
            self._in_hand -= 1
            self._metrics.in_hand.set(self._in_hand)
            self._wakeup.wake_nowait()

    async def _attempt(self, hold: Hold, request_id: RequestId) -> Verdict:
        job = hold.claim.job
        if self._is_draining:
            return PutBack(delay_s=0.0)
        with hold.call:
            try:
                answer = await self._call(hold.claim, request_id)
            except ConstellationError as error:
                verdict = of_error(job, error, now=self._clock.now(), jitter=self._rng.random())
                if isinstance(verdict, PutBack) and verdict.is_undelivered:
                    return PutBack(delay_s=self._comet_is_away(error), is_undelivered=True)
                log.info("job.attempt_failed", job=str(job.id), attempt=job.attempt, code=error.code, reason=str(error))
            except Exception as error:  # the supervision point of one job: it costs this attempt only
                log.exception("job.attempt_broke", job=str(job.id), attempt=job.attempt)
                ours = ConstellationError(f"an internal error: {type(error).__name__}")
                verdict = of_error(job, ours, now=self._clock.now(), jitter=self._rng.random())
            else:
                verdict = Suspended() if answer is None else of_answer(job, answer, jitter=self._rng.random())
            self._comet_failures = 0
            return verdict
        return of_interruption(job)

    async def _call(self, claim: ClaimedJob, request_id: RequestId) -> Invoked | None:
        """Run a job through comet; None: a durable one waits."""
        job = claim.job
        token = self._tokens.token(tenant=job.tenant, namespace=job.namespace, subject=job.subject)
        source = "durable" if job.is_durable else _SOURCES.get(job.source.partition("/")[0], "async")
        context = CallContext(
            request_id=request_id,
            depth=job.call_depth,
            chain=job.call_chain,
            source=source,
            qualifier=job.qualifier,
        )
        timeout_s = self._options.call_timeout_s() + REQUEST_MARGIN_S
        if not job.is_durable:
            return await self._invoker.invoke(
                job.function_name, job.payload, token=token, context=context, timeout_s=timeout_s
            )
        run = Run(tenant=job.tenant, execution_id=job.id, token=claim.token)
        return await self._invoker.invoke_durable(
            job.function_name, job.payload, run=run, token=token, context=context, timeout_s=timeout_s
        )

    def _comet_is_away(self, error: ConstellationError) -> float:
        """Pause all claims, longer with each failure in a row; return the pause that is left, in seconds."""
        now = anyio.current_time()
        if now >= self._comet_away_until:  # the other calls of the same moment say nothing new
            self._comet_failures += 1
            pause_s = backoff_s(
                self._comet_failures, base_s=COMET_RETRY_BASE_S, cap_s=COMET_RETRY_CAP_S, jitter=self._rng.random()
            )
            self._comet_away_until = now + pause_s
            log.warning("comet.unreachable", reason=str(error), pause_s=round(pause_s, 2))
        return self._comet_away_until - now

    def _count(self, job: Job, verdict: Verdict, *, took_s: float) -> None:
        match verdict:
            case Suspended():
                outcome = "suspended"
            case Succeeded():
                outcome = "succeeded"
            case Again():
                outcome = "retried"
            case Dead():
                outcome = "dead"
                log.warning("job.dead", job=str(job.id), tenant=job.tenant, function=job.function_name)
            case PutBack():
                outcome = "put_back"
        self._metrics.attempts.labels(outcome).inc()
        if job.source.startswith(f"{DELIVERY}/"):
            self._metrics.deliveries.labels(outcome).inc()
        self._metrics.duration.observe(took_s)
