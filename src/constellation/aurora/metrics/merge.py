"""Many planes' expositions become one: labelled by plane and node, one block a family, function labels bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from constellation.aurora.metrics.registry import text_of

OTHER = "other"
_OWNER_LABELS = ("tenant", "namespace", "function")
FunctionKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """What one plane answered, in the Prometheus text format."""

    plane: str
    node: str
    text: str


class ExpositionInvalid(ValueError):
    """A plane answered with something that is not the text format."""

    def __init__(self, plane: str, reason: str) -> None:
        super().__init__(f"{plane}: {reason}")
        self.plane = plane


@dataclass(slots=True, kw_only=True)
class FunctionLabels:
    """Which functions keep their own label: at most `limit`, the busiest.

    Membership is sticky: a member leaves only when it is no longer among the busiest twice `limit`. A counter whose
    series moves between its own label and "other" looks like a restart to Prometheus, so moves are kept rare.
    """

    limit: int
    kept: set[FunctionKey] = field(default_factory=set)

    def choose(self, busyness: Counter[FunctionKey]) -> set[FunctionKey]:
        """Return the functions that keep their label, given how much each one did so far."""
        ranked = sorted(busyness, key=lambda key: (-busyness[key], key))
        members = [key for key in ranked[: 2 * self.limit] if key in self.kept]
        newcomers = (key for key in ranked if key not in self.kept)
        for key in newcomers:
            if len(members) >= self.limit:
                break
            members.append(key)
        self.kept = set(members)
        return self.kept


def parse(exposition: Exposition) -> list[Metric]:
    """Return the families of one plane, its samples labelled `plane` and `node`.

    Raises:
        ExpositionInvalid: the text is not in the format.
    """
    families: list[Metric] = []
    try:
        for family in text_string_to_metric_families(exposition.text):
            ours = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                labels = {**sample.labels, "plane": exposition.plane, "node": exposition.node}
                ours.samples.append(Sample(sample.name, labels, sample.value))
            families.append(ours)
    except ValueError as error:
        raise ExpositionInvalid(exposition.plane, str(error)) from error
    return families


def merge(families: Sequence[Metric], functions: FunctionLabels) -> bytes:
    """Return all families as one exposition: each name has one HELP and one TYPE, series that fold are added up.

    A family whose type differs from the first one of its name is left out: the format has no place for both.
    """
    kept = functions.choose(_busyness(families))
    merged: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in families:
        first = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        if first.type != family.type:
            continue
        series = sums.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sorted(_fold(sample.labels, kept).items())))
            series[key] = series.get(key, 0.0) + sample.value
    for name in sorted(merged):
        merged[name].samples = [Sample(key[0], dict(key[1]), value) for key, value in sums.get(name, {}).items()]
    return text_of(merged[name] for name in sorted(merged))


def _key(labels: dict[str, str]) -> FunctionKey:
    return (labels.get("tenant", ""), labels.get("namespace", ""), labels["function"])


def _busyness(families: Sequence[Metric]) -> Counter[FunctionKey]:
    counts: Counter[FunctionKey] = Counter()
    for family in families:
        for sample in family.samples:
            if "function" in sample.labels:
                # A gauge makes its function known and says nothing of what it did.
                counts[_key(sample.labels)] += int(sample.value) if sample.name.endswith(("_total", "_count")) else 0
    return counts


def _fold(labels: dict[str, str], kept: set[FunctionKey]) -> dict[str, str]:
    if "function" not in labels or _key(labels) in kept:
        return labels
    return {name: OTHER if name in _OWNER_LABELS else value for name, value in labels.items()}
