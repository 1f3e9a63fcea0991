"""Load on one server: closed loops that ask as fast as they are answered, and an open loop at a given rate."""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio
from histogram import Histogram
from http1 import Answer, BadAnswer, Broken, Connection, Target

RECONNECT_S = 0.05  # chosen: a server that is away is asked twenty times a second and connection, not in a busy loop


@dataclass(slots=True, kw_only=True)
class Result:
    """What was measured. Failed calls are counted by what failed and are in no percentile."""

    latency_us: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0

    @property
    def rate(self) -> float:
        """Successful calls a second."""
        return self.latency_us.count / self.elapsed_s if self.elapsed_s else 0.0

    def add(self, other: Result) -> None:
        self.latency_us.add(other.latency_us)
        self.errors += other.errors
        self.elapsed_s += other.elapsed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of request to one server."""

    target: Target
    request: bytes
    connections: int
    rate: float | None = None  # calls a second of the open loop; None: closed loops
    timeout_s: float = 30.0


async def run(work: Work, *, duration_s: float) -> Result:
    """Load the server for `duration_s`; calls that were begun by then are waited for and counted."""
    result = Result()
    begin = time.perf_counter()
    until = begin + duration_s
    if work.rate is None:
        lane = functools.partial(_closed, work, until)
    else:
        lane = functools.partial(_open, work, until, _schedule(begin, work.rate))
    async with anyio.create_task_group() as tasks:
        for _ in range(work.connections):
            tasks.start_soon(lane, result)
    result.elapsed_s = time.perf_counter() - begin
    return result


def _schedule(begin: float, rate: float) -> Iterator[float]:
    return (begin + number / rate for number in itertools.count())


async def _closed(work: Work, until: float, result: Result) -> None:
    caller = Caller(work, result)
    try:
        while (start := time.perf_counter()) < until:
            await caller.call(start)
    finally:
        caller.close()


async def _open(work: Work, until: float, schedule: Iterator[float], result: Result) -> None:
    """Take the next call of the schedule and make it when it is due.

    A call's latency counts from the instant at which it was due, not from when a connection was free for it: a server
    that stalls is charged for everybody who would have waited (coordinated omission).
    """
    caller = Caller(work, result)
    try:
        for due in schedule:
            if due >= until:
                return
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                await anyio.sleep(wait_s)
            await caller.call(due)
    finally:
        caller.close()


class Caller:
    """One connection that is opened again when it breaks, and what its calls came to."""

    def __init__(self, work: Work, result: Result) -> None:
        self._work, self._result = work, result
        self._connection: Connection | None = None

    async def call(self, start: float) -> None:
        try:
            if self._connection is None or not self._connection.is_open:
                self._connection = await Connection.open(self._work.target, timeout_s=self._work.timeout_s)
            answer = await self._connection.ask(self._work.request, timeout_s=self._work.timeout_s)
        except TimeoutError:
            self._result.errors["timeout"] += 1
        except (OSError, Broken) as error:
            self._result.errors[f"connection: {type(error).__name__}"] += 1
            await anyio.sleep(RECONNECT_S)
        except BadAnswer as error:
            self._result.errors[f"bad answer: {error}"] += 1
        else:
            what = failure_of(answer)
            if what is None:
                self._result.latency_us.record(round((time.perf_counter() - start) * 1e6))
            else:
                self._result.errors[what] += 1

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def failure_of(answer: Answer) -> str | None:
    """Return what failed, by status and code, or None. A handler that raised is a failure here."""
    if 200 <= answer.status <= 299:
        # A whole parse would cost the generator more than it tells; the platform writes its answers without spaces.
        is_error = b'"error":' in answer.body and b'"error":null' not in answer.body
        return "the function raised" if is_error else None
    try:
        body = json.loads(answer.body)
        code = body.get("code", "") if isinstance(body, dict) else ""
    except ValueError:
        code = ""
    return f"{answer.status} {code}".rstrip()
