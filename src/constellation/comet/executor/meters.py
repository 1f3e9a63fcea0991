"""The figures of the execution plane. A function's series are looked up once and kept with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from constellation.aurora.metrics.registry import DURATION_BUCKETS_S
from constellation.comet.pool.pool import Pool
from constellation.comet.pool.state import State

OTHER = "other"
_LABELS = ("function", "tenant", "namespace")


@dataclass(slots=True)
class FunctionMeters:
    """The series of one function."""

    labels: tuple[str, str, str]
    invocations: Counter
    statuses: dict[str, Counter]
    duration: Histogram
    cold_starts: Counter

    def called(self, status: str) -> None:
        """Count one call by how it ended."""
        counter = self.statuses.get(status)
        if counter is None:
            counter = self.statuses[status] = self.invocations.labels(*self.labels, status)
        counter.inc()


class Meters:
    """All series of one executor; at most `max_functions` functions have series of their own, the rest share one."""

    def __init__(self, registry: CollectorRegistry, *, max_functions: int) -> None:
        self._max_functions = max_functions
        self._known: dict[tuple[str, str, str], FunctionMeters] = {}
        self._invocations = Counter(
            "constellation_invocations", "Calls by how they ended", (*_LABELS, "status"), registry=registry
        )
        self._duration = Histogram(
            "constellation_invocation_duration_seconds",
            "From the request to the answer, waiting included",
            _LABELS,
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self._cold_starts = Counter(
            "constellation_cold_starts", "Calls that waited for the boot of their instance", _LABELS, registry=registry
        )
        self.queue_wait = Histogram(
            "constellation_queue_wait_seconds",
            "Time in line for an instance, boots included; calls that found one at once are not counted",
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.shed = Counter("constellation_shed", "Calls refused before they ran", ("reason",), registry=registry)
        self.jobs_accepted = Counter(
            "constellation_jobs_accepted", "Durable calls committed", ("replay",), registry=registry
        )
        self.records_dropped = Counter(
            "constellation_records_dropped", "Rows of the invocation log that were not written", registry=registry
        )
        self.invocations_total = 0
        self.cold_starts_total = 0

    def of(self, tenant: str, namespace: str, function: str) -> FunctionMeters:
        """Return a function's series."""
        key = (function, tenant, namespace)
        meters = self._known.get(key)
        if meters is None:
            labels = key if len(self._known) < self._max_functions else (OTHER, OTHER, OTHER)
            meters = self._known.get(labels)
            if meters is None:
                meters = self._known[labels] = FunctionMeters(
                    labels=labels,
                    invocations=self._invocations,
                    statuses={},
                    duration=self._duration.labels(*labels),
                    cold_starts=self._cold_starts.labels(*labels),
                )
        return meters


class PoolCollector(Collector):
    """Reads the pool when somebody asks; the pool itself counts nothing twice."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        states = dict.fromkeys(State, 0)
        queued = inflight = 0
        for group in self._pool.groups:
            queued += len(group.waiters)
            inflight += group.leases
            for member in group.members.values():
                states[member.state] += 1
        instances = GaugeMetricFamily("constellation_instances", "Instances on this node", labels=("state",))
        for state, count in states.items():
            instances.add_metric([state.value], count)
        yield instances
        yield GaugeMetricFamily("constellation_queue_depth", "Calls in line for an instance", value=queued)
        yield GaugeMetricFamily("constellation_calls_running", "Calls that have an instance", value=inflight)

    def describe(self) -> Iterator[Metric]:
        """The names, so that registering does not read the pool."""
        yield GaugeMetricFamily("constellation_instances", "Instances on this node", labels=("state",))
        yield GaugeMetricFamily("constellation_queue_depth", "Calls in line for an instance")
        yield GaugeMetricFamily("constellation_calls_running", "Calls that have an instance")
