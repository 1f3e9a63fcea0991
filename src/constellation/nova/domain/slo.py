"""Objectives of a function over its recent calls, and when they count as missed and as met again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from constellation.base.errors import InvalidRequest

CONFIRM_LOOKS = 3  # chosen: looks in a row that must agree, so that one burst neither begins nor ends a breach
MARGIN = 0.9  # chosen: a breach ends below nine tenths of what is allowed, so that it does not flap at the limit
LOOKS_A_WINDOW = 30  # chosen: a window moves by a thirtieth of itself between two looks
MIN_LOOK_S, MAX_LOOK_S = 2.0, 60.0  # chosen: the log is written once a second; a long window still ends soon


class Objective(StrEnum):
    SUCCESS_RATE = "success_rate_pct"
    P95_DURATION = "p95_duration_ms"
    COLD_START_RATE = "cold_start_rate_pct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The calls of a window; those whose caller went or sent nonsense are left out."""

    since: datetime
    until: datetime
    calls: int
    errors: int
    cold_starts: int
    p95_ms: float | None  # of what the platform took for a call, its time in line included; None: there was none

    def actual(self, objective: Objective) -> float | None:
        """Return what the calls came to; None when there were none."""
        if not self.calls:
            return None
        match objective:
            case Objective.SUCCESS_RATE:
                return 100.0 * (self.calls - self.errors) / self.calls
            case Objective.COLD_START_RATE:
                return 100.0 * self.cold_starts / self.calls
            case Objective.P95_DURATION:
                return self.p95_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class SloPolicy:
    """What a function is to keep to. An objective that is None is none."""

    enabled: bool = True
    window_s: int = 900
    min_samples: int = 20  # a window with fewer calls says nothing
    success_rate_pct: float | None = None  # at least
    p95_duration_ms: float | None = None  # at most
    cold_start_rate_pct: float | None = None  # at most

    @property
    def limits(self) -> Mapping[Objective, float]:
        wanted = {each: getattr(self, each.value) for each in Objective}
        return {each: limit for each, limit in wanted.items() if limit is not None}

    @property
    def look_s(self) -> float:
        """How long after one look the next one is due."""
        return min(MAX_LOOK_S, max(MIN_LOOK_S, self.window_s / LOOKS_A_WINDOW))


NO_SLO = SloPolicy(enabled=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """One row of `function_slos`."""

    tenant: str
    namespace: str
    function_id: UUID
    function_name: str
    policy: SloPolicy
    breached: frozenset[Objective] = frozenset()  # that people were told of
    breached_at: datetime | None = None  # None: nothing is
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    objective: Objective
    limit: float
    actual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the looks so far say: what counts as missed, and how many in a row say otherwise of an objective."""

    breached: frozenset[Objective] = frozenset()
    streaks: Mapping[Objective, int] = field(default_factory=dict)


def check_slo(policy: SloPolicy) -> None:
    """Let a policy through that watches something when it is enabled; raise `InvalidRequest` for others."""
    if policy.enabled and not policy.limits:
        names = ", ".join(each.value for each in Objective)
        raise InvalidRequest(f"an enabled policy needs one of {names}", field="objectives")


def has_enough(policy: SloPolicy, snapshot: Snapshot) -> bool:
    return snapshot.calls >= policy.min_samples


def breaches_of(policy: SloPolicy, snapshot: Snapshot) -> Sequence[Breach]:
    """Return which objectives a window misses, by itself; none while it has too few calls."""
    if not has_enough(policy, snapshot):
        return ()
    measured = ((each, limit, snapshot.actual(each)) for each, limit in policy.limits.items())
    return tuple(
        Breach(objective=each, limit=limit, actual=actual)
        for each, limit, actual in measured
        if actual is not None and _excess(each, actual) > _excess(each, limit)
    )


def look(policy: SloPolicy, watch: Watch, snapshot: Snapshot) -> Watch:
    """Return what counts as missed after one more look.

    A breach begins when several looks in a row find the objective missed, and ends when as many find it kept by a margin.
    A window with too few calls changes nothing: without calls nothing is known to be well again.
    """
    if not has_enough(policy, snapshot):
        return Watch(breached=watch.breached)
    missed = {breach.objective for breach in breaches_of(policy, snapshot)}
    breached, streaks = set(watch.breached), {}
    for objective, limit in policy.limits.items():
        is_breached = objective in breached
        says_otherwise = _is_well(objective, limit, snapshot) if is_breached else objective in missed
        if not says_otherwise:
            continue
        streaks[objective] = watch.streaks.get(objective, 0) + 1
        if streaks[objective] >= CONFIRM_LOOKS:
            breached ^= {objective}
            del streaks[objective]
    return Watch(breached=frozenset(breached), streaks=streaks)


def carried(old: Slo, new: SloPolicy) -> frozenset[Objective]:
    """Return what stays missed when a policy is replaced: what it asks for as before. The rest is judged afresh."""
    if not new.enabled:
        return frozenset()
    return frozenset(each for each in old.breached if old.policy.limits.get(each) == new.limits.get(each))


def told_of(policy: SloPolicy, objectives: Collection[Objective], snapshot: Snapshot) -> str:
    """Return a line about how objectives do."""
    parts = [
        _told(each, limit, snapshot.actual(each) or 0.0) for each, limit in policy.limits.items() if each in objectives
    ]
    return f"{'; '.join(parts)} ({snapshot.calls} calls in {policy.window_s} s)"


def _told(objective: Objective, limit: float, actual: float) -> str:
    match objective:
        case Objective.SUCCESS_RATE:
            return f"{actual:.2f} % of calls succeeded, at least {limit:g} % should"
        case Objective.P95_DURATION:
            return f"p95 is {actual:.1f} ms, it should be at most {limit:g} ms"
        case Objective.COLD_START_RATE:
            return f"{actual:.2f} % of calls started cold, at most {limit:g} % should"


def _excess(objective: Objective, value: float) -> float:
    """Return a value so that less of it is better: of a success rate, what failed."""
    return 100.0 - value if objective is Objective.SUCCESS_RATE else value


def _is_well(objective: Objective, limit: float, snapshot: Snapshot) -> bool:
    actual = snapshot.actual(objective)
    return actual is not None and _excess(objective, actual) <= MARGIN * _excess(objective, limit)
