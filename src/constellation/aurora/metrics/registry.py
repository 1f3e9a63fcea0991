"""A registry a process, passed down; there is no global one."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics, generate_latest

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


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the registry in the text exposition format."""
    return generate_latest(registry)
