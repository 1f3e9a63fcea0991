"""Breakers of routes: one whose calls fail too often rests for a while, and its callers hear so at once.

A route has one where its policy says so, on each gateway its own, for as long as the route is served and the rule is the
same. A failure is a call that the function is to blame for, after all that its route's retries could do: it raised, took too
long, answered with a 5xx, or with what can not be passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import structlog
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError
from constellation.native.breaker import BreakerPass, BreakerRule, BreakerStats, LoneBreaker
from constellation.native.table_values import Breaker, Status
from constellation.nova.domain.quota import whole_seconds
from constellation.routes.models.gateway import ServedRouteBody

log = structlog.get_logger()

# Of an error that has no status of its own name: what the gateway finds wrong with an answer, and its own patience.
_AS = {
    "function_failed": Status.FUNCTION_ERROR,
    "function_answer_invalid": Status.OUTPUT_INVALID,
    "response_mapping_failed": Status.OUTPUT_INVALID,
    "server_not_ready": Status.TIMEOUT,
    "deadline_exceeded": Status.TIMEOUT,
}
_TOLD = 1000  # chosen: breakers that metrics name


class RouteBreakerOpen(ConstellationError):
    """Too many of a route's last calls failed; until it has rested, or while probes are out, none is made."""

    code, http_status, retryable = "route_breaker_open", 503, True

    def __init__(self, route: str, *, left_s: float) -> None:
        super().__init__(
            f"the calls of this route failed too often; it is tried again in {max(left_s, 0.0):.1f} s",
            extras={"route": route, "left_s": max(left_s, 0.0)},
            retry_after_s=whole_seconds(left_s),
        )


def status_of(error: ConstellationError) -> Status:
    """Return how a call ended that failed, as breakers count it."""
    problem = error.problem()
    code = str(problem["code"])
    if code == "timeout" and problem.get("phase") == "wait":
        return Status.QUEUE_WAIT_TIMEOUT  # in line: nobody's failure
    return _AS.get(code) or Status.__members__.get(code.upper(), Status.OTHER)


class Outcome:
    """What is known of how a call ends; nothing at first."""

    def __init__(self, *, is_probe: bool = False) -> None:
        self.is_probe = is_probe
        self.status = Status.CANCELLED

    def answered(self, http_status: int) -> None:
        self.status = Status.FUNCTION_ERROR if http_status >= 500 else Status.OK

    def failed(self, error: ConstellationError) -> None:
        self.status = status_of(error)


class RouteBreaker:
    """The breaker of one route on this gateway."""

    def __init__(self, route: ServedRouteBody, *, name: str, clock: Clock, on_open: Callable[[], None]) -> None:
        self.rule, self.route_id, self.name = rule_of(route), str(route.id), name
        self._core, self._clock, self._on_open = LoneBreaker(self.rule), clock, on_open
        self._opened = 0

    def stats(self) -> BreakerStats:
        return self._core.stats(now_ns=self._now_ns())

    def check(self) -> None:
        """Raise `RouteBreakerOpen` while it rests, before anything of a request is read."""
        left_s = self.stats().left_s
        if left_s > 0:
            raise RouteBreakerOpen(self.route_id, left_s=left_s)

    @contextmanager
    def over(self) -> Iterator[Outcome]:
        """Let one call in for the length of the block, and learn how it ended.

        Raises:
            RouteBreakerOpen: it is not let in.
        """
        held = self._core.admit(now_ns=self._now_ns())
        if not held.is_let_in:
            raise RouteBreakerOpen(self.route_id, left_s=held.left_s)
        outcome = _Watched(self, held)
        try:
            yield outcome
        except ConstellationError as error:
            outcome.failed(error)
            raise
        except BaseException:
            outcome.status = Status.CANCELLED
            raise
        finally:
            outcome.settle()

    def end(self, held: BreakerPass, status: Status) -> None:
        self._core.end(held, status, now_ns=self._now_ns())
        stats = self.stats()
        if stats.opened > self._opened:
            self._opened = stats.opened
            self._on_open()
            log.warning("route_breaker.opened", route=self.name, id=self.route_id, open_s=self.rule.open_s)

    def _now_ns(self) -> int:
        return int(self._clock.monotonic_s() * 1e9)


class _Watched(Outcome):
    def __init__(self, breaker: RouteBreaker, held: BreakerPass) -> None:
        super().__init__(is_probe=held.is_probe)
        self._breaker: RouteBreaker | None = breaker
        self._held = held

    def answered(self, http_status: int) -> None:
        super().answered(http_status)
        if self.is_probe:  # it is known already: an answer that goes on for an hour holds no probe
            self.settle()

    def settle(self) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.end(self._held, self.status)


@contextmanager
def unguarded() -> Iterator[Outcome]:
    """Be a route without a breaker."""
    yield Outcome()


def rule_of(route: ServedRouteBody) -> BreakerRule:
    policy = route.policy
    return BreakerRule(
        policy.breaker_error_percent,
        policy.breaker_min_samples,
        policy.breaker_window_s,
        policy.breaker_open_s,
        policy.breaker_probes,
    )


class Breakers(Collector):
    """Makes the breakers of this gateway, and tells of them as metrics. `guarded`: those that there are, by their tenant."""

    def __init__(self, *, clock: Clock, registry: CollectorRegistry) -> None:
        self._clock = clock
        self._opened = Counter(
            "constellation_gateway_route_breakers_opened", "How often a route's breaker opened", registry=registry
        )
        self.guarded: Callable[[], Iterable[tuple[str, RouteBreaker]]] = tuple
        registry.register(self)

    def of(
        self, routes: Iterable[ServedRouteBody], before: Mapping[UUID, RouteBreaker], *, host: str
    ) -> dict[UUID, RouteBreaker]:
        """Return the breakers of a domain's routes; one whose rule is what it was goes on as it is."""
        found: dict[UUID, RouteBreaker] = {}
        for route in routes:
            if route.policy.breaker_error_percent == 0:
                continue
            old, name = before.get(route.id), f"{host}{route.path}"
            if old is None or old.rule != rule_of(route) or old.name != name:
                old = RouteBreaker(route, name=name, clock=self._clock, on_open=self._opened.inc)
            found[route.id] = old
        return found

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "constellation_gateway_route_breaker_resting",
            "Breakers of routes that are not closed, at most a thousand",
            labels=("tenant", "route", "state"),
        )
        told = 0
        for tenant, breaker in self.guarded():
            state = breaker.stats().state
            if state is not Breaker.CLOSED and told < _TOLD:
                family.add_metric((tenant, breaker.route_id, state.name.lower()), 1)
                told += 1
        yield family
