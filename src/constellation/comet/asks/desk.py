"""Takes what functions ask, has it answered in its time, and replies: once to each, whatever became of it.

Bounded three times: a worker has `CT_LINK_ASKS_MAX` in hand, then it is not read on; a worker that asks faster than
its pace waits for its replies; and past `IN_HAND` on this node asks are refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from prometheus_client import CollectorRegistry, Counter, Gauge

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, DeadlineExceeded, Overloaded
from constellation.comet.asks.question import (
    AskUnknown,
    CallEnded,
    Failed,
    Op,
    Question,
    ask_id_of,
    read,
    refusal,
    reply,
)
from constellation.comet.backend.contract import InstanceSpec
from constellation.native.link import Asked

log = structlog.get_logger()

Answer = Callable[[Question], Awaitable[bytes]]

IN_HAND = 4096  # chosen: as many as calls by default
PACE_PER_S, PACE_BURST = 1000.0, 1000.0  # chosen: of one worker; a core of the host answers several times as many
_OTHER = "other"


@dataclass(slots=True, eq=False)
class _Pace:
    """A bucket of asks: one that is not there yet is waited for."""

    tokens: float
    at_s: float

    def wait_s(self, now_s: float) -> float:
        self.tokens = min(PACE_BURST, self.tokens + (now_s - self.at_s) * PACE_PER_S) - 1
        self.at_s = now_s
        return max(0.0, -self.tokens / PACE_PER_S)


class AskDesk:
    """A service: `run` answers until cancelled."""

    def __init__(
        self, answers: Mapping[int, Answer], *, clock: Clock, registry: CollectorRegistry, max_functions: int
    ) -> None:
        self._answers, self._clock, self._max_functions = answers, clock, max_functions
        self._tasks: TaskGroup | None = None
        self._in_hand = 0
        self._paces: dict[int, _Pace] = {}  # by link
        self._seen: set[tuple[str, str, str]] = set()
        self._counted = Counter(
            "constellation_function_asks",
            "What functions asked of the platform, by what became of it",
            ("op", "outcome"),
            registry=registry,
        )
        self._by_function = Counter(
            "constellation_function_asks_by_function",
            "What functions asked of the platform, by who asked",
            ("function", "tenant", "namespace"),
            registry=registry,
        )
        self._bytes = Counter(
            "constellation_function_asks_bytes",
            "Bytes of asks and their replies",
            ("direction",),
            registry=registry,
        )
        Gauge("constellation_function_asks_in_hand", "Asks that wait for their reply", registry=registry).set_function(
            lambda: self._in_hand
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    def take_nowait(self, asked: Asked) -> None:
        """Take an ask that just came; its reply goes out later."""
        self._bytes.labels("in").inc(len(asked.body))
        if self._tasks is None or self._in_hand >= IN_HAND:
            self._reply(asked, refusal(ask_id_of(asked.body), Overloaded("asks of functions", limit=IN_HAND)))
            self._counted.labels(_OTHER, Overloaded.code).inc()
            return
        self._in_hand += 1
        self._tasks.start_soon(self._serve, asked)

    async def _serve(self, asked: Asked) -> None:
        body = b""
        with anyio.CancelScope() as scope:
            forget = asked.link.on_end(scope.cancel)
            try:
                await self._keep_pace(asked)
                body = await self._answered(asked)
            finally:
                forget()
                self._in_hand -= 1
        if scope.cancelled_caught:
            return  # the worker is gone
        self._reply(asked, body)

    async def _answered(self, asked: Asked) -> bytes:
        ask_id, op, outcome = ask_id_of(asked.body), _OTHER, "ok"
        try:
            question = read(asked, now_s=self._clock.monotonic_s())
            ask_id = question.ask.id
            if question.ask.op in self._answers:
                op = Op.Name(question.ask.op).lower()
            return reply(ask_id, await self._answer(question))
        except (ConstellationError, Failed) as error:
            outcome = error.code
            return refusal(ask_id, error)
        except Exception as error:  # the supervision point of one ask: it costs this one only
            log.exception("ask.failed", op=op)
            outcome = ConstellationError.code
            return refusal(ask_id, ConstellationError(f"an internal error: {type(error).__name__}"))
        finally:
            self._counted.labels(op, outcome).inc()
            self._by_function.labels(*self._series(asked)).inc()

    async def _answer(self, question: Question) -> bytes:
        answer = self._answers.get(question.ask.op)
        if answer is None:
            raise AskUnknown(question.ask.op)
        if not question.budget.until_s:
            raise CallEnded
        with anyio.move_on_after(question.budget.given_s):
            return await answer(question)
        raise DeadlineExceeded(Op.Name(question.ask.op).lower(), after_s=question.budget.given_s)

    async def _keep_pace(self, asked: Asked) -> None:
        number = asked.link.number
        now_s = self._clock.monotonic_s()
        pace = self._paces.get(number)
        if pace is None:
            pace = self._paces[number] = _Pace(PACE_BURST, now_s)
            asked.link.on_end(lambda: self._forget(number))
        wait_s = pace.wait_s(now_s)
        if wait_s > 0:
            await anyio.sleep(wait_s)

    def _forget(self, number: int) -> None:
        self._paces.pop(number, None)

    def _series(self, asked: Asked) -> tuple[str, str, str]:
        spec = asked.link.owner
        assert isinstance(spec, InstanceSpec)
        series = (spec.function_name, spec.tenant, spec.namespace)
        if series not in self._seen:
            if len(self._seen) >= self._max_functions:
                return (_OTHER, _OTHER, _OTHER)
            self._seen.add(series)
        return series

    def _reply(self, asked: Asked, body: bytes) -> None:
        self._bytes.labels("out").inc(len(body))
        asked.link.reply(asked, body)
