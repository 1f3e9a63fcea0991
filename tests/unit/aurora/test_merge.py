"""Many expositions become one that Prometheus takes."""

from __future__ import annotations

import subprocess
from collections import Counter as Count

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from constellation.aurora.metrics.merge import Exposition, ExpositionInvalid, FunctionLabels, merge, parse
from constellation.aurora.metrics.registry import exposition, new_registry
from constellation.aurora.metrics.scoped import scoped_exposition
from constellation.corona.scheduler.metrics import SchedulerMetrics
from constellation.nebula.asyncqueue.metrics import QueueMetrics
from tests.tools import promtool


def _merged(*planes: Exposition, limit: int = 1000) -> str:
    families = [family for plane in planes for family in parse(plane)]
    return merge(families, FunctionLabels(limit=limit)).decode()


def _value(text: str, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def _plane(name: str, registry: CollectorRegistry) -> Exposition:
    return Exposition(plane=name, node="n1", text=exposition(registry).decode())


def test_a_scope_sees_the_series_of_its_functions_and_no_other():
    registry = new_registry()
    calls = Counter("calls", "Calls", ("tenant", "namespace", "function"), registry=registry)
    for scope in (("a", "x"), ("a", "y"), ("b", "x")):
        calls.labels(*scope, "f").inc(2)
    gauge = Gauge("now", "Now", ("tenant", "namespace", "function"), registry=CollectorRegistry())
    gauge.labels("a", "x", "g").set(3)
    gauge.labels("b", "x", "g").set(4)
    text = scoped_exposition(registry, gauge.collect(), tenant="a", namespace="x").decode()
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        'calls_total{function="f",namespace="x",tenant="a"} 2.0',
        'now{function="g",namespace="x",tenant="a"} 3.0',
    ]
    whole = exposition(registry, gauge.collect()).decode()
    assert _value(whole, "now", tenant="b") == 4
    assert _value(whole, "process_open_fds") > 0


def test_families_of_one_name_share_one_block():
    text = _merged(_plane("nova", new_registry()), _plane("comet", new_registry()))
    assert text.count("# TYPE process_open_fds gauge") == 1
    assert text.count("# HELP process_open_fds") == 1
    assert _value(text, "process_open_fds", plane="nova", node="n1") > 0
    assert _value(text, "process_open_fds", plane="comet", node="n1") > 0


def test_functions_beyond_the_limit_fold_into_other_and_nothing_is_lost():
    registry = CollectorRegistry()
    calls = Counter("calls_total", "Calls", ("tenant", "namespace", "function"), registry=registry)
    took = Histogram("took_seconds", "Time", ("tenant", "namespace", "function"), buckets=(1,), registry=registry)
    idle = Gauge("idle", "Idle", ("tenant", "namespace", "function"), registry=registry)
    for n in range(50):
        labels = ("t", "ns", f"f{n}")
        calls.labels(*labels).inc(n)
        took.labels(*labels).observe(0.5)
        idle.labels(*labels).set(1)
    text = _merged(_plane("comet", registry), limit=10)
    assert _value(text, "calls_total", function="f49") == 49
    assert _value(text, "calls_total", function="f39") is None
    assert _value(text, "calls_total", function="other", tenant="other") == sum(range(40))
    assert _value(text, "took_seconds_bucket", function="other", le="1.0") == 40
    assert _value(text, "idle", function="other") == 40
    assert len({line for line in text.splitlines() if line.startswith("calls_total{")}) == 11


def test_same_function_name_in_two_tenants_stays_apart():
    registry = CollectorRegistry()
    calls = Counter("calls_total", "Calls", ("tenant", "namespace", "function"), registry=registry)
    calls.labels("a", "ns", "f").inc(1)
    calls.labels("b", "ns", "f").inc(2)
    text = _merged(_plane("comet", registry))
    assert _value(text, "calls_total", tenant="a") == 1
    assert _value(text, "calls_total", tenant="b") == 2


def test_a_kept_function_stays_kept_while_it_is_among_the_busier_half():
    functions = FunctionLabels(limit=2)
    a, b, c, d, e = (("t", "n", name) for name in "abcde")
    assert functions.choose(Count({a: 5, b: 4, c: 3})) == {a, b}
    assert functions.choose(Count({a: 5, b: 4, c: 9, d: 8})) == {a, b}
    assert functions.choose(Count({a: 1, b: 20, c: 9, d: 8, e: 7})) == {b, c}


def test_a_family_whose_type_differs_is_left_out():
    one, two = CollectorRegistry(), CollectorRegistry()
    Gauge("thing", "A thing", registry=one).set(1)
    Histogram("thing", "A thing", buckets=(1,), registry=two).observe(1)
    text = _merged(_plane("nova", one), _plane("comet", two))
    assert _value(text, "thing", plane="nova") == 1
    assert "thing_bucket" not in text


@pytest.mark.parametrize("text", ["what{", "a 1 2 3 4 x", "# TYPE a nonsense\na 1\n"])
def test_rubbish_names_the_plane_that_sent_it(text):
    with pytest.raises(ExpositionInvalid, match="comet"):
        parse(Exposition(plane="comet", node="n", text=text))


def test_promtool_finds_no_fault():
    nebula, corona = new_registry(), new_registry()
    queue = QueueMetrics(nebula)
    queue.attempts.labels("succeeded").inc()
    queue.jobs.labels("dead").set(1)
    queue.store_failures.labels("claim").inc()
    SchedulerMetrics(corona).fired.labels("fired").inc()
    text = _merged(_plane("nebula", nebula), _plane("corona", corona), _plane("comet", new_registry()))
    done = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
