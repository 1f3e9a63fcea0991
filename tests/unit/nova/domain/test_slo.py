from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.slo import (
    CONFIRM_LOOKS,
    NO_SLO,
    Breach,
    Objective,
    Slo,
    SloPolicy,
    Snapshot,
    Watch,
    breaches_of,
    carried,
    check_slo,
    look,
    told_of,
)

SUCCESS, P95, COLD = Objective.SUCCESS_RATE, Objective.P95_DURATION, Objective.COLD_START_RATE
NOW = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = SloPolicy(min_samples=10, success_rate_pct=90.0, p95_duration_ms=100.0, cold_start_rate_pct=20.0)


def calls(count: int = 100, *, errors: int = 0, cold: int = 0, p95_ms: float | None = 10.0) -> Snapshot:
    return Snapshot(
        since=NOW - timedelta(minutes=15), until=NOW, calls=count, errors=errors, cold_starts=cold, p95_ms=p95_ms
    )


def after(looks: int, snapshot: Snapshot, watch: Watch | None = None, policy: SloPolicy = POLICY) -> Watch:
    watch = watch or Watch()
    for _ in range(looks):
        watch = look(policy, watch, snapshot)
    return watch


@pytest.mark.parametrize(
    ("snapshot", "missed"),
    [
        (calls(), ()),
        (calls(errors=10, cold=20, p95_ms=100.0), ()),  # the limits themselves are kept
        (calls(errors=11), (Breach(objective=SUCCESS, limit=90.0, actual=89.0),)),
        (calls(p95_ms=100.1), (Breach(objective=P95, limit=100.0, actual=100.1),)),
        (calls(cold=21), (Breach(objective=COLD, limit=20.0, actual=21.0),)),
        (calls(9, errors=9), ()),  # too few
        (calls(0, p95_ms=None), ()),
    ],
)
def test_a_window_is_held_against_each_objective(snapshot: Snapshot, missed: tuple[Breach, ...]) -> None:
    assert breaches_of(POLICY, snapshot) == missed


def test_a_breach_begins_when_looks_in_a_row_agree() -> None:
    bad = calls(errors=50)
    assert after(CONFIRM_LOOKS - 1, bad).breached == frozenset()
    assert after(CONFIRM_LOOKS, bad).breached == {SUCCESS}
    interrupted = after(1, calls(), after(CONFIRM_LOOKS - 1, bad))
    assert after(CONFIRM_LOOKS - 1, bad, interrupted).breached == frozenset()


def test_it_ends_when_looks_in_a_row_are_better_than_the_limit_by_a_margin() -> None:
    begun = Watch(breached=frozenset({SUCCESS, P95}))
    at_the_limit = calls(errors=10, p95_ms=95.0)
    assert after(10 * CONFIRM_LOOKS, at_the_limit, begun).breached == begun.breached
    well = calls(errors=9, p95_ms=95.0)
    assert after(CONFIRM_LOOKS - 1, well, begun).breached == begun.breached
    assert after(CONFIRM_LOOKS, well, begun).breached == {P95}


def test_a_value_that_moves_about_its_limit_changes_nothing() -> None:
    watch = after(CONFIRM_LOOKS, calls(errors=11))
    for _ in range(50):
        watch = look(POLICY, look(POLICY, watch, calls(errors=10)), calls(errors=11))
        assert watch.breached == {SUCCESS}


def test_too_few_calls_neither_begin_nor_end_a_breach() -> None:
    few = calls(9, errors=0)
    begun = Watch(breached=frozenset({SUCCESS}))
    assert after(10, few, begun) == begun
    almost = after(CONFIRM_LOOKS - 1, calls(errors=50))
    assert after(1, calls(errors=50), after(1, few, almost)).breached == frozenset()  # the row is broken


def test_a_hundred_percent_can_be_met_again() -> None:
    strict = replace(POLICY, success_rate_pct=100.0)
    begun = after(CONFIRM_LOOKS, calls(errors=1), policy=strict)
    assert begun.breached == {SUCCESS}
    assert after(CONFIRM_LOOKS, calls(), begun, policy=strict).breached == frozenset()


def test_what_is_asked_for_as_before_stays_missed_under_another_policy() -> None:
    slo = Slo(
        tenant="t",
        namespace="n",
        function_id=UUID(int=1),
        function_name="f",
        policy=POLICY,
        breached=frozenset({SUCCESS, P95}),
        breached_at=NOW,
    )
    assert carried(slo, replace(POLICY, window_s=60)) == {SUCCESS, P95}
    assert carried(slo, replace(POLICY, p95_duration_ms=200.0)) == {SUCCESS}
    assert carried(slo, replace(POLICY, success_rate_pct=None)) == {P95}
    assert carried(slo, NO_SLO) == frozenset()


def test_an_enabled_policy_asks_for_something() -> None:
    check_slo(NO_SLO)
    check_slo(SloPolicy(cold_start_rate_pct=0.0))
    with pytest.raises(InvalidRequest):
        check_slo(SloPolicy())


@pytest.mark.parametrize(("window_s", "look_s"), [(60, 2.0), (900, 30.0), (86_400, 60.0)])
def test_looks_are_as_frequent_as_the_window_moves(window_s: int, look_s: float) -> None:
    assert replace(POLICY, window_s=window_s).look_s == look_s


def test_what_is_told_has_the_figures() -> None:
    told = told_of(POLICY, {SUCCESS, P95}, calls(200, errors=30, p95_ms=812.3))
    assert told == (
        "85.00 % of calls succeeded, at least 90 % should; p95 is 812.3 ms, it should be at most 100 ms "
        "(200 calls in 900 s)"
    )
