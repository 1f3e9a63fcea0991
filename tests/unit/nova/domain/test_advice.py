from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from constellation.nova.domain.advice import Calls, Category, Priority, advise
from constellation.nova.domain.function import Function, Mode

SINCE = datetime(2030, 1, 1, tzinfo=UTC)
FUNCTION = Function(
    tenant="t", namespace="n", name="f", id=UUID(int=1), runtime="python", handler="main.handler", timeout_s=10.0,
    memory_mb=128, updated_at=SINCE - timedelta(days=1),
)  # fmt: skip
WELL = Calls(calls=1000, cold_starts=10, cold_p50_ms=40.0, warm_p50_ms=2.0, run_p99_ms=20.0, has_any=True)


def said(calls: Calls, *, days: int = 7, **settings: object) -> list[tuple[object, ...]]:
    found = advise(replace(FUNCTION, **settings), calls, since=SINCE, days=days)
    return [(each.category, each.priority, each.setting, each.current_value, each.recommended_value) for each in found]


MEMORY, TIMEOUT, ERRORS, COLD, CAPACITY, IDLE = Category
CRITICAL, HIGH, MEDIUM = Priority


@pytest.mark.parametrize(
    ("change", "settings", "advice"),
    [
        ({}, {}, []),
        ({"cold_starts": 200}, {}, []),
        ({"cold_starts": 201}, {}, [(COLD, HIGH, "min_replicas", 0, 1)]),
        ({"cold_starts": 201}, {"min_replicas": 1}, []),
        ({"cold_starts": 1000}, {"mode": Mode.ISOLATED}, []),
        ({"errors": 1, "out_of_memory": 1}, {}, [(MEMORY, HIGH, "memory_mb", 128, 256)]),
        ({"errors": 10, "out_of_memory": 10}, {"memory_mb": 6000}, [(MEMORY, CRITICAL, "memory_mb", 6000, 10_240)]),
        ({"errors": 10, "out_of_memory": 10}, {"memory_mb": 10_240}, [(MEMORY, CRITICAL, "memory_mb", 10_240, None)]),
        ({"errors": 1, "timeouts": 1}, {}, [(TIMEOUT, HIGH, "timeout_s", 10.0, 20.0)]),
        ({"errors": 10, "timeouts": 10}, {"timeout_s": 600.0}, [(TIMEOUT, CRITICAL, "timeout_s", 600.0, 900.0)]),
        ({"run_p99_ms": 7999.0}, {}, []),
        ({"run_p99_ms": 8000.0}, {}, [(TIMEOUT, MEDIUM, "timeout_s", 10.0, 20.0)]),
        ({"errors": 50}, {}, []),
        ({"errors": 51}, {}, [(ERRORS, HIGH, None, 5.1, None)]),
        ({"errors": 501}, {}, [(ERRORS, CRITICAL, None, 50.1, None)]),
        ({"queued": 50}, {}, []),
        ({"queued": 51}, {}, [(CAPACITY, MEDIUM, "max_replicas", 10, 20)]),
        ({"queued": 201}, {"max_replicas": 10_000}, [(CAPACITY, HIGH, "max_replicas", 10_000, None)]),
    ],
)
def test_a_rule_says_something_when_its_figures_do(change, settings, advice) -> None:
    assert said(replace(WELL, **change), **settings) == advice


def test_few_calls_say_nothing() -> None:
    bad = {"errors": 19, "cold_starts": 19, "timeouts": 5, "out_of_memory": 5, "queued": 19}
    assert said(replace(WELL, calls=19, **bad)) == []
    assert said(replace(WELL, calls=20, **bad)) != []


def test_what_is_urgent_comes_first_and_cut_off_calls_count_once() -> None:
    calls = replace(WELL, errors=30, timeouts=20, out_of_memory=5, queued=60, cold_starts=300)
    assert [each[:2] for each in said(calls)] == [
        (TIMEOUT, CRITICAL), (MEMORY, HIGH), (COLD, HIGH), (CAPACITY, MEDIUM),
    ]  # fmt: skip


def test_instances_that_nobody_called_for_a_week_are_told_of() -> None:
    silent = Calls()
    assert said(silent, min_replicas=2) == [(IDLE, MEDIUM, "min_replicas", 2, 0)]
    assert said(silent) == []
    assert said(silent, days=6, min_replicas=2) == []
    assert said(Calls(has_any=True), min_replicas=2) == []  # of another version
    assert said(silent, min_replicas=2, updated_at=SINCE + timedelta(seconds=1)) == []


def test_what_is_said_has_its_figures() -> None:
    [cold] = advise(FUNCTION, replace(WELL, cold_starts=300), since=SINCE, days=7)
    assert cold.metrics == {"cold_starts": 300, "cold_starts_pct": 30.0, "cold_p50_ms": 40.0, "warm_p50_ms": 2.0}
    assert cold.reasoning == (
        "300 of 1000 calls started cold, and no instance is kept; at the median a cold one took 40.0 ms, a warm one 2.0 ms"
    )
