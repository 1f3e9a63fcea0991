"""What the table counted, as the scraper reads it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from prometheus_client import CollectorRegistry

from constellation.aurora.metrics.registry import exposition
from constellation.comet.executor.meters import Meters
from constellation.native.table import Table
from constellation.native.table_values import Ask, FunctionRow, Status, TableOptions
from constellation.nova.domain.function import Function

FUNCTION = Function(tenant="t", namespace="n", name="f", id=UUID(int=1), runtime="python", handler="main.handler")
OPTIONS = TableOptions(
    max_instances=1, max_boots=1, max_calls=2, idle_ttl_s=1.0, max_meters=3, bucket_bounds_s=(0.001, 0.5)
)


def lines(registry: CollectorRegistry) -> set[str]:
    return {line for line in exposition(registry).decode().splitlines() if not line.startswith("#")}


def test_calls_are_counted_by_function_and_status():
    registry, table = CollectorRegistry(), Table(OPTIONS)
    meters = Meters(registry, table)
    row = FunctionRow(tenant="t", namespace="n", name="f", max_payload_bytes=5, meter=meters.number_of(FUNCTION))
    function = table.put_function(row, now_ns=0)
    for status, took_ns in (("ok", 1_000_000), ("ok", 2_000_000), ("database_unavailable", 10**9), ("cancelled", 1)):
        call = table.admit(function, Ask(1, "t", "s"), now_ns=0)
        table.end(call, table.status(status), is_broken=False, now_ns=took_ns)
    table.admit(function, Ask(6, "t", "s"), now_ns=0)
    meters.shed("forbidden")
    labels = 'function="f",namespace="n",tenant="t"'
    found = lines(registry)
    assert {
        'constellation_invocations_total{function="f",namespace="n",status="ok",tenant="t"} 2.0',
        'constellation_invocations_total{function="f",namespace="n",status="payload_too_large",tenant="t"} 1.0',
        'constellation_invocations_total{function="f",namespace="n",status="database_unavailable",tenant="t"} 1.0',
        'constellation_invocations_total{function="f",namespace="n",status="cancelled",tenant="t"} 1.0',
        'constellation_invocation_duration_seconds_bucket{function="f",le="0.001",namespace="n",tenant="t"} 1.0',
        'constellation_invocation_duration_seconds_bucket{function="f",le="0.5",namespace="n",tenant="t"} 2.0',
        'constellation_invocation_duration_seconds_bucket{function="f",le="+Inf",namespace="n",tenant="t"} 3.0',
        f"constellation_invocation_duration_seconds_count{{{labels}}} 3.0",
        f"constellation_invocation_duration_seconds_sum{{{labels}}} 1.003",
        f"constellation_cold_starts_total{{{labels}}} 0.0",
        'constellation_shed_total{reason="payload_too_large"} 1.0',
        'constellation_shed_total{reason="forbidden"} 1.0',
        'constellation_instances{state="idle"} 0.0',
        "constellation_queue_depth 0.0",
        "constellation_calls_running 0.0",
        "constellation_queue_wait_seconds_count 0.0",
    } <= found
    assert meters.invocations_total == 5


def test_functions_beyond_the_bound_share_a_series():
    table = Table(OPTIONS)
    meters = Meters(CollectorRegistry(), table)
    numbers = [meters.number_of(replace(FUNCTION, name=name)) for name in ("a", "b", "c", "a")]
    assert numbers == [1, 2, 0, 1]
    assert Status.OTHER in table.status_names()
