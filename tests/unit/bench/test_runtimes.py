"""The table of all languages."""

from __future__ import annotations

import argparse

import cold
import pytest
import runtimes
from figures import Row, missed, over, table
from rig import Failed

MIB = 1 << 20


def test_a_table_has_the_columns_of_which_there_are_figures():
    rows = [
        Row(name="c", warm_us=100, over_c_us=0, cold_ms=7.25, idle_bytes=3 * MIB // 2),
        Row(name="java, fresh", cold_ms=1234.56, why="cold starts: {'it was warm': 1}"),
    ]
    assert table(rows) == [
        "| runtime | warm p50, µs | over C, µs | cold p50, ms | idle, MiB |",
        "|---|---|---|---|---|",
        "| `c` | 100 | 0 | 7.2 | 1.5 |",
        "| `java, fresh` |  |  | 1,234.6 |  |",
    ]


def test_one_turn_that_was_disturbed_changes_nothing():
    assert over([230, 240, 4000, 250, 260], [100, 110, 120, 900, 130]) == 130
    assert over([100], [120]) == -20


def test_what_misses_a_target_is_named():
    met = Row(name="node", over_c_us=150, cold_ms=15.0, again_ms=300.0)
    assert missed([met, Row(name="java, fresh", cold_ms=500.0), Row(name="r")]) == []
    late = Row(name="node", over_c_us=151, cold_ms=15.1, again_ms=300.5)
    assert missed([met, late]) == [
        "node: cold p50, ms: 15.1, and 15 is wanted",
        "node: warm over C, µs: 151.0, and 150 is wanted",
        "node: deploy again, ms: 300.5, and 300 is wanted",
    ]


def test_quick_changes_the_defaults_and_nothing_that_is_said():
    usual, quick = runtimes._arguments([]), runtimes._arguments(["--quick"])
    assert (usual.quick, usual.samples, usual.rounds) == (False, 10, 9)
    assert {name: getattr(quick, name) for name in runtimes.QUICK} == runtimes.QUICK
    assert quick.within < 360
    assert runtimes._arguments(["--quick", "--samples", "7"]).samples == 7


def test_what_builds_slowly_comes_last():
    assert runtimes.in_order(["scala", "c", "rust", "node"]) == ["c", "node", "rust", "scala"]
    assert set(runtimes.SLOW) <= set(cold.SOURCES)


def test_a_language_that_was_asked_for_must_be_there():
    known = {"c": "", "julia": "there is no julia"}
    assert runtimes._wanted(argparse.Namespace(runtimes=""), known) == ["c"]
    with pytest.raises(Failed, match="julia: there is no julia; cobol: unknown"):
        runtimes._wanted(argparse.Namespace(runtimes="c,julia,cobol"), known)
