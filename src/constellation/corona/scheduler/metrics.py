"""What the scheduler counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENESS_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600)


class SchedulerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.fired = Counter(
            "constellation_schedule_runs_total",
            "Runs of schedules, by how they ended: fired, replayed (submitted before), or refused for good",
            ("outcome",),
            registry=registry,
        )
        self.retries = Counter(
            "constellation_schedule_submit_retries_total",
            "Submissions that failed and were tried again",
            registry=registry,
        )
        self.lease_losses = Counter(
            "constellation_schedule_lease_losses_total",
            "Claims of schedules that ended before their run was recorded",
            registry=registry,
        )
        self.lateness = Histogram(
            "constellation_schedule_lateness_seconds",
            "From the instant a run was due to its durable acceptance",
            buckets=_LATENESS_BUCKETS_S,
            registry=registry,
        )
        self.in_hand = Gauge(
            "constellation_schedule_runs_in_hand", "Claimed schedules that are being fired now", registry=registry
        )
