"""From the families that Prometheus reads to figures of functions."""

from __future__ import annotations

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from constellation.comet.dataplane.counted import counted, quantile
from constellation.routes.models.invocations import FunctionStatsBody

LABELS = ("function", "tenant", "namespace")
F, G = ("f", "t", "n"), ("g", "t", "n")


def families() -> list[Metric]:
    calls = CounterMetricFamily("constellation_invocations", "", labels=(*LABELS, "status"))
    calls.add_metric((*F, "ok"), 6)
    calls.add_metric((*F, "function_error"), 2)
    calls.add_metric((*G, "ok"), 9)
    took = HistogramMetricFamily("constellation_invocation_duration_seconds", "", labels=LABELS)
    took.add_metric(F, [("0.001", 4), ("0.002", 8), ("+Inf", 8)], 0.016)
    took.add_metric(G, [("0.001", 0), ("0.002", 8), ("+Inf", 9)], 1.0)
    cold = CounterMetricFamily("constellation_cold_starts", "", labels=LABELS)
    cold.add_metric(F, 2)
    asks = CounterMetricFamily("constellation_function_asks_by_function", "", labels=LABELS)
    asks.add_metric(("asks-only", "t", "n"), 3)
    return [calls, took, cold, asks, GaugeMetricFamily("constellation_queue_depth", "", value=7)]


def test_functions_are_summed_and_the_most_called_is_first():
    now = FunctionStatsBody(function="f", idle=1, busy=2, booting=3, inflight=4, queued=5)
    total, (g, f) = counted(families(), {F: now})
    assert (total.calls, total.errors, total.cold_starts) == (17, 2, 2)
    assert total.mean_ms == pytest.approx(1016 / 17)
    assert (g.function, g.calls, g.error_rate, g.idle) == ("g", 9, 0.0, 0)
    assert (f.errors, f.error_rate, f.cold_start_rate, f.statuses) == (2, 0.25, 0.25, {"ok": 6, "function_error": 2})
    assert (f.idle, f.busy, f.booting, f.inflight, f.queued) == (1, 2, 3, 4, 5)
    assert (f.mean_ms, f.p50_ms, f.p95_ms) == (pytest.approx(2), pytest.approx(1), pytest.approx(1.9))


def test_one_that_was_not_called_is_there_with_what_it_has():
    now = FunctionStatsBody(function="f", idle=1, busy=0, booting=0, inflight=0, queued=0)
    total, (f,) = counted([], {F: now})
    assert (total.calls, total.mean_ms, total.p50_ms, f.idle, f.error_rate) == (0, None, None, 1, 0.0)


@pytest.mark.parametrize(
    ("buckets", "share", "found"),
    [
        ([], 0.5, None),
        ([(1.0, 0), (float("inf"), 0)], 0.5, None),
        ([(1.0, 0), (3.0, 4), (float("inf"), 4)], 0.5, 2.0),
        ([(1.0, 1), (3.0, 2), (float("inf"), 4)], 0.99, 3.0),  # beyond the last bound nothing is known
    ],
)
def test_values_lie_evenly_in_their_bucket(buckets: list[tuple[float, float]], share: float, found: float | None):
    assert quantile(buckets, share) == found
