"""What the edge in C counted, added to what Python counted: one figure each, whoever answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

from constellation.native.edge import Edge, EdgeCounts, Refusal, RefusalAnswer

Labels = Mapping[str, str]


class Tally(Collector):
    """Collects metrics of Python's, each with an addition from C. They are not registered themselves."""

    def __init__(self, registry: CollectorRegistry, edge: Edge) -> None:
        self._registry, self._edge = registry, edge
        self._parts: list[tuple[Collector, Callable[[EdgeCounts], Iterable[tuple[Labels, float]]]]] = []
        self._timers: list[tuple[Collector, Labels]] = []

    def add(self, metric: Collector, more: Callable[[EdgeCounts], Iterable[tuple[Labels, float]]]) -> None:
        """Collect a counter, to whose values for some labels C's are added."""
        self._parts.append((metric, more))

    def add_durations(self, metric: Collector, labels: Labels) -> None:
        """Collect a histogram, which has these labels already and C's bounds; C's durations are added there."""
        self._timers.append((metric, labels))

    def register(self) -> None:
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        counts = self._edge.counts
        for part, more in self._parts:
            for family in part.collect():
                for labels, value in more(counts):
                    _raise(family, labels, value)
                yield family
        for timer, labels in self._timers:
            for family in timer.collect():
                _raise_durations(family, labels, counts)
                yield family


def refused(counts: EdgeCounts, refusals: Mapping[int, RefusalAnswer]) -> Iterable[tuple[Labels, float]]:
    """Return refusals by code: the edge's own, and comet's that it passed on."""
    total: dict[str, float] = dict(counts.codes)
    for number, count in counts.refused.items():
        code = refusals[number].code
        total[code] = total.get(code, 0) + count
    return [({"code": code}, count) for code, count in total.items()]


def answered(
    counts: EdgeCounts, refusals: Mapping[int, RefusalAnswer], *, operation: str
) -> Iterable[tuple[Labels, float]]:
    """Return requests by class of status: calls, and what the edge refused before it knew what it was."""
    total: dict[tuple[str, str], float] = {}
    for digit, count in enumerate(counts.answered):
        if count:
            key = operation, f"{digit or 4}xx"  # one whose client left counts as 499
            total[key] = total.get(key, 0) + count
    for number, count in counts.refused.items():
        if number < Refusal.NOT_JSON:  # those above are answers to calls, and among them
            key = "unrouted", f"{refusals[number].status // 100}xx"
            total[key] = total.get(key, 0) + count
    return [({"operation": name, "status": status}, count) for (name, status), count in total.items()]


def _raise(family: Metric, labels: Labels, value: float) -> None:
    name = f"{family.name}_total"
    for index, sample in enumerate(family.samples):
        if sample.name == name and sample.labels == labels:
            family.samples[index] = sample._replace(value=sample.value + value)
            return
    family.samples.append(Sample(name, dict(labels), value))


def _raise_durations(family: Metric, labels: Labels, counts: EdgeCounts) -> None:
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
