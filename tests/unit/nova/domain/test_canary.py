from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.alias import Share
from constellation.nova.domain.canary import (
    Canary,
    CanaryState,
    Sample,
    Verdict,
    check_steps,
    decide,
    shares_at,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = Canary(
    tenant="t",
    namespace="n",
    function_id=UUID(int=1),
    function_name="f",
    id=UUID(int=2),
    alias="prod",
    old_version=5,
    new_version=3,
    steps=(10, 50),
    step_s=60.0,
    min_calls=20,
    max_error_percent=5.0,
    max_p95_ratio=1.5,
    stepped_at=BEGAN,
)
GOOD = Sample(calls=20, errors=0, p95_ms=10.0)
SOON, LATER = BEGAN + timedelta(seconds=59), BEGAN + timedelta(seconds=60)


def test_it_goes_on_when_its_step_is_over_and_enough_calls_went_well() -> None:
    assert decide(CANARY, GOOD, GOOD, now=SOON) is None
    assert decide(CANARY, GOOD, GOOD, now=LATER) == Verdict(state=CanaryState.RUNNING, step=1)
    last = decide(replace(CANARY, step=1), GOOD, GOOD, now=LATER)
    assert last is not None
    assert (last.state, last.step) == (CanaryState.PROMOTED, 1)


def test_few_calls_say_nothing_however_they_went() -> None:
    few = Sample(calls=19, errors=19, p95_ms=1000.0)
    assert decide(CANARY, GOOD, few, now=LATER) is None
    assert decide(CANARY, GOOD, Sample(), now=LATER + timedelta(days=1)) is None


@pytest.mark.parametrize(
    ("old", "new", "is_worse"),
    [
        (GOOD, Sample(calls=20, errors=1, p95_ms=10.0), False),  # 5 points above
        (GOOD, Sample(calls=20, errors=2, p95_ms=10.0), True),
        (Sample(calls=100, errors=50, p95_ms=10.0), Sample(calls=20, errors=11, p95_ms=10.0), False),
        (Sample(calls=100, errors=50, p95_ms=10.0), Sample(calls=20, errors=12, p95_ms=10.0), True),
        (GOOD, Sample(calls=20, p95_ms=15.0), False),
        (GOOD, Sample(calls=20, p95_ms=15.1), True),
        (Sample(calls=19, p95_ms=10.0), Sample(calls=20, p95_ms=100.0), False),  # nothing to compare with
        (GOOD, Sample(calls=20, p95_ms=None), False),  # all of them cold
        (Sample(), Sample(calls=20, errors=2, p95_ms=10.0), True),
    ],
)
def test_it_goes_back_at_once_when_the_new_version_does_worse(old: Sample, new: Sample, *, is_worse: bool) -> None:
    verdict = decide(CANARY, old, new, now=SOON)
    assert (verdict is not None) == is_worse
    if verdict is not None:
        assert verdict.state is CanaryState.ROLLED_BACK
        assert "version 3" in verdict.reason


def test_shares_follow_the_steps() -> None:
    running = [shares_at(CANARY, Verdict(state=CanaryState.RUNNING, step=step)) for step in (0, 1)]
    assert running == [
        (Share(version=3, weight=10), Share(version=5, weight=90)),
        (Share(version=3, weight=50), Share(version=5, weight=50)),
    ]
    assert shares_at(CANARY, Verdict(state=CanaryState.PROMOTED, step=1)) == (Share(version=3, weight=100),)
    for state in (CanaryState.ROLLED_BACK, CanaryState.CANCELLED):
        assert shares_at(CANARY, Verdict(state=state, step=1)) == (Share(version=5, weight=100),)


def test_steps_ascend_between_nothing_and_all() -> None:
    assert check_steps([1, 99]) == (1, 99)
    for wrong in ([], [0], [100], [10, 10], [50, 10], list(range(1, 22))):
        with pytest.raises(InvalidRequest):
            check_steps(wrong)
