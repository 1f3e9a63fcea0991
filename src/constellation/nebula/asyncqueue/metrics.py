"""What the queue counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from constellation.aurora.metrics.registry import DURATION_BUCKETS_S


class QueueMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.claimed = Counter("constellation_async_jobs_claimed_total", "Attempts that were begun", registry=registry)
        self.attempts = Counter(
            "constellation_async_attempts_total",
            "Attempts by how they ended: succeeded, retried, dead, suspended, or put back because they never began",
            ("outcome",),
            registry=registry,
        )
        self.start_latency = Histogram(
            "constellation_async_start_latency_seconds",
            "From the instant a job could run to its claim",
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.duration = Histogram(
            "constellation_async_attempt_duration_seconds",
            "From a job's claim to the commit of its outcome",
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.in_hand = Gauge("constellation_async_jobs_in_hand", "Jobs claimed and not yet settled", registry=registry)
        self.lease_losses = Counter(
            "constellation_async_lease_losses_total",
            "Jobs whose lease ended in our hands; nothing was written for them",
            registry=registry,
        )
        self.store_failures = Counter(
            "constellation_async_store_failures_total",
            "Claims, renewals and outcomes that the database did not take at the first try",
            ("operation",),
            registry=registry,
        )
        self.jobs = Gauge(
            "constellation_async_jobs", "Jobs that have not succeeded, by status", ("status",), registry=registry
        )
        self.keys_forgotten = Counter(
            "constellation_async_keys_forgotten_total", "Idempotency keys deleted after they expired", registry=registry
        )
        self.batch = Histogram(
            "constellation_async_settled_batch_jobs",
            "Outcomes written by one transaction",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.deliveries = Counter(
            "constellation_delivery_attempts",
            "Attempts to deliver messages of topics, by how they ended, as those of all jobs",
            ("outcome",),
            registry=registry,
        )
        self.waiting = Gauge(
            "constellation_deliveries", "Deliveries that have not succeeded, by status", ("status",), registry=registry
        )
        self.delivery_lag = Gauge(
            "constellation_delivery_lag_seconds",
            "For how long the oldest delivery that is due waits",
            registry=registry,
        )
