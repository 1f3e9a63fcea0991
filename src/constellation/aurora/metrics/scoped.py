"""What of a process's figures is about the functions of one namespace."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from constellation.aurora.metrics.registry import text_of


def scoped_exposition(registry: CollectorRegistry, more: Iterable[Metric], *, tenant: str, namespace: str) -> bytes:
    """Return, in the text format, those series of a registry and of `more` that name a function of a namespace."""
    return text_of(scoped(registry, more, tenant=tenant, namespace=namespace))


def scoped(registry: CollectorRegistry, more: Iterable[Metric], *, tenant: str, namespace: str) -> list[Metric]:
    """Return the same as families."""
    scope = {"tenant": tenant, "namespace": namespace}
    families = []
    for family in (*registry.collect(), *more):
        kept = Metric(family.name, family.documentation, family.type)
        kept.samples = [
            sample for sample in family.samples if all(sample.labels.get(name) == text for name, text in scope.items())
        ]
        if kept.samples:
            families.append(kept)
    return families
