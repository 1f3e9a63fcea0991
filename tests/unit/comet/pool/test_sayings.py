"""What the lane says unasked is what Python would have said."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from constellation.base.errors import ConstellationError
from constellation.comet.backend.contract import HandlerLoadFailed
from constellation.comet.pool.sayings import saying, sayings
from constellation.comet.pool.wording import refusal
from constellation.native.table_values import REFUSAL_BYTES_MAX, Status, Verdict
from constellation.nova.domain.function import CapacityPolicy, Function

FUNCTION = Function(
    tenant="t",
    namespace="n",
    name="f",
    id=UUID(int=1),
    runtime="python",
    handler="main.handler",
    capacity=CapacityPolicy(shed_status_code=503, retry_after_s=9),
)


def test_every_saying_is_the_problem_of_its_code():
    for said in sayings(FUNCTION):
        body = json.loads(said.problem)
        assert body["code"] == Status(said.code).name.lower()
        assert body["detail"].encode() == said.message
        assert ("retry_after_s" in body) == (body["status"] == 503)


def test_a_problem_too_long_for_a_trailer_loses_its_extras():
    error = HandlerLoadFailed("f", error={"type": "E", "message": "m" * 200_000, "stack": "s"})
    said = saying(Status.HANDLER_LOAD_FAILED, error)
    body = json.loads(said.problem)
    assert len(said.problem) <= REFUSAL_BYTES_MAX
    assert (body["status"], body["code"], "stack" in body) == (502, "handler_load_failed", False)


@pytest.mark.parametrize(
    "status", [status for status in Status if Status.DRAINING < status <= Status.QUEUE_WAIT_TIMEOUT]
)
def test_every_refusal_has_words_of_its_own(status):
    error = refusal(Verdict(status, limit=5), FUNCTION, subject="apikey:ci", rate_per_s=2.0)
    assert isinstance(error, ConstellationError)
    assert error.code == status.name.lower()
