"""What the gateway counts."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from constellation.aurora.metrics.registry import DURATION_BUCKETS_S
from constellation.native.edge import Edge, RefusalAnswer
from constellation.zenith.limits import Admission
from constellation.zenith.tally import Tally, TallyOf, answered, refused, unrouted

_BY_EDGE: Mapping[str, TallyOf] = {
    "invoke": lambda counts: counts.calls,
    "invoke_stream": lambda counts: counts.streams,
}


class CacheMetrics:
    """Answers from the principal cache, and questions to nova."""

    def __init__(self, registry: CollectorRegistry, edge: Edge | None = None) -> None:
        lookups = Counter(
            "constellation_gateway_principal_lookups",
            "Look-ups of callers",
            ["result"],
            registry=registry if edge is None else None,
        )
        self.hit = lookups.labels("hit").inc
        self.miss = lookups.labels("miss").inc
        if edge is not None:
            tally = Tally(registry, edge)
            tally.add(lookups, lambda counts: [({"result": "hit"}, counts.lookups)])
            tally.register()


class GatewayMetrics:
    """Requests by operation and class of status; children are kept, as looking one up costs more than counting.

    With an edge in front, what it answered is added where it is collected; `refusals`: how it answers what it refuses.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        gate: Admission,
        *,
        edge: Edge | None = None,
        refusals: Mapping[int, RefusalAnswer] | None = None,
    ) -> None:
        own = registry if edge is None else None
        self._requests = Counter(
            "constellation_gateway_requests", "Answered requests", ["operation", "status"], registry=own
        )
        self._seconds = Histogram(
            "constellation_gateway_request_duration_seconds",
            "From the request's head to the end of its answer",
            ["operation"],
            buckets=DURATION_BUCKETS_S,
            registry=own,
        )
        self._refused = Counter(
            "constellation_gateway_refusals", "Requests refused by the gateway itself", ["code"], registry=own
        )
        Gauge("constellation_gateway_inflight_requests", "Requests in hand", registry=registry).set_function(
            lambda: gate.inflight
        )
        self._counters: dict[tuple[str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}
        if edge is not None:
            known = refusals or {}
            tally = Tally(registry, edge)
            tally.add(self._requests, lambda counts: [*answered(counts, _BY_EDGE), *unrouted(counts, known)])
            tally.add(self._refused, lambda counts: refused(counts, known))
            for operation in _BY_EDGE:
                self._timers[operation] = self._seconds.labels(operation)
            tally.add_durations(self._seconds, _BY_EDGE)
            tally.register()

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """Count one answer; status 0: it was never begun."""
        key = (operation, status // 100)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(operation, f"{key[1]}xx" if status else "none")
            if operation not in self._timers:
                self._timers[operation] = self._seconds.labels(operation)
        counter.inc()
        self._timers[operation].observe(seconds)

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()
