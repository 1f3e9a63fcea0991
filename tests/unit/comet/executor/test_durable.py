"""What a caller gives a call: its time, and what of it a job keeps."""

from __future__ import annotations

from uuid import UUID

import pytest

from constellation.base.errors import InvalidRequest
from constellation.comet.executor.budget import FOREVER_S, budget
from constellation.comet.executor.durable import new_job
from constellation.nova.domain.access import Identity
from constellation.nova.domain.function import Function
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
)


@pytest.mark.parametrize(
    ("timeout_ms", "deadline_s", "given_s"),
    [(0, None, FOREVER_S), (500, None, 0.5), (0, 2.0, 2.0), (500, 2.0, 0.5), (5000, 2.0, 2.0)],
)
def test_the_callers_budget_is_the_least_of_its_limits(timeout_ms, deadline_s, given_s):
    limit = budget(100.0, timeout_ms=timeout_ms, deadline_s=deadline_s)
    assert limit.given_s == given_s
    assert limit.left_s(100.0 + given_s / 2) == pytest.approx(given_s / 2)
    assert limit.left_s(100.0 + given_s + 1) == 0.0


def context(depth: int = 0, *chain: str) -> CallContext:
    return CallContext(request_id=UUID(int=1), depth=depth, chain=chain)


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
