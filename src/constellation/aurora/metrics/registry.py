"""A registry a process, passed down; there is no global one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

# A `_created` gauge a series would double what is scraped; the process's start time says as much.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

# Milliseconds are gone: Prometheus wants base units. From a warm call (150 us) to the longest timeout (900 s).
DURATION_BUCKETS_S = (
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    900,
)


def new_registry() -> CollectorRegistry:
    """Return a registry with the process's own figures and its start time."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    Gauge("constellation_start_time_seconds", "When this process started, Unix time", registry=registry).set(
        time.time()
    )
    return registry


def exposition(registry: CollectorRegistry, more: Iterable[Metric] = ()) -> bytes:
    """Return the registry, and `more`, in the text exposition format."""
    return generate_latest(registry) + text_of(more)


def text_of(families: Iterable[Metric]) -> bytes:
    """Return families in the text exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Ready(families))
    return generate_latest(registry)


class _Ready(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
