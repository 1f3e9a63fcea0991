"""The steps of a durable execution: taken one after the other, each answered from the record where it is there.

Deterministic by rule: the nth step of every run has the same kind and name, or the execution fails and says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.asks.question import Failed, Question
from constellation.comet.executor.turn import Turn
from constellation.comet.filters import filter_of
from constellation.native.json_check import is_handler_error
from constellation.nova.domain.execution import (
    MAX_STEP_BYTES,
    MAX_WAIT_S,
    MessageWait,
    Step,
    StepKind,
    StepsDiverged,
    check_step,
    check_step_name,
    check_wait,
)
from constellation.nova.domain.topic import check_name
from constellation.nova.store.steps import RunLost, Steps
from constellation.routes.models.topics import Conditions
from constellation.routes.reading import decode_body


class NotDurable(ConstellationError):
    """Steps outside of a durable execution have no record to go on."""

    code, http_status = "not_durable", 409

    def __init__(self) -> None:
        super().__init__("this call is not a durable execution: call the function by invoke-durable to take steps")


class RunSuspended(ConstellationError):
    """The execution waits; this run of it is over."""

    code, http_status = "suspended", 409

    def __init__(self) -> None:
        super().__init__("the execution waits; this run of it is over")


class StepOpen(ConstellationError):
    """Another step is not done: with two at a time their order would be anybody's guess."""

    code, http_status = "step_open", 409

    def __init__(self, name: str) -> None:
        super().__init__(f"step {name!r} is not done: steps are taken one after the other, and not within each other")


class StepsFull(ConstellationError):
    """The execution has taken as many steps as it may."""

    code, http_status = "steps_full", 409

    def __init__(self, limit: int) -> None:
        super().__init__(f"an execution has at most {limit} steps", extras={"limit": limit})


class StepTooLarge(ConstellationError):
    """What a step came to is above its bound."""

    code, http_status = "step_too_large", 413

    def __init__(self, name: str) -> None:
        super().__init__(f"step {name!r} came to more than {MAX_STEP_BYTES} bytes of JSON")


class StepAnswers:
    """Every ask is of the call's own run."""

    def __init__(self, steps: Steps, *, clock: Clock, max_steps: Callable[[str], int]) -> None:
        self._steps, self._clock, self._max_steps = steps, clock, max_steps

    async def begin(self, question: Question) -> bytes:
        """Say what a step came to, or that it is to be run now."""
        name = check_step_name(question.ask.name)
        with self._taken(question) as turn:
            await self._find(turn)
            assert turn.recorded is not None
            step = await self._steps.get(turn.run, turn.next_seq) if turn.next_seq < turn.recorded else None
            if step is None:
                self._check_room(turn)
                turn.open_seq, turn.open_name, turn.opened_s = turn.next_seq, name, self._clock.monotonic_s()
                return msgspec.json.encode({"seq": turn.next_seq})
            self._check(turn, step, StepKind.RUN, name)
            turn.next_seq += 1
        if step.error is not None:
            raise Failed("step_failed", step.error)
        return b'{"output":' + (step.output or b"null") + b"}"

    async def end(self, question: Question) -> bytes:
        """Keep what the open step came to; when this is answered, it is committed."""
        ask, turn = question.ask, _turn_of(question)
        if turn.open_seq is None or turn.open_seq != ask.seq or turn.is_busy:
            raise InvalidRequest("no such step is open", field="seq")
        name, error = turn.open_name, ask.error or None
        if error is not None and not is_handler_error(error):
            raise InvalidRequest("the error is not {type, message, stack}", field="error")
        output = None if error is not None else question.json()
        if len(error or output or b"") > MAX_STEP_BYTES:
            turn.failure = StepTooLarge(name)
            raise turn.failure
        with self._busy(turn):
            took_s = self._clock.monotonic_s() - turn.opened_s
            await self._steps.record(turn.run, ask.seq, name, output=output, error=error, took_s=took_s)
            turn.open_seq = None
            turn.next_seq += 1
        return b"{}"

    async def sleep(self, question: Question) -> bytes:
        await self._wait(question, StepKind.SLEEP)
        return b"{}"

    async def wait(self, question: Question) -> bytes:
        step = await self._wait(question, StepKind.EVENT)
        if step.error is not None:
            raise Failed("timeout", step.error)
        return b'{"payload":' + (step.output or b"null") + b"}"

    async def wait_for_message(self, question: Question) -> bytes:
        """Answer with a message of a topic, as a function that subscribes to it gets it."""
        ask = question.ask
        topic = check_name("topic", ask.name)
        wanted: Conditions = decode_body(question.json(), Conditions) if ask.value else {}
        wait = MessageWait(key=ask.key or None, filter=filter_of(wanted))
        seconds = check_wait(ask.for_ms / 1000, field="timeout") or MAX_WAIT_S
        namespace = question.spec.namespace
        step = await self._waited(
            question,
            lambda turn: self._steps.wait_for_message(turn.run, turn.next_seq, namespace, topic, wait, seconds=seconds),
        )
        if step.error is not None:
            raise Failed("timeout", step.error)
        return b'{"message":' + (step.output or b"null") + b"}"

    async def _wait(self, question: Question, kind: StepKind) -> Step:
        ask = question.ask
        name = check_step_name(ask.name)
        seconds = check_wait(ask.for_ms / 1000, field="seconds")
        if kind is StepKind.EVENT and not ask.for_ms:
            seconds = MAX_WAIT_S
        return await self._waited(
            question, lambda turn: self._steps.wait(turn.run, turn.next_seq, kind, name, seconds=seconds)
        )

    async def _waited(self, question: Question, wait: Callable[[Turn], Awaitable[Step | None]]) -> Step:
        with self._taken(question) as turn:
            await self._find(turn)
            self._check_room(turn)
            try:
                step = await wait(turn)
            except StepsDiverged as error:
                turn.failure = error
                raise
            if step is None:
                turn.is_suspended = True
                raise RunSuspended
            turn.next_seq += 1
            return step

    @contextmanager
    def _taken(self, question: Question) -> Iterator[Turn]:
        turn = _turn_of(question)
        if turn.open_seq is not None or turn.is_busy:
            raise StepOpen(turn.open_name)
        with self._busy(turn):
            yield turn

    @contextmanager
    def _busy(self, turn: Turn) -> Iterator[None]:
        turn.is_busy = True
        try:
            yield
        except ConstellationError as error:
            if error.retryable or isinstance(error, RunLost):
                turn.failure = error  # not the handler's to handle: another run goes on from the record
            raise
        finally:
            turn.is_busy = False

    async def _find(self, turn: Turn) -> None:
        if turn.recorded is None:
            turn.recorded = await self._steps.recorded(turn.run)

    def _check_room(self, turn: Turn) -> None:
        limit = self._max_steps(turn.run.tenant)
        if turn.next_seq >= limit:
            turn.failure = StepsFull(limit)
            raise turn.failure

    def _check(self, turn: Turn, step: Step, kind: StepKind, name: str) -> None:
        try:
            check_step(step, kind, name)
        except StepsDiverged as error:
            turn.failure = error
            raise


def _turn_of(question: Question) -> Turn:
    """Return the run whose call this is.

    Raises:
        NotDurable
        RunSuspended, ConstellationError: the run is over, whatever the handler makes of it.
    """
    turn = question.turn
    if turn is None:
        raise NotDurable
    if turn.failure is not None:
        raise turn.failure
    if turn.is_suspended:
        raise RunSuspended
    return turn
