"""The guard chain, from the caller's facts to the words and headers of the refusal: the first one wins."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from constellation.base.errors import ConstellationError
from constellation.comet.pool.pool import Pool
from constellation.comet.pool.rows import row_of
from constellation.native.table import Table
from constellation.native.table_values import Ask, TableOptions
from constellation.nova.domain.function import MAX_ASYNC_PAYLOAD_BYTES, CapacityPolicy, Function
from constellation.testing.fake_backend import FakeBackend

POLICY = CapacityPolicy(max_inflight=2, shed_status_code=503, retry_after_s=9)
FUNCTION = Function(
    tenant="t",
    namespace="n",
    name="f",
    id=UUID(int=1),
    runtime="python",
    handler="main.handler",
    max_payload_bytes=10,
    capacity=POLICY,
)
HALTED = replace(FUNCTION, halted=True)
OPTIONS = TableOptions(max_instances=4, max_boots=4, max_calls=8, idle_ttl_s=60.0)


class Clock:
    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


class NoSources:
    async def acquire(self, function):
        raise AssertionError("nothing boots here")

    def release_nowait(self, spec):
        raise AssertionError("nothing boots here")


def pool(clock: Clock | None = None) -> Pool:
    return Pool(FakeBackend(), NoSources(), Table(OPTIONS), clock or Clock(), boot_timeout_s=1.0)


def ask(size: int = 10, depth: int = 0, *chain: str, rate_per_s: float = 0.0, burst: int = 0) -> Ask:
    return Ask(size, "t", "apikey:ci", rate_per_s, burst, depth, chain)


def refusal_of(made: Pool, function: Function, facts: Ask, *, is_suspended: bool = False, is_job: bool = False):
    """Return (code, status, Retry-After) of the refusal; None when it is let in."""
    served = made.serve(function, is_suspended=is_suspended)
    try:
        if is_job:
            made.check(served, facts, max_payload_bytes=MAX_ASYNC_PAYLOAD_BYTES)
        else:
            made.lease_nowait(served, made.admit(served, facts), until_s=1e6)
    except ConstellationError as error:
        return error.code, error.http_status, error.retry_after_s
    return None


@pytest.mark.parametrize(
    ("function", "facts", "is_suspended", "inflight", "refusal"),
    [
        (FUNCTION, ask(), False, 1, None),
        (FUNCTION, ask(10, 31, "a", "b"), False, 1, None),
        (HALTED, ask(11, 32, "f"), True, 0, ("halted", 403, None)),
        (FUNCTION, ask(11, 32, "f"), True, 0, ("tenant_suspended", 403, None)),
        (FUNCTION, ask(11, 32), False, 2, ("recursion", 508, None)),
        (FUNCTION, ask(11, 1, "a", "f"), False, 2, ("recursion", 508, None)),
        (FUNCTION, ask(11), False, 2, ("payload_too_large", 413, None)),
        (FUNCTION, ask(10, 0, rate_per_s=0.5), False, 2, ("inflight_limit", 503, 9)),
        (FUNCTION, ask(), False, 2, ("inflight_limit", 503, 9)),
        (replace(FUNCTION, capacity=CapacityPolicy()), ask(), False, 7, None),
        (replace(FUNCTION, capacity=CapacityPolicy()), ask(), False, 8, ("overloaded", 503, 1)),
        (
            replace(FUNCTION, capacity=replace(POLICY, max_inflight=0, max_queue_depth=1)),
            ask(),
            False,
            1,
            ("queue_full", 503, 9),
        ),
    ],
)
def test_chain(function, facts, is_suspended, inflight, refusal):
    made = pool()
    for _ in range(inflight):
        assert refusal_of(made, function, ask(1)) is None
    assert refusal_of(made, function, facts, is_suspended=is_suspended) == refusal


def test_nothing_is_kept_warm_of_a_suspended_tenant():
    warm = replace(FUNCTION, min_replicas=2)
    for is_suspended, kept in ((False, 2), (True, 0)):
        assert row_of(warm, is_suspended=is_suspended, is_kept=True, meter=0).min_replicas == kept


def test_a_job_has_the_smaller_limit_and_neither_line_nor_breaker():
    made, big = pool(), replace(FUNCTION, max_payload_bytes=6 << 20)
    for _ in range(2):
        assert refusal_of(made, big, ask()) is None
    assert refusal_of(made, big, ask(1 << 20), is_job=True) is None
    with pytest.raises(ConstellationError, match="1048576"):
        made.check(made.serve(big), ask((1 << 20) + 1), max_payload_bytes=MAX_ASYNC_PAYLOAD_BYTES)
    assert refusal_of(made, replace(HALTED, version=2), ask(), is_job=True) == ("halted", 403, None)


def test_a_node_has_a_bound():
    made = pool()
    for _ in range(8):
        made.enter()
    with pytest.raises(ConstellationError, match="8 in hand"):
        made.enter()
    made.leave()
    made.enter()


def test_a_key_has_its_rate_whatever_function_it_calls():
    clock = Clock()
    made, free = pool(clock), replace(FUNCTION, capacity=CapacityPolicy())
    other = replace(free, id=UUID(int=2), name="g")
    facts = ask(1, rate_per_s=0.5, burst=2)
    assert [refusal_of(made, each, facts) for each in (free, other)] == [None, None]
    assert refusal_of(made, free, facts) == ("rate_limited", 429, 2)
    assert refusal_of(made, free, facts, is_job=True) == ("rate_limited", 429, 2)
    assert refusal_of(made, free, ask(1)) is None
    clock.now_s += 1.5
    assert refusal_of(made, other, facts) == ("rate_limited", 429, 1)
    clock.now_s += 0.5
    assert refusal_of(made, other, facts) is None
