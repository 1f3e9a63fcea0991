"""Runs calls: guard chain, instance, answer, record. Everything that reaches a function goes through here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Protocol
from uuid import UUID

import anyio
import msgspec

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, DeadlineExceeded, InvalidRequest, TenantSuspended
from constellation.base.ids import uuid7, uuid7_time_s
from constellation.comet.backend.contract import (
    Call,
    CallLog,
    CallTimeout,
    Outcome,
    OutputInvalid,
)
from constellation.comet.executor.budget import Budget
from constellation.comet.executor.durable import new_job
from constellation.comet.executor.ingress import refuse_uninvited
from constellation.comet.executor.meters import Meters
from constellation.comet.executor.record import RecordWriter
from constellation.comet.executor.run import Run, Streamed, invoked
from constellation.comet.executor.turn import Turn
from constellation.comet.functions import Entry, FunctionCache
from constellation.comet.pool.pool import Lease, Pool
from constellation.comet.pool.rows import version_of
from constellation.comet.qualified import Qualified
from constellation.comet.refusals import FunctionHalted, QueueFull, QueueWaitTimeout, refuse_unbuilt
from constellation.native.table_values import Ask, FunctionStats
from constellation.nova.domain.access import Permission, authorize
from constellation.nova.domain.function import MAX_ASYNC_PAYLOAD_BYTES, MAX_SYNC_PAYLOAD_BYTES, Function
from constellation.nova.domain.invocation import InvocationRecord
from constellation.nova.domain.job import Job, NewJob
from constellation.rpc.caller import Caller
from constellation.rpc.invoker import AsyncOptions, Invoked
from constellation.rpc.metadata import trace_ids

NO_LOG = CallLog()
NO_TRACE = (bytes(16), bytes(8))
EMPTY_PAYLOAD = b"{}"  # what a handler sees of a call without a body
CLOCK_SKEW_S = 3600.0  # a request id may be this far off our clock; the log is partitioned by its time
_SHED = (QueueFull, QueueWaitTimeout)  # counted, as all that the guard chain refuses, but no row in the log


class Enqueued(Protocol):
    """A job that is committed."""

    @property
    def job(self) -> Job: ...

    @property
    def is_replay(self) -> bool: ...


class JobSink(Protocol):
    async def enqueue(self, job: NewJob, *, max_depth: int | None = ...) -> Enqueued:
        """Commit a job, if its tenant has room; a live idempotency key answers with the job that it is bound to."""
        ...


class Executor:
    """The execution plane of one node, without its transports."""

    def __init__(
        self,
        *,
        functions: FunctionCache,
        pool: Pool,
        jobs: JobSink,
        records: RecordWriter[InvocationRecord],
        meters: Meters,
        clock: Clock,
        node: str,
        is_json: Callable[[bytes], bool],
        qualified: Qualified,
        queue_depth: Callable[[str], int | None] = lambda _tenant: None,
    ) -> None:
        self._functions, self._pool, self._jobs = functions, pool, jobs
        self._records, self._meters, self._clock = records, meters, clock
        self._node, self._is_json, self._qualified = node, is_json, qualified
        self._queue_depth = queue_depth  # of a tenant: how many jobs it may have

    @property
    def inflight(self) -> int:
        """Calls in hand, running or waiting."""
        return self._pool.inflight

    async def invoke(
        self, caller: Caller, function: str, payload: bytes, *, budget: Budget, turn: Turn | None = None
    ) -> Invoked:
        """Run one call to its end. A handler that raised is an answer with `error`.

        Raises:
            ConstellationError: the guard chain refused it, no instance could be had, or the instance did not answer.

        If cancelled, the call is given up and an instance that was running it is destroyed.
        """
        entry = await self._enter(caller, function, budget)
        with self._running(caller, entry, payload) as run:
            lease = await self._lease(caller, entry, run, payload, budget)
            call = self._call(caller, run, payload, budget, turn)
            run.is_broken = True
            try:
                outcome = await lease.instance.invoke(call)
            except OutputInvalid:
                run.is_broken = False  # the handler's answer is bad, its worker is not
                raise
            run.is_broken = False
            if turn is not None:
                outcome = _of_turn(turn, outcome)
            self._succeeded(run, outcome, output_bytes=len(outcome.output or b""))
            return invoked(run, outcome)

    async def invoke_durable(
        self, caller: Caller, function: str, payload: bytes, turn: Turn, *, budget: Budget
    ) -> Invoked | None:
        """Run a durable execution on from its record; None: it waits for a time or an event.

        Raises:
            ConstellationError: as `invoke`; or what a step ended the run with.
        """
        try:
            answer = await self.invoke(caller, function, payload, budget=budget, turn=turn)
        except ConstellationError:
            if turn.is_suspended:  # the record says so already, however the run ended after that
                return None
            raise
        return None if turn.is_suspended else answer

    @asynccontextmanager
    async def stream(self, caller: Caller, function: str, payload: bytes, *, budget: Budget) -> AsyncIterator[Streamed]:
        """Run one call whose answer comes in pieces, with back-pressure. Leaving the block early gives it up.

        Raises:
            ConstellationError: as `invoke`; before the first piece, or from the iteration.
        """
        entry = await self._enter(caller, function, budget)
        with self._running(caller, entry, payload) as run:
            lease = await self._lease(caller, entry, run, payload, budget)
            call = self._call(caller, run, payload, budget)
            run.is_broken = True
            async with lease.instance.stream(call) as source:
                streamed = Streamed(run, source)
                try:
                    yield streamed
                finally:
                    run.is_broken = streamed.outcome is None
            if streamed.outcome is not None:
                self._succeeded(run, streamed.outcome, output_bytes=streamed.sent_bytes)
            else:
                self._given_up(run)

    async def invoke_async(
        self,
        caller: Caller,
        function: str,
        payload: bytes,
        options: AsyncOptions,
        *,
        budget: Budget,
        is_durable: bool = False,
    ) -> Enqueued:
        """Accept a call that is run later, or an execution; when this returns it is committed.

        Raises:
            ConstellationError: what its run would surely be refused for, an option out of range, or no database.
        """
        entry = await self._enter(caller, function, budget)
        try:
            payload = payload or EMPTY_PAYLOAD
            refuse_uninvited(entry.function, caller, is_for_later=True)
            served = self._pool.serve(entry.function, is_suspended=entry.is_suspended)
            self._pool.check(served, _ask(caller, payload), max_payload_bytes=MAX_ASYNC_PAYLOAD_BYTES)
            self._check_json(payload)
            job = new_job(caller, entry.function, payload, options, is_durable=is_durable)
            with _within(budget.left_s(self._clock.monotonic_s()), "the job queue"):
                enqueued = await self._jobs.enqueue(job, max_depth=self._queue_depth(job.tenant))
        except ConstellationError as error:
            self._meters.shed(error.code)
            raise
        else:
            self._meters.jobs_accepted.labels(str(enqueued.is_replay).lower()).inc()
            return enqueued
        finally:
            self._pool.leave()

    async def check(self, caller: Caller, name: str, payload: bytes, *, budget: Budget) -> None:
        """Let a call through that may be answered without being run; it counts for its caller's rate.

        Raises:
            ConstellationError: what a run would surely be refused for.
        """
        entry = await self._enter(caller, name, budget)
        try:
            served = self._pool.serve(entry.function, is_suspended=entry.is_suspended)
            self._pool.check(served, _ask(caller, payload), max_payload_bytes=MAX_SYNC_PAYLOAD_BYTES)
        except ConstellationError as error:
            self._meters.shed(error.code)
            raise
        finally:
            self._pool.leave()

    async def function(self, caller: Caller, name: str, *, budget: Budget) -> Function:
        """Return a function of the caller's scope, or raise `NotFound`."""
        return (await self._entry(caller, name, budget)).function

    async def prewarm(self, caller: Caller, name: str, *, target: int, budget: Budget) -> FunctionStats:
        """Begin instances of a function until there are `target`; return its counts.

        Raises:
            NotFound, FunctionHalted, TenantSuspended
        """
        entry = await self._entry(caller, name, budget)
        if entry.is_suspended:
            raise TenantSuspended(entry.function.tenant)
        if entry.function.halted:
            raise FunctionHalted(name)
        return self._pool.prewarm(self._pool.serve(entry.function, is_suspended=False), target)

    async def drain(self, *, within_s: float) -> bool:
        """Refuse new calls from now on and wait for those in hand; False when some were left after `within_s`."""
        return await self._pool.drain(within_s=within_s)

    # One call, step by step. Nothing here suspends for a warm call of a function that is kept.

    async def _enter(self, caller: Caller, name: str, budget: Budget) -> Entry:
        """Count the call in (`Pool.leave` counts it out when this returned) and find its function."""
        try:
            authorize(caller.identity, Permission.FUNCTION_INVOKE, name)
        except ConstellationError as error:
            self._meters.shed(error.code)
            raise
        self._pool.enter()
        try:
            entry = await self._entry(caller, name, budget)
            self._refuse(entry.function, caller)
        except BaseException:
            self._pool.leave()
            raise
        return entry

    def _refuse(self, function: Function, caller: Caller) -> None:
        try:
            refuse_uninvited(function, caller)
            refuse_unbuilt(function)
        except ConstellationError as error:
            self._meters.shed(error.code)
            raise

    async def _entry(self, caller: Caller, name: str, budget: Budget) -> Entry:
        """Return a function of the caller's scope; does not suspend for one that is kept."""
        key = (caller.identity.tenant, caller.identity.namespace, name)
        kept = self._functions.get_nowait(key)
        context = caller.context
        if kept is not None and not context.qualifier:
            return kept
        with _within(budget.left_s(self._clock.monotonic_s()), "the function's row"):
            entry = kept or await self._functions.load(key)
            if not context.qualifier:
                return entry
            return await self._qualified.entry(entry, context.qualifier, key=context.sticky)

    @contextmanager
    def _running(self, caller: Caller, entry: Entry, payload: bytes) -> Iterator[Run]:
        """Begin a call that `_enter` counted in; write down how it failed, if it did, and count it out."""
        try:
            run = self._begin(caller, entry, payload)
            try:
                yield run
            except ConstellationError as error:
                self._failed(run, error)
                raise
            except BaseException:
                self._given_up(run)
                raise
        finally:
            self._pool.leave()

    def _begin(self, caller: Caller, entry: Entry, payload: bytes) -> Run:
        function = entry.function
        now = self._clock.now()
        return Run(
            request_id=_record_id(caller.context.request_id, now),
            function=function,
            source=caller.context.source,
            input_bytes=len(payload),
            started_at=now,
            started_s=self._clock.monotonic_s(),
            version=function.live_version,
        )

    async def _lease(self, caller: Caller, entry: Entry, run: Run, payload: bytes, budget: Budget) -> Lease:
        pool = self._pool
        served = pool.serve(entry.function, is_suspended=entry.is_suspended)
        run.call = call = pool.admit(served, _ask(caller, payload))
        if payload:
            self._check_json(payload)
        run.is_recorded = True
        lease = pool.lease_nowait(served, call, until_s=budget.until_s)
        if lease is None:
            left_s = budget.left_s(run.started_s)
            lease = await pool.wait(served, call, budget_s=left_s, given_s=budget.given_s)
            run.function = served.function  # the row may have changed meanwhile
        run.lease, run.version = lease, version_of(lease.function, served.function)
        return lease

    def _check_json(self, payload: bytes) -> None:
        if not self._is_json(payload):
            raise InvalidRequest("the payload is not valid JSON")

    def _call(self, caller: Caller, run: Run, payload: bytes, budget: Budget, turn: Turn | None = None) -> Call:
        left_s = budget.left_s(self._clock.monotonic_s())
        if left_s <= 0:
            raise CallTimeout(run.function.name, after_s=budget.given_s, phase="wait")
        traceparent = caller.context.traceparent
        trace_id, span_id = trace_ids(traceparent) if traceparent else NO_TRACE
        return Call(
            request_id=run.request_id,
            payload=payload or EMPTY_PAYLOAD,
            timeout_s=min(run.function.timeout_s, left_s),
            trace_id=trace_id,
            span_id=span_id,
            origin=caller.context,
            turn=turn,
        )

    # How it ended.

    def _succeeded(self, run: Run, outcome: Outcome, *, output_bytes: int) -> None:
        status = "ok" if outcome.error is None else "function_error"
        error = None if outcome.error is None else outcome.error.decode("utf-8", "replace")
        self._end(run, status)
        self._record(run, status, error=error, log=outcome.log, output_bytes=output_bytes)

    def _failed(self, run: Run, error: ConstellationError) -> None:
        self._end(run, error.code)
        if not run.is_recorded or isinstance(error, _SHED):
            return
        problem = msgspec.json.encode(error.problem()).decode()
        self._record(run, error.code, error=problem, log=getattr(error, "log", NO_LOG), output_bytes=0)

    def _given_up(self, run: Run) -> None:
        self._end(run, "cancelled")
        self._record(run, "cancelled", error=None, log=NO_LOG, output_bytes=0)

    def _end(self, run: Run, status: str) -> None:
        """Give the call back; one that the guard chain refused is counted already."""
        if run.call is not None:
            call, run.call = run.call, None
            self._pool.end(call, status, is_broken=run.is_broken)

    def _record(self, run: Run, status: str, *, error: str | None, log: CallLog, output_bytes: int) -> None:
        function, lease = run.function, run.lease
        self._records.put_nowait(
            InvocationRecord(
                tenant=function.tenant,
                namespace=function.namespace,
                id=run.request_id,
                function_id=function.id,
                function_name=function.name,
                function_version=run.version,
                runtime=function.runtime,
                node=self._node,
                started_at=run.started_at,
                duration_ms=(self._clock.monotonic_s() - run.started_s) * 1000,
                queued_ms=lease.waited_s * 1000 if lease is not None else 0.0,
                cold_start=lease is not None and lease.is_cold,
                status=status,
                error=error,
                input_bytes=run.input_bytes,
                output_bytes=output_bytes,
                log=log.text,
                log_truncated=log.truncated,
                source=run.source,
            )
        )


def _of_turn(turn: Turn, outcome: Outcome) -> Outcome:
    """Return what a run came to: one that waits was cut off in its handler, and did not fail there."""
    if turn.failure is not None:
        raise turn.failure
    if turn.is_suspended:
        return Outcome(output=b"null", error=None, log=outcome.log, duration_ms=outcome.duration_ms)
    return outcome


def _ask(caller: Caller, payload: bytes) -> Ask:
    identity, context = caller.identity, caller.context
    return Ask(
        len(payload),
        identity.tenant,
        identity.subject,
        identity.rate_per_s,
        identity.burst,
        context.depth,
        context.chain,
    )


def _record_id(request_id: UUID, now: datetime) -> UUID:
    """Return the caller's id when the log can hold it (a UUIDv7 of about now), else a fresh one."""
    if request_id.version == 7 and abs(uuid7_time_s(request_id) - now.timestamp()) < CLOCK_SKEW_S:
        return request_id
    return uuid7()


@contextmanager
def _within(left_s: float, what: str) -> Iterator[None]:
    with anyio.move_on_after(left_s) as scope:
        yield
    if scope.cancelled_caught:
        raise DeadlineExceeded(what, after_s=left_s)
