"""Percentiles of log-linear buckets against the exact ones."""

from __future__ import annotations

import math

import pytest
from histogram import Histogram, _highest, _index, summary
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.integers(min_value=0, max_value=10**10), min_size=1, max_size=300)


def filled(values) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def exact(values, percent: float) -> int:
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


@given(VALUES, st.sampled_from([1, 25, 50, 75, 90, 99, 99.9]))
def test_percentile_is_within_a_two_thousandth_of_the_exact_one(values, percent):
    found, wanted = filled(values).percentile(percent), exact(values, percent)
    assert wanted <= found <= wanted * (1 + 1 / 2048) + 1


@given(VALUES)
def test_extremes_count_and_mean_are_exact(values):
    histogram = filled(values)
    assert (histogram.min, histogram.max, histogram.count) == (min(values), max(values), len(values))
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert histogram.percentile(100) == max(values)


@given(VALUES, VALUES)
def test_sum_of_two_is_one_of_both(left, right):
    both = filled(left)
    both.add(filled(right))
    assert vars(both) == vars(filled(left + right))


@given(st.integers(min_value=0, max_value=2**60))
def test_bucket_holds_its_values(value):
    index = _index(value)
    assert value <= _highest(index)
    assert index == 0 or _highest(index - 1) < value


def test_small_values_are_exact():
    assert [filled([value]).percentile(50) for value in (0, 1, 2047, 4095)] == [0, 1, 2047, 4095]
    assert [_highest(_index(value)) for value in (0, 1, 2047, 4095)] == [0, 1, 2047, 4095]


def test_nothing_recorded_is_all_zeros():
    histogram = Histogram()
    histogram.add(Histogram())
    assert histogram.percentile(99) == 0
    assert summary(histogram).mean_ms == 0


def test_value_below_zero_counts_as_zero():
    assert filled([-5]).max == 0


def test_summary_is_in_milliseconds():
    figures = summary(filled(range(1000, 101_000, 1000)))
    assert (figures.count, figures.min_ms, figures.max_ms, figures.mean_ms) == (100, 1.0, 100.0, 50.5)
    assert figures.p50_ms == pytest.approx(50, rel=1 / 2048)
    assert figures.p99_ms == pytest.approx(99, rel=1 / 2048)
