"""What becomes of a job after one attempt."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from constellation.base.errors import (
    ConstellationError,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RemoteProblem,
    Unauthenticated,
    Unavailable,
)
from constellation.nebula.asyncqueue.verdict import (
    Again,
    Dead,
    PutBack,
    Succeeded,
    of_answer,
    of_error,
    of_interruption,
)
from constellation.nova.domain.job import Job, JobStatus
from constellation.rpc.invoker import Invoked

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _job(*, attempt: int = 1, max_attempts: int = 3, age: timedelta = timedelta(minutes=1)) -> Job:
    return Job(
        tenant="t",
        namespace="n",
        id=uuid4(),
        function_name="f",
        payload=b"1",
        status=JobStatus.RUNNING,
        subject="apikey:ci",
        source="api",
        attempt=attempt,
        max_attempts=max_attempts,
        backoff_base_s=1.0,
        backoff_max_s=60.0,
        run_at=NOW,
        request_id=None,
        output=None,
        error=None,
        duration_ms=None,
        started_at=NOW,
        finished_at=None,
        created_at=NOW - age,
        call_depth=0,
        call_chain=(),
    )


def _invoked(*, output: bytes | None = None, error: bytes | None = None) -> Invoked:
    return Invoked(request_id="r", output=output, error=error, duration_ms=7.0, cold_start=False, version="1")


def _remote(status: int, code: str, *, retryable: bool = False, retry_after_s: int | None = None) -> RemoteProblem:
    return RemoteProblem(
        {"status": status, "code": code, "detail": "d", "retryable": retryable, "retry_after_s": retry_after_s}
    )


def test_an_answer_succeeds():
    assert of_answer(_job(), _invoked(output=b'{"a":1}'), jitter=0.5) == Succeeded(
        output=b'{"a":1}', duration_ms=7.0, version=1
    )
    assert of_answer(_job(), _invoked(output=b""), jitter=0.5) == Succeeded(output=b"null", duration_ms=7.0, version=1)


def test_a_raise_is_tried_again_with_growing_pauses_and_then_dead():
    raised = _invoked(error=b'{"type":"E"}')
    delays = [of_answer(_job(attempt=n, max_attempts=9), raised, jitter=0.5).delay_s for n in range(1, 9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert of_answer(_job(attempt=9, max_attempts=9), raised, jitter=0.5) == Dead(
        error=b'{"type":"E"}', duration_ms=7.0, version=1
    )


def test_jitter_moves_a_pause_by_a_quarter_at_most():
    raised = _invoked(error=b"{}")
    assert of_answer(_job(), raised, jitter=0.0).delay_s == 0.75
    assert of_answer(_job(), raised, jitter=0.999999).delay_s == pytest.approx(1.25, abs=1e-5)


@pytest.mark.parametrize(
    "error",
    [
        DeadlineExceeded("f", after_s=3),
        Unavailable("comet", reason="reset"),
        _remote(504, "deadline_exceeded", retryable=True),
        _remote(502, "instance_died"),
        _remote(502, "output_invalid"),
        _remote(503, "unavailable", retryable=True),
        _remote(500, "internal"),
        _remote(409, "version_conflict", retryable=True),
        ConstellationError("ours"),
    ],
    ids=lambda error: error.code,
)
def test_what_may_have_begun_uses_an_attempt_up(error):
    again = of_error(_job(), error, now=NOW, jitter=0.5)
    assert isinstance(again, Again)
    assert again.delay_s == 1.0
    assert json.loads(again.error)["code"] == error.code
    assert isinstance(of_error(_job(attempt=3), error, now=NOW, jitter=0.5), Dead)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("function", "f"),
        InvalidRequest("no"),
        Forbidden("s", permission="function:invoke"),
        PayloadTooLarge(limit_bytes=1),
        _remote(403, "halted"),
        _remote(508, "recursion"),
        _remote(501, "unimplemented"),
        _remote(404, "not_found"),
    ],
    ids=lambda error: error.code,
)
def test_what_fails_every_time_is_dead_at_once(error):
    dead = of_error(_job(max_attempts=9), error, now=NOW, jitter=0.5)
    assert isinstance(dead, Dead)
    assert json.loads(dead.error)["code"] == error.code


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (_remote(403, "tenant_suspended"), 1.0),
        (_remote(429, "tenant_rate_limited", retryable=True, retry_after_s=7), 7.0),
        (_remote(429, "tenant_inflight_limit", retryable=True, retry_after_s=1), 1.0),
        (_remote(429, "quota_exceeded", retryable=True, retry_after_s=2_000_000), 60.0),
    ],
    ids=lambda each: getattr(each, "code", each),
)
def test_what_a_tenants_limits_hold_back_waits_as_long_as_they_do(error, wait_s):
    for age in (timedelta(minutes=1), timedelta(days=40)):
        held = of_error(_job(attempt=3, age=age), error, now=NOW, jitter=0.5)
        assert isinstance(held, PutBack)
        assert held.delay_s == wait_s


def test_what_did_not_reach_comet_uses_no_attempt_up():
    error = Unavailable("comet", reason="refused", may_have_begun=False)
    assert of_error(_job(attempt=3), error, now=NOW, jitter=0.5) == PutBack(delay_s=0.0, is_undelivered=True)
    assert isinstance(of_error(_job(age=timedelta(days=9)), error, now=NOW, jitter=0.5), PutBack)


@pytest.mark.parametrize(
    "error",
    [
        _remote(429, "queue_full", retryable=True, retry_after_s=7),
        _remote(503, "queue_full", retryable=True, retry_after_s=7),
        _remote(503, "inflight_limit", retryable=True, retry_after_s=7),
        _remote(503, "draining", retryable=True, retry_after_s=7),
        _remote(409, "compile_pending", retryable=True, retry_after_s=7),
        _remote(503, "overloaded", retryable=True, retry_after_s=7),
    ],
    ids=lambda error: f"{error.http_status} {error.code}",
)
def test_a_refusal_waits_as_long_as_it_says_and_uses_no_attempt_up_for_six_hours(error):
    assert of_error(_job(attempt=3), error, now=NOW, jitter=0.5) == PutBack(delay_s=7.0)
    old = _job(attempt=3, age=timedelta(hours=7))
    assert isinstance(of_error(old, error, now=NOW, jitter=0.5), Dead)


def test_an_unaccepted_identity_is_not_the_jobs_fault():
    assert isinstance(of_error(_job(), Unauthenticated("expired"), now=NOW, jitter=0.5), PutBack)


def test_an_interrupted_attempt_counts_and_runs_again_at_once():
    again = of_interruption(_job())
    assert isinstance(again, Again)
    assert again.delay_s == 0.0
    assert isinstance(of_interruption(_job(attempt=3)), Dead)
