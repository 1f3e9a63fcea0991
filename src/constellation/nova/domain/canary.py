"""Canaries: an alias goes over to another version in steps, and back when that version does worse. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from uuid import UUID

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.alias import WHOLE, Share

MAX_STEPS = 20


class CanaryState(StrEnum):
    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One row of `function_canaries`."""

    tenant: str
    namespace: str
    function_id: UUID
    function_name: str
    id: UUID
    alias: str
    old_version: int
    new_version: int
    steps: tuple[int, ...]  # percent of the calls that the new version gets, ascending; then it gets them all
    step_s: float  # how long a step lasts at least
    min_calls: int  # of the new version in a step; fewer say nothing
    max_error_percent: float  # that its share of failed calls may be above the old one's, in points
    max_p95_ratio: float  # of its p95 to the old one's
    state: CanaryState = CanaryState.RUNNING
    step: int = 0
    reason: str = ""  # why it ended
    stepped_at: datetime | None = None  # these three are None until the row is written
    created_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The calls of a version since a step began."""

    calls: int = 0
    errors: int = 0
    p95_ms: float | None = None  # of warm calls; None: there was none

    @property
    def error_percent(self) -> float:
        return 100.0 * self.errors / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a canary now."""

    state: CanaryState
    step: int  # that it is at then
    reason: str = ""


def decide(canary: Canary, old: Sample, new: Sample, *, now: datetime) -> Verdict | None:
    """Return what a running canary does next; None: it waits.

    It goes back as soon as enough calls say so, and on when its step is over and enough calls went well.
    """
    if new.calls < canary.min_calls:
        return None
    worse = _worse(canary, old, new)
    if worse:
        return Verdict(state=CanaryState.ROLLED_BACK, step=canary.step, reason=worse)
    assert canary.stepped_at is not None
    if (now - canary.stepped_at).total_seconds() < canary.step_s:
        return None
    if canary.step + 1 < len(canary.steps):
        return Verdict(state=CanaryState.RUNNING, step=canary.step + 1)
    return Verdict(state=CanaryState.PROMOTED, step=canary.step, reason="every step went well")


def shares_at(canary: Canary, verdict: Verdict) -> tuple[Share, ...]:
    """Return what the alias stands for then."""
    match verdict.state:
        case CanaryState.PROMOTED:
            return (Share(version=canary.new_version, weight=WHOLE),)
        case CanaryState.ROLLED_BACK | CanaryState.CANCELLED:
            return (Share(version=canary.old_version, weight=WHOLE),)
        case CanaryState.RUNNING:
            percent = canary.steps[verdict.step]
            shares = (
                Share(version=canary.old_version, weight=WHOLE - percent),
                Share(version=canary.new_version, weight=percent),
            )
            return tuple(sorted(shares, key=lambda share: share.version))


def check_steps(steps: Sequence[int]) -> tuple[int, ...]:
    """Return steps that ascend between nothing and all; raise `InvalidRequest` for others."""
    bounded = [0, *steps, WHOLE]
    if not 1 <= len(steps) <= MAX_STEPS or any(a >= b for a, b in pairwise(bounded)):
        raise InvalidRequest(
            f"steps must be 1 to {MAX_STEPS} percentages that ascend between 1 and {WHOLE - 1}", field="steps"
        )
    return tuple(steps)


def _worse(canary: Canary, old: Sample, new: Sample) -> str:
    allowed = old.error_percent + canary.max_error_percent
    if new.error_percent > allowed:
        return (
            f"{new.errors} of {new.calls} calls of version {canary.new_version} failed ({new.error_percent:.1f} %); "
            f"{allowed:.1f} % were allowed"
        )
    # Without enough calls of the old version there is nothing to compare with.
    if old.calls >= canary.min_calls and old.p95_ms is not None and new.p95_ms is not None:
        limit_ms = old.p95_ms * canary.max_p95_ratio
        if new.p95_ms > limit_ms:
            return (
                f"p95 of version {canary.new_version} is {new.p95_ms:.1f} ms; {limit_ms:.1f} ms were allowed "
                f"({canary.max_p95_ratio:g} times that of version {canary.old_version})"
            )
    return ""
