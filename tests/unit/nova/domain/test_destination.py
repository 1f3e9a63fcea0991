from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.destination import Ended, Outcome, check_destinations, envelope
from constellation.nova.domain.function import MAX_ASYNC_PAYLOAD_BYTES, MAX_CALL_DEPTH
from constellation.nova.domain.job import Job, JobStatus
from constellation.nova.domain.message import MAX_PAYLOAD_BYTES
from constellation.nova.domain.result_target import Destination, Destinations, TargetKind

AT = datetime(2030, 1, 1, tzinfo=UTC)
TO_TOPIC = Destination(type=TargetKind.TOPIC, target="results")
TO_FUNCTION = Destination(type=TargetKind.FUNCTION, target="audit")
JOB = Job(
    tenant="t",
    namespace="n",
    id=UUID(int=7),
    function_name="f",
    payload=b'{"n": 1}',
    status=JobStatus.RUNNING,
    subject="apikey:me",
    source="api",
    attempt=2,
    max_attempts=3,
    backoff_base_s=1.0,
    backoff_max_s=1.0,
    run_at=AT,
    request_id=None,
    output=None,
    error=None,
    duration_ms=None,
    started_at=AT,
    finished_at=None,
    created_at=AT,
    call_depth=1,
    call_chain=("first",),
)
DONE = Ended(
    job=JOB,
    outcome=Outcome.SUCCESS,
    result=b'{"ok": true}',
    request_id="r",
    version=3,
    destination=TO_FUNCTION,
    ended_at=AT,
)


def test_the_event_says_what_was_asked_and_what_came_of_it():
    assert json.loads(envelope(DONE)) == {
        "id": str(JOB.id),
        "request_id": "r",
        "function": "f",
        "namespace": "n",
        "version": 3,
        "qualifier": None,
        "outcome": "success",
        "attempts": 2,
        "source": "api",
        "durable": False,
        "accepted_at": "2030-01-01T00:00:00Z",
        "ended_at": "2030-01-01T00:00:00Z",
        "request": {"n": 1},
        "response": {"ok": True},
        "error": None,
        "omitted": [],
    }
    failed = json.loads(envelope(replace(DONE, outcome=Outcome.FAILURE, result=b'{"type": "ValueError"}')))
    assert (failed["response"], failed["error"]) == (None, {"type": "ValueError"})
    assert failed["outcome"] == "failure"


@pytest.mark.parametrize(
    ("destination", "limit"), [(TO_FUNCTION, MAX_ASYNC_PAYLOAD_BYTES), (TO_TOPIC, MAX_PAYLOAD_BYTES)]
)
def test_what_does_not_fit_is_left_out_the_request_first(destination, limit):
    large = b'"' + b"x" * limit + b'"'
    half = b'"' + b"x" * (limit // 2) + b'"'
    for payload, result, omitted in (
        (half, half, ["request"]),
        (large, b"1", ["request"]),
        (b"1", large, ["request", "response"]),
    ):
        ended = replace(DONE, job=replace(JOB, payload=payload), result=result, destination=destination)
        text = envelope(ended)
        assert len(text) <= limit
        assert json.loads(text)["omitted"] == omitted


def test_what_a_result_leads_to_is_one_deeper_and_ends_somewhere():
    assert (DONE.depth, DONE.chain, DONE.is_too_deep) == (2, ("first", "f"), False)
    assert not replace(DONE, job=replace(JOB, call_depth=MAX_CALL_DEPTH - 2)).is_too_deep
    assert replace(DONE, job=replace(JOB, call_depth=MAX_CALL_DEPTH - 1)).is_too_deep


def test_a_function_is_not_told_its_own_results():
    check_destinations("f", Destinations(on_success=TO_FUNCTION, on_failure=TO_TOPIC))
    check_destinations("audit", Destinations(on_success=replace(TO_TOPIC, target="audit")))
    with pytest.raises(InvalidRequest) as refused:
        check_destinations("audit", Destinations(on_failure=TO_FUNCTION))
    assert refused.value.field == "async_destinations.on_failure"


@pytest.mark.parametrize("destination", [TO_TOPIC, TO_FUNCTION])
def test_a_column_is_read_as_it_is_written(destination):
    assert Destination.parse(str(destination)) == destination
    assert Destination.parse("") is None
