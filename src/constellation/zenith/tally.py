"""What the edge in C counted, added to what Python counted: one figure each, whoever answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

from constellation.native.edge import Edge, EdgeCounts, EdgeTally, Refusal, RefusalAnswer

Labels = Mapping[str, str]
TallyOf = Callable[[EdgeCounts], EdgeTally]


class Tally(Collector):
    """Collects metrics of Python's, each with an addition from C. They are not registered themselves."""

    def __init__(self, registry: CollectorRegistry, edge: Edge) -> None:
        self._registry, self._edge = registry, edge
        self._parts: list[tuple[Collector, Callable[[EdgeCounts], Iterable[tuple[Labels, float]]]]] = []
        self._timers: list[tuple[Collector, Mapping[str, TallyOf]]] = []

    def add(self, metric: Collector, more: Callable[[EdgeCounts], Iterable[tuple[Labels, float]]]) -> None:
        """Collect a counter, to whose values for some labels C's are added."""
        self._parts.append((metric, more))

    def add_durations(self, metric: Collector, operations: Mapping[str, TallyOf]) -> None:
        """Collect a histogram, which has these operations already and C's bounds; C's durations are added there."""
        self._timers.append((metric, operations))

    def register(self) -> None:
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        counts = self._edge.counts
        for part, more in self._parts:
            for family in part.collect():
                for labels, value in more(counts):
                    _raise(family, labels, value)
                yield family
        for timer, operations in self._timers:
            for family in timer.collect():
                for operation, tally_of in operations.items():
                    _raise_durations(family, {"operation": operation}, tally_of(counts))
                yield family


def refused(counts: EdgeCounts, refusals: Mapping[int, RefusalAnswer]) -> Iterable[tuple[Labels, float]]:
    """Return refusals by code: the edge's own, and comet's that it passed on."""
    total: dict[str, float] = dict(counts.codes)
    for number, count in counts.refused.items():
        code = refusals[number].code
        total[code] = total.get(code, 0) + count
    return [({"code": code}, count) for code, count in total.items()]


def answered(counts: EdgeCounts, operations: Mapping[str, TallyOf]) -> Iterable[tuple[Labels, float]]:
    """Return the calls of each operation by class of status."""
    for operation, tally_of in operations.items():
        total: dict[str, float] = {}
        for digit, count in enumerate(tally_of(counts).answered):
            if count:
                status = f"{digit or 4}xx"  # one whose client left counts as 499
                total[status] = total.get(status, 0) + count
        yield from (({"operation": operation, "status": status}, sum_) for status, sum_ in total.items())


def unrouted(counts: EdgeCounts, refusals: Mapping[int, RefusalAnswer]) -> Iterable[tuple[Labels, float]]:
    """Return by class of status what the edge refused before it knew what it was."""
    total: dict[str, float] = {}
    for number, count in counts.refused.items():
        if number < Refusal.NOT_JSON:  # those above are answers to calls, and among them
            status = f"{refusals[number].status // 100}xx"
            total[status] = total.get(status, 0) + count
    return [({"operation": "unrouted", "status": status}, count) for status, count in total.items()]


def _raise(family: Metric, labels: Labels, value: float) -> None:
    name = f"{family.name}_total"
    for index, sample in enumerate(family.samples):
        if sample.name == name and sample.labels == labels:
            family.samples[index] = sample._replace(value=sample.value + value)
            return
    family.samples.append(Sample(name, dict(labels), value))


def _raise_durations(family: Metric, labels: Labels, counts: EdgeTally) -> None:
    slot, below = 0, 0
    for index, sample in enumerate(family.samples):
        if any(sample.labels.get(name) != value for name, value in labels.items()):
            continue
        more: Any = None
        if sample.name.endswith("_bucket"):
            below += counts.slots[slot]
            slot += 1
            more = below
        elif sample.name.endswith("_count"):
            more = sum(counts.slots)
        elif sample.name.endswith("_sum"):
            more = counts.sum_s
        if more is not None:
            family.samples[index] = sample._replace(value=sample.value + more)
