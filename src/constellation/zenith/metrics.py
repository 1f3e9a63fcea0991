"""What the gateway counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from constellation.aurora.metrics.registry import DURATION_BUCKETS_S
from constellation.zenith.limits import Admission


class CacheMetrics:
    """Answers from the principal cache, and questions to nova."""

    def __init__(self, registry: CollectorRegistry) -> None:
        lookups = Counter(
            "constellation_gateway_principal_lookups", "Look-ups of callers", ["result"], registry=registry
        )
        self.hit = lookups.labels("hit").inc
        self.miss = lookups.labels("miss").inc


class GatewayMetrics:
    """Requests by operation and class of status; children are kept, as looking one up costs more than counting."""

    def __init__(self, registry: CollectorRegistry, gate: Admission) -> None:
        self._requests = Counter(
            "constellation_gateway_requests", "Answered requests", ["operation", "status"], registry=registry
        )
        self._seconds = Histogram(
            "constellation_gateway_request_duration_seconds",
            "From the request's head to the end of its answer",
            ["operation"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self._refused = Counter(
            "constellation_gateway_refusals", "Requests refused by the gateway itself", ["code"], registry=registry
        )
        Gauge("constellation_gateway_inflight_requests", "Requests in hand", registry=registry).set_function(
            lambda: gate.inflight
        )
        self._counters: dict[tuple[str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """Count one answer; status 0: it was never begun."""
        key = (operation, status // 100)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(operation, f"{key[1]}xx" if status else "none")
            self._timers.setdefault(operation, self._seconds.labels(operation))
        counter.inc()
        self._timers[operation].observe(seconds)

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()
