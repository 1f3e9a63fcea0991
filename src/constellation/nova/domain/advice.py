"""What the figures of a function's calls say about its settings: rules over what was measured. Pure.

A rule says something when its figures do, and nothing else: there is no guess at what would be saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from constellation.nova.domain.function import Function, Mode

MIN_CALLS = 20  # chosen: fewer say nothing
COLD_SHARE = 0.20
NEAR_TIMEOUT = 0.80  # of the limit, that 1 of 100 calls comes to
AT_TIMEOUT = 0.95  # of the limit, from which on a call that timed out did so by the function's own limit
QUEUED_MS = 100.0  # chosen: in line; longer than the cold start of most languages
QUEUED_SHARE, MUCH_QUEUED_SHARE = 0.05, 0.20
ERROR_SHARE, MUCH_ERROR_SHARE = 0.05, 0.50
LOST_SHARE = 0.01  # of calls that are cut off, by time or memory: from here on it is critical
IDLE_DAYS = 7  # a shorter time without calls says nothing
MAX_TIMEOUT_S, MAX_MEMORY_MB, MAX_REPLICAS = 900.0, 10_240, 10_000


class Category(StrEnum):
    MEMORY = "memory"
    TIMEOUT = "timeout"
    ERRORS = "errors"
    COLD_START = "cold_start"
    CAPACITY = "capacity"
    IDLE = "idle"


class Priority(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of the live version in a time; those whose caller went or sent nonsense are left out."""

    calls: int = 0
    errors: int = 0  # cut off ones among them
    cold_starts: int = 0
    timeouts: int = 0  # cut off at the function's own limit
    out_of_memory: int = 0
    queued: int = 0  # warm ones that stood in line for longer than `QUEUED_MS`
    cold_p50_ms: float | None = None  # of those that ended well
    warm_p50_ms: float | None = None
    run_p99_ms: float | None = None  # without the time in line
    has_any: bool = False  # is one call on record, of whichever version

    def share(self, count: int) -> float:
        return count / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    category: Category
    priority: Priority
    setting: str | None  # of the function; None: no setting cures it
    current_value: float
    recommended_value: float | None
    reasoning: str
    metrics: Mapping[str, float] = field(default_factory=dict)


def advise(function: Function, calls: Calls, *, since: datetime, days: int) -> Sequence[Advice]:
    """Return what the calls of the `days` days since an instant say, the most urgent first."""
    found = [_idle(function, calls, since=since, days=days)]
    if calls.calls >= MIN_CALLS:
        found += [rule(function, calls) for rule in (_memory, _timeout, _errors, _cold_start, _capacity)]
    order = list(Priority)
    return sorted((each for each in found if each is not None), key=lambda each: order.index(each.priority))


def _memory(function: Function, calls: Calls) -> Advice | None:
    if not calls.out_of_memory:
        return None
    share = calls.share(calls.out_of_memory)
    return Advice(
        category=Category.MEMORY,
        priority=Priority.CRITICAL if share >= LOST_SHARE else Priority.HIGH,
        setting="memory_mb",
        current_value=function.memory_mb,
        recommended_value=_more(function.memory_mb * 2, function.memory_mb, MAX_MEMORY_MB),
        reasoning=f"{calls.out_of_memory} of {calls.calls} calls ran out of the {function.memory_mb} MiB that they have",
        metrics={"out_of_memory": calls.out_of_memory, "out_of_memory_pct": 100 * share},
    )


def _timeout(function: Function, calls: Calls) -> Advice | None:
    limit_ms, p99_ms = function.timeout_s * 1000, calls.run_p99_ms or 0.0
    if not calls.timeouts and p99_ms < NEAR_TIMEOUT * limit_ms:
        return None
    share = calls.share(calls.timeouts)
    if calls.timeouts:
        reasoning = (
            f"{calls.timeouts} of {calls.calls} calls were cut off after the {function.timeout_s:g} s that they have"
        )
    else:
        reasoning = (
            f"1 of 100 calls runs for {p99_ms / 1000:.2f} s or longer, and is cut off after {function.timeout_s:g} s"
        )
    return Advice(
        category=Category.TIMEOUT,
        priority=Priority.CRITICAL if share >= LOST_SHARE else Priority.HIGH if calls.timeouts else Priority.MEDIUM,
        setting="timeout_s",
        current_value=function.timeout_s,
        recommended_value=_more(function.timeout_s * 2, function.timeout_s, MAX_TIMEOUT_S),
        reasoning=reasoning,
        metrics={"timeouts": calls.timeouts, "timeouts_pct": 100 * share, "run_p99_ms": p99_ms},
    )


def _errors(_function: Function, calls: Calls) -> Advice | None:
    errors = calls.errors - calls.timeouts - calls.out_of_memory  # these two have rules of their own
    share = calls.share(errors)
    if share <= ERROR_SHARE:
        return None
    return Advice(
        category=Category.ERRORS,
        priority=Priority.CRITICAL if share > MUCH_ERROR_SHARE else Priority.HIGH,
        setting=None,
        current_value=100 * share,
        recommended_value=None,
        reasoning=f"{errors} of {calls.calls} calls failed by themselves: their log says why",
        metrics={"errors": errors, "errors_pct": 100 * share},
    )


def _cold_start(function: Function, calls: Calls) -> Advice | None:
    share = calls.share(calls.cold_starts)
    # An isolated call has an instance of its own, whatever is kept warm.
    if function.min_replicas or function.mode is Mode.ISOLATED or share <= COLD_SHARE:
        return None
    metrics = {"cold_starts": float(calls.cold_starts), "cold_starts_pct": 100 * share}
    reasoning = f"{calls.cold_starts} of {calls.calls} calls started cold, and no instance is kept"
    if calls.cold_p50_ms is not None and calls.warm_p50_ms is not None:
        metrics |= {"cold_p50_ms": calls.cold_p50_ms, "warm_p50_ms": calls.warm_p50_ms}
        reasoning += (
            f"; at the median a cold one took {calls.cold_p50_ms:.1f} ms, a warm one {calls.warm_p50_ms:.1f} ms"
        )
    return Advice(
        category=Category.COLD_START,
        priority=Priority.HIGH,
        setting="min_replicas",
        current_value=0,
        recommended_value=1,
        reasoning=reasoning,
        metrics=metrics,
    )


def _capacity(function: Function, calls: Calls) -> Advice | None:
    share = calls.share(calls.queued)
    if function.mode is Mode.ISOLATED or share <= QUEUED_SHARE:
        return None
    return Advice(
        category=Category.CAPACITY,
        priority=Priority.HIGH if share > MUCH_QUEUED_SHARE else Priority.MEDIUM,
        setting="max_replicas",
        current_value=function.max_replicas,
        recommended_value=_more(function.max_replicas * 2, function.max_replicas, MAX_REPLICAS),
        reasoning=(
            f"{calls.queued} of {calls.calls} calls waited for longer than {QUEUED_MS:g} ms until an instance was free; there are "
            f"at most {function.max_replicas}, with {function.instance_concurrency} calls at a time in each"
        ),
        metrics={"queued": calls.queued, "queued_pct": 100 * share},
    )


def _idle(function: Function, calls: Calls, *, since: datetime, days: int) -> Advice | None:
    if not function.min_replicas or days < IDLE_DAYS or calls.has_any:
        return None
    if (
        function.updated_at is None or function.updated_at > since
    ):  # whoever keeps instances may wait for its first calls
        return None
    return Advice(
        category=Category.IDLE,
        priority=Priority.MEDIUM,
        setting="min_replicas",
        current_value=function.min_replicas,
        recommended_value=0,
        reasoning=f"{function.min_replicas} instances are kept, and no call of the last {days} days is on record",
        metrics={"calls": 0},
    )


def _more(wanted: float, now: float, most: float) -> float | None:
    """Return a larger value that may be set; None: it is the largest already."""
    return min(wanted, most) if now < most else None
