"""What a route's breaker learns of its calls, and for how long it is the same one."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.errors import ConstellationError, DeadlineExceeded, RemoteProblem, Unavailable
from constellation.native.table_values import Breaker, Status
from constellation.routes.models.gateway import ServedRouteBody
from constellation.routes.models.gateway_policy import RoutePolicy
from constellation.zenith.breakers import Breakers, Outcome, RouteBreaker, RouteBreakerOpen, status_of, unguarded
from constellation.zenith.errors import ClientGone, FunctionAnswerInvalid, FunctionFailed, ResponseMappingFailed

RULE = {"breaker_error_percent": 50, "breaker_min_samples": 2, "breaker_window_s": 10, "breaker_open_s": 5}


@dataclass
class Clock:
    """Only what a breaker asks of one."""

    now_s: float = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


def remote(code: str, status: int, **more: object) -> ConstellationError:
    return RemoteProblem({"code": code, "status": status, "detail": "d"} | more)


def route(**policy: object) -> ServedRouteBody:
    told = msgspec.convert(RULE | policy, RoutePolicy)
    return ServedRouteBody(id=uuid4(), path="/a", methods=(), function="f", auth="none", version=1, policy=told)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def breakers(clock, registry) -> Breakers:
    return Breakers(clock=clock, registry=registry)


def made(breakers: Breakers, **policy: object) -> RouteBreaker:
    (found,) = breakers.of([route(**policy)], {}, host="h").values()
    return found


def call(breaker: RouteBreaker, status: int) -> None:
    with breaker.over() as outcome:
        outcome.answered(status)


def hang_up(outcome: Outcome) -> None:
    outcome.answered(500)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FunctionFailed("f", type="E", message="m"), Status.FUNCTION_ERROR),
        (FunctionAnswerInvalid("f", "r"), Status.OUTPUT_INVALID),
        (ResponseMappingFailed("f", "r"), Status.OUTPUT_INVALID),
        (DeadlineExceeded("comet", after_s=1), Status.TIMEOUT),
        (remote("timeout", 504, phase="run"), Status.TIMEOUT),
        (remote("timeout", 504, phase="wait"), Status.QUEUE_WAIT_TIMEOUT),
        (remote("server_not_ready", 504), Status.TIMEOUT),
        (remote("instance_died", 502), Status.INSTANCE_DIED),
        (remote("queue_full", 429), Status.QUEUE_FULL),
        (remote("breaker_open", 503), Status.BREAKER_OPEN),
        (remote("of_tomorrow", 503), Status.OTHER),
        (Unavailable("comet", reason="r"), Status.OTHER),
        (ClientGone(), Status.OTHER),
    ],
)
def test_failures_are_what_the_function_is_to_blame_for(error, status):
    assert status_of(error) is status


def test_a_route_whose_calls_fail_rests_and_says_for_how_long(breakers, clock, registry):
    breaker = made(breakers)
    breakers.guarded = lambda: [("acme", breaker)]
    call(breaker, 404)  # the function's own answer: it works
    with pytest.raises(FunctionFailed), breaker.over():
        raise FunctionFailed("f", type="E", message="m")
    clock.now_s += 1.5
    with pytest.raises(RouteBreakerOpen) as refused, breaker.over():
        raise AssertionError
    assert (refused.value.http_status, refused.value.retry_after_s) == (503, 4)
    labels = {"tenant": "acme", "route": breaker.route_id, "state": "open"}
    assert registry.get_sample_value("constellation_gateway_route_breaker_resting", labels) == 1
    assert registry.get_sample_value("constellation_gateway_route_breakers_opened_total") == 1
    clock.now_s += 3.5
    with breaker.over():
        pass  # nothing is known of it: it gives its place back
    assert breaker.stats().state is Breaker.HALF_OPEN
    call(breaker, 503)
    assert (breaker.stats().state, breaker.stats().opened) == (Breaker.OPEN, 2)
    clock.now_s += 5
    call(breaker, 200)
    assert breaker.stats().state is Breaker.CLOSED
    assert registry.get_sample_value("constellation_gateway_route_breaker_resting", labels) is None


def test_whoever_hangs_up_says_nothing_and_holds_no_probe(breakers, clock):
    breaker = made(breakers)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), breaker.over() as outcome:
            hang_up(outcome)
    assert breaker.stats().state is Breaker.CLOSED
    assert breaker.stats().bad == 0
    call(breaker, 500)
    call(breaker, 500)
    clock.now_s += 5
    with breaker.over() as probe:
        assert probe.is_probe
        probe.answered(200)  # the head of an answer that goes on
        assert breaker.stats().state is Breaker.CLOSED
        probe.answered(500)
    assert breaker.stats().bad == 0


def test_a_breaker_goes_on_while_its_rule_is_the_same(breakers):
    first, other = route(), route(breaker_error_percent=0)
    before = breakers.of([first, other], {}, host="h")
    assert list(before) == [first.id]
    again = breakers.of([msgspec.structs.replace(first, version=2)], before, host="h")
    assert again == before
    changed = msgspec.structs.replace(first, policy=msgspec.structs.replace(first.policy, breaker_open_s=6))
    assert breakers.of([changed], before, host="h")[first.id] is not before[first.id]
    assert breakers.of([], before, host="h") == {}


def test_without_a_breaker_nothing_is_refused():
    with unguarded() as outcome:
        outcome.answered(500)
