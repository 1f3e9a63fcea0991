"""The guard chain: the first refusal wins."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.executor.budget import FOREVER_S, budget
from constellation.comet.executor.durable import new_job
from constellation.comet.executor.guard import check_call, check_job, check_node
from constellation.nova.domain.access import Identity
from constellation.nova.domain.function import CapacityPolicy, Function
from constellation.rpc.caller import Caller
from constellation.rpc.invoker import AsyncOptions
from constellation.rpc.metadata import CallContext

FUNCTION = Function(
    tenant="t",
    namespace="n",
    name="f",
    id=UUID(int=1),
    runtime="python",
    handler="main.handler",
    max_payload_bytes=10,
    capacity=CapacityPolicy(max_inflight=2, shed_status_code=503, retry_after_s=9),
)
HALTED = replace(FUNCTION, halted=True)


def context(depth: int = 0, *chain: str) -> CallContext:
    return CallContext(request_id=UUID(int=1), depth=depth, chain=chain)


@pytest.mark.parametrize(
    ("function", "facts", "is_suspended", "size", "inflight", "refusal"),
    [
        (FUNCTION, context(), False, 10, 1, None),
        (FUNCTION, context(31, "a", "b"), False, 10, 1, None),
        (HALTED, context(32, "f"), True, 11, 2, ("tenant_suspended", 403, None)),
        (HALTED, context(32, "f"), False, 11, 2, ("halted", 403, None)),
        (FUNCTION, context(32), False, 11, 2, ("recursion", 508, None)),
        (FUNCTION, context(1, "a", "f"), False, 11, 2, ("recursion", 508, None)),
        (FUNCTION, context(), False, 11, 2, ("payload_too_large", 413, None)),
        (FUNCTION, context(), False, 10, 2, ("inflight_limit", 503, 9)),
        (replace(FUNCTION, capacity=CapacityPolicy()), context(), False, 10, 10_000, None),
    ],
)
def test_chain(function, facts, is_suspended, size, inflight, refusal):
    found = None
    try:
        check_call(function, facts, is_suspended=is_suspended, payload_bytes=size, inflight=inflight)
    except ConstellationError as error:
        found = (error.code, error.http_status, error.retry_after_s)
    assert found == refusal


def test_a_job_has_the_smaller_limit():
    big = replace(FUNCTION, max_payload_bytes=6 << 20)
    check_job(big, context(), is_suspended=False, payload_bytes=1 << 20)
    with pytest.raises(ConstellationError, match="1048576"):
        check_job(big, context(), is_suspended=False, payload_bytes=(1 << 20) + 1)


def test_a_node_has_a_bound():
    check_node(inflight=1, limit=2)
    with pytest.raises(ConstellationError, match="2 in hand"):
        check_node(inflight=2, limit=2)


@pytest.mark.parametrize(
    ("timeout_ms", "deadline_s", "given_s"),
    [(0, None, FOREVER_S), (500, None, 0.5), (0, 2.0, 2.0), (500, 2.0, 0.5), (5000, 2.0, 2.0)],
)
def test_the_callers_budget_is_the_least_of_its_limits(timeout_ms, deadline_s, given_s):
    limit = budget(100.0, timeout_ms=timeout_ms, deadline_s=deadline_s)
    assert limit.given_s == given_s
    assert limit.left_s(100.0 + given_s / 2) == pytest.approx(given_s / 2)
    assert limit.left_s(100.0 + given_s + 1) == 0.0


CALLER = Caller(
    identity=Identity(
        tenant="t",
        namespace="n",
        subject="apikey:ci",
        permissions=frozenset(),
        is_platform_admin=False,
        expires_at_s=0,
    ),
    token="",
    context=context(3, "a", "b"),
)


def test_a_job_has_the_depth_and_the_subject_of_its_caller():
    job = new_job(CALLER, FUNCTION, b"1", AsyncOptions(idempotency_key="k", backoff_base_ms=250))
    assert (job.call_depth, job.call_chain, job.subject) == (3, ("a", "b"), "apikey:ci")
    assert (job.idempotency_key, job.backoff_base_s, job.tenant) == ("k", 0.25, "t")
    assert new_job(CALLER, FUNCTION, b"1", AsyncOptions()).idempotency_key is None


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"backoff_base_ms": 0},
        {"backoff_max_ms": 86_400_001},
        {"idempotency_ttl_s": 604_801},
        {"idempotency_key": "k" * 257},
        {"idempotency_key": "a\0b"},
        {"source": "x\n"},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InvalidRequest) as refused:
        new_job(CALLER, FUNCTION, b"1", AsyncOptions(**options))
    assert refused.value.field == next(iter(options))
