"""Calls with an idempotency key: one of them runs, the others wait for its answer and get the same.

A key belongs to a function of a tenant. What a handler returned or raised is an answer and is kept. Whatever else
happens (a refusal, a timeout, an instance that died, a caller that hung up) frees the key: the next call with it runs.
So does the end of a comet, once its lease on the key has run out; a call that was cut off by it may then run again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus
from prometheus_client import CollectorRegistry, Counter

from constellation.base.backoff import backoff_s
from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest, Overloaded
from constellation.comet.executor.budget import Budget
from constellation.nova.config.sections import IdempotencySettings
from constellation.nova.store.call_keys import CallKey, Holder, KeptAnswer
from constellation.rpc.caller import Caller
from constellation.rpc.invoker import Invoked

log = structlog.get_logger()

LEASE_S = 15.0  # chosen: how long the key of a call is held after its comet's end
RENEW_S = LEASE_S / 3
FORGET_S = 60.0  # chosen
FORGET_BATCH = 5_000
KEEP_GRACE_S = 5.0  # chosen: an answer is held up so long by a database that is away
MAX_WAITING = 1024  # calls that wait for the answer of another; chosen: a quarter of those that a comet takes
LOOK_BASE_S, LOOK_CAP_S = 0.05, 1.0  # at the key of a call that another comet runs


class IdempotencyMismatch(ConstellationError):
    """The key was used for another call."""

    code, http_status = "idempotency_mismatch", 422

    def __init__(self, function: str) -> None:
        super().__init__(f"function {function!r}: this Idempotency-Key was used with another payload")


class IdempotencyInProgress(ConstellationError):
    """The first call with the key was not over when this one's time was."""

    code, http_status, retryable = "idempotency_in_progress", 409, True

    def __init__(self, function: str, *, after_s: float) -> None:
        super().__init__(
            f"function {function!r}: the first call with this Idempotency-Key still runs after {after_s:g} s",
            extras={"after_s": after_s},
            retry_after_s=1,
        )


class AnswerNotKept(ConstellationError):
    """The call with the key was answered, with more than is kept."""

    code, http_status = "idempotency_answer_not_kept", 409

    def __init__(self, function: str, *, request_id: UUID, limit_bytes: int) -> None:
        super().__init__(
            f"function {function!r}: the call with this Idempotency-Key was answered; its answer was too large to keep",
            extras={"first_request_id": str(request_id), "limit_bytes": limit_bytes},
        )


def refuse_key(key: str) -> None:
    """Refuse a key of a call whose answer comes in pieces: they are not kept, so it could run twice.

    Raises:
        InvalidRequest
    """
    if key:
        raise InvalidRequest(
            "a streamed call takes no Idempotency-Key: its answer is not kept", field="Idempotency-Key"
        )


class Keys(Protocol):
    """What is needed of the store; see `nova.store.call_keys`."""

    async def claim(self, key: CallKey, fingerprint: bytes, *, lease_s: float, ttl_s: float) -> UUID | None: ...

    async def get(self, key: CallKey) -> Holder | None: ...

    async def answer(self, key: CallKey, token: UUID, answer: KeptAnswer, *, ttl_s: float) -> bool: ...

    async def release(self, key: CallKey, token: UUID) -> None: ...

    async def renew(self, held: Mapping[CallKey, UUID], *, lease_s: float) -> None: ...

    async def forget(self, *, limit: int) -> int: ...


class Calls(Protocol):
    """What runs the call: the executor."""

    async def invoke(self, caller: Caller, function: str, payload: bytes, *, budget: Budget) -> Invoked: ...

    async def check(self, caller: Caller, name: str, payload: bytes, *, budget: Budget) -> None: ...


@dataclass(slots=True, eq=False)
class _Flight:
    """A key that a call of this comet has, or asks for."""

    fingerprint: bytes
    over: anyio.Event = field(default_factory=anyio.Event)
    answer: Invoked | None = None  # None when it is over: the key is free again


class Once:
    """The keyed calls of one node. `run` must be running: it holds the keys of long calls."""

    def __init__(
        self,
        calls: Calls,
        keys: Keys,
        settings: Callable[[], IdempotencySettings],
        *,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._calls, self._keys, self._settings, self._clock = calls, keys, settings, clock
        self._flights: dict[CallKey, _Flight] = {}
        self._held: dict[CallKey, UUID] = {}
        self._waiting = 0
        self._outcomes = Counter(
            "constellation_idempotent_calls",
            "Calls with an idempotency key, by what became of them",
            ("outcome",),
            registry=registry,
        )

    async def invoke(self, caller: Caller, function: str, payload: bytes, *, budget: Budget) -> Invoked:
        """Run a call, or return the answer of the one that had its key first.

        Raises:
            IdempotencyMismatch: the key was used for another call.
            IdempotencyInProgress: that one still runs when this one's time is up.
            AnswerNotKept: it is over, and its answer was too large to keep.
            DatabaseUnavailable: whether the key is known can not be said; nothing was run.
            ConstellationError: as `Executor.invoke`.
        """
        identity, context = caller.identity, caller.context
        await self._calls.check(caller, function, payload, budget=budget)
        caller = replace(caller, identity=replace(identity, rate_per_s=0.0))  # it was counted just now
        key = CallKey(
            tenant=identity.tenant,
            namespace=identity.namespace,
            function_name=function,
            key=context.idempotency_key,
        )
        asked = f"{context.qualifier}\n".encode() + payload if context.qualifier else payload
        fingerprint = context.idempotency_fingerprint or sha256(asked).digest()
        while True:
            flight = self._flights.get(key)
            if flight is None:
                return await self._fly(key, fingerprint, caller, payload, budget)
            if flight.fingerprint != fingerprint:
                raise self._mismatch(function)
            async with self._in_line(function, budget):
                await flight.over.wait()
            if flight.answer is not None:
                return self._again(flight.answer)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the keys of calls that run, and forget those whose time is up, until cancelled."""
        task_status.started()
        forget_at_s = self._clock.monotonic_s() + FORGET_S
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                if self._held:
                    await self._keys.renew(dict(self._held), lease_s=LEASE_S)
                if self._clock.monotonic_s() >= forget_at_s:
                    forget_at_s = self._clock.monotonic_s() + FORGET_S
                    while await self._keys.forget(limit=FORGET_BATCH) == FORGET_BATCH:
                        await anyio.lowlevel.checkpoint()
            except ConstellationError as error:  # the supervision point: the next round may do better
                log.info("idempotency.upkeep_postponed", reason=str(error))

    async def _fly(self, key: CallKey, fingerprint: bytes, caller: Caller, payload: bytes, budget: Budget) -> Invoked:
        flight = self._flights[key] = _Flight(fingerprint)
        try:
            async with self._in_line(key.function_name, budget):
                found = await self._claim(key, fingerprint)
            if isinstance(found, KeptAnswer):
                flight.answer = self._kept(key.function_name, found)
                return self._again(flight.answer)
            self._held[key] = found
            try:
                flight.answer = await self._calls.invoke(caller, key.function_name, payload, budget=budget)
            except BaseException:
                await self._release(key, found)
                raise
            await self._keep(key, found, flight.answer)
            self._outcomes.labels("first").inc()
            return flight.answer
        finally:
            self._held.pop(key, None)
            del self._flights[key]
            flight.over.set()

    async def _claim(self, key: CallKey, fingerprint: bytes) -> UUID | KeptAnswer:
        """Return a token to run with, or the answer that is there already; waits while another comet runs the call."""
        looks = 0
        while True:
            token = await self._keys.claim(key, fingerprint, lease_s=LEASE_S, ttl_s=self._settings().ttl_s)
            if token is not None:
                return token
            holder = await self._keys.get(key)
            if holder is not None:  # else it was freed between the two
                if holder.fingerprint != fingerprint:
                    raise self._mismatch(key.function_name)
                if holder.answer is not None:
                    return holder.answer
                looks += 1
                await self._clock.sleep(backoff_s(looks, base_s=LOOK_BASE_S, cap_s=LOOK_CAP_S, jitter=0.5))

    async def _keep(self, key: CallKey, token: UUID, answer: Invoked) -> None:
        """Write an answer down before it is given. The call has run: it is given even when that can not be done."""
        limit_bytes = self._settings().max_answer_bytes
        is_kept = len(answer.output or b"") + len(answer.error or b"") <= limit_bytes
        kept = KeptAnswer(
            request_id=UUID(answer.request_id),
            output=answer.output if is_kept else None,
            error=answer.error if is_kept else None,
            duration_ms=answer.duration_ms,
            cold_start=answer.cold_start,
            code_version=answer.version,
            is_kept=is_kept,
        )
        with anyio.move_on_after(KEEP_GRACE_S, shield=True) as grace:
            try:
                if not await self._keys.answer(key, token, kept, ttl_s=self._settings().ttl_s):
                    log.info("idempotency.key_was_lost", function=key.function_name)
            except ConstellationError as error:
                log.warning("idempotency.answer_lost", function=key.function_name, reason=str(error))
        if grace.cancelled_caught:
            log.warning("idempotency.answer_lost", function=key.function_name, reason="the database did not answer")

    async def _release(self, key: CallKey, token: UUID) -> None:
        with anyio.move_on_after(KEEP_GRACE_S, shield=True):
            try:
                await self._keys.release(key, token)
            except ConstellationError as error:  # its lease ends by itself
                log.info("idempotency.release_failed", function=key.function_name, reason=str(error))

    def _kept(self, function: str, answer: KeptAnswer) -> Invoked:
        if not answer.is_kept:
            raise AnswerNotKept(function, request_id=answer.request_id, limit_bytes=self._settings().max_answer_bytes)
        return Invoked(
            request_id=str(answer.request_id),
            output=answer.output,
            error=answer.error,
            duration_ms=answer.duration_ms,
            cold_start=answer.cold_start,
            version=answer.code_version,
        )

    def _again(self, answer: Invoked) -> Invoked:
        self._outcomes.labels("replay").inc()
        return replace(answer, is_replay=True)

    def _mismatch(self, function: str) -> IdempotencyMismatch:
        self._outcomes.labels("mismatch").inc()
        return IdempotencyMismatch(function)

    @asynccontextmanager
    async def _in_line(self, function: str, budget: Budget) -> AsyncIterator[None]:
        """Bound what the block waits for another call: by this one's time, and in number."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded("calls that wait for another with their Idempotency-Key", limit=MAX_WAITING)
        self._waiting += 1
        try:
            with anyio.move_on_after(budget.left_s(self._clock.monotonic_s())) as scope:
                yield
        finally:
            self._waiting -= 1
        if scope.cancelled_caught:
            raise IdempotencyInProgress(function, after_s=budget.given_s)
