"""The figures of the execution plane: the table counts, and is read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from constellation.native.table import Table
from constellation.nova.domain.function import Function

OTHER = "other"
_LABELS = ("function", "tenant", "namespace")
_Series = tuple[str, str, str]


class Meters(Collector):
    """All series of one executor; as many functions as the table has meters for have series of their own.

    Number 0 is the series that the others share.
    """

    def __init__(self, registry: CollectorRegistry, table: Table) -> None:
        self._table = table
        self._numbers: dict[_Series, int] = {(OTHER, OTHER, OTHER): 0}
        self.jobs_accepted = Counter(
            "constellation_jobs_accepted", "Durable calls committed", ("replay",), registry=registry
        )
        self.records_dropped = Counter(
            "constellation_records_dropped", "Rows of the invocation log that were not written", registry=registry
        )
        registry.register(self)

    def number_of(self, function: Function) -> int:
        """Return the number of a function's series."""
        series = (function.name, function.tenant, function.namespace)
        number = self._numbers.get(series)
        if number is None:
            if len(self._numbers) >= self._table.options.max_meters:
                return 0
            number = self._numbers[series] = len(self._numbers)
        return number

    def shed(self, code: str) -> None:
        """Count what was refused before the table saw it."""
        self._table.shed(code)

    @property
    def invocations_total(self) -> int:
        return self._table.totals().calls

    @property
    def cold_starts_total(self) -> int:
        return self._table.totals().cold_starts

    def collect(self) -> Iterator[Metric]:
        names = self._table.status_names()
        yield from self._calls(names)
        totals, node = self._table.totals(), self._table.node_stats()
        waits = HistogramMetricFamily("constellation_queue_wait_seconds", _HELP["queue_wait"])
        waits.add_metric((), self._cumulative(totals.wait_buckets), totals.wait_ns / 1e9)
        yield waits
        shed = CounterMetricFamily("constellation_shed", _HELP["shed"], labels=("reason",))
        for status, count in enumerate(totals.shed):
            if count:
                shed.add_metric((names[status],), count)
        yield shed
        instances = GaugeMetricFamily("constellation_instances", _HELP["instances"], labels=("state",))
        for state, count in node.instances.items():
            instances.add_metric((state.name.lower(),), count)
        yield instances
        yield GaugeMetricFamily("constellation_queue_depth", _HELP["queue_depth"], value=node.waiting)
        yield GaugeMetricFamily("constellation_calls_running", _HELP["calls_running"], value=node.leases)

    def describe(self) -> Iterator[Metric]:
        """The names, so that registering does not read the table."""
        yield CounterMetricFamily("constellation_invocations", _HELP["invocations"])
        yield HistogramMetricFamily("constellation_invocation_duration_seconds", _HELP["duration"])
        yield CounterMetricFamily("constellation_cold_starts", _HELP["cold_starts"])
        yield HistogramMetricFamily("constellation_queue_wait_seconds", _HELP["queue_wait"])
        yield CounterMetricFamily("constellation_shed", _HELP["shed"])
        for name in ("instances", "queue_depth", "calls_running"):
            yield GaugeMetricFamily(f"constellation_{name}", _HELP[name])

    def _calls(self, names: dict[int, str]) -> Iterator[Metric]:
        invocations = CounterMetricFamily(
            "constellation_invocations", _HELP["invocations"], labels=(*_LABELS, "status")
        )
        duration = HistogramMetricFamily("constellation_invocation_duration_seconds", _HELP["duration"], labels=_LABELS)
        cold_starts = CounterMetricFamily("constellation_cold_starts", _HELP["cold_starts"], labels=_LABELS)
        for series, number in self._numbers.items():
            meter = self._table.meter(number)
            if not any(meter.statuses):
                continue
            for status, count in enumerate(meter.statuses):
                if count:
                    invocations.add_metric((*series, names[status]), count)
            duration.add_metric(series, self._cumulative(meter.buckets), meter.duration_ns / 1e9)
            cold_starts.add_metric(series, meter.cold_starts)
        yield invocations
        yield duration
        yield cold_starts

    def _cumulative(self, counts: Sequence[int]) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        total = 0
        bounds = (*(repr(float(bound)) for bound in self._table.options.bucket_bounds_s), "+Inf")
        for bound, count in zip(bounds, counts, strict=True):
            total += count
            found.append((bound, total))
        return found


_HELP = {
    "invocations": "Calls by how they ended",
    "duration": "From the request to the answer, waiting included",
    "cold_starts": "Calls that waited for the boot of their instance",
    "queue_wait": "Time in line for an instance, boots included; calls that found one at once are not counted",
    "shed": "Calls refused before they ran",
    "instances": "Instances on this node",
    "queue_depth": "Calls in line for an instance",
    "calls_running": "Calls that have an instance",
}
