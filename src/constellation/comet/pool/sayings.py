"""Refusals whose words depend on nothing but the function's row: rendered once, so that the lane sends them unasked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from constellation.base.errors import ConstellationError
from constellation.comet.pool.wording import refusal
from constellation.native.table_values import REFUSAL_BYTES_MAX, Status, Verdict
from constellation.nova.domain.function import Function
from constellation.rpc.problems import TRAILER, status_of, trailer_of

_MESSAGE_BYTES = 4096
_FIELDS = ("type", "title", "status", "detail", "code", "retryable")


class Saying(NamedTuple):
    """A refusal as gRPC carries it."""

    code: int  # enum ct_status
    grpc_status: int
    message: bytes
    problem: bytes  # the trailer's bytes


def saying(code: int, error: ConstellationError) -> Saying:
    """Render one error; what is too long for a trailer loses its extras."""
    message, problem = str(error).encode()[:_MESSAGE_BYTES], trailer_of(error)[TRAILER]
    if len(problem) > REFUSAL_BYTES_MAX:
        body = error.problem() | {"detail": message.decode(errors="ignore")}
        problem = msgspec.json.encode({field: body[field] for field in _FIELDS})
    return Saying(code, status_of(error).value, message, problem)


def sayings(function: Function) -> Iterator[Saying]:
    """Yield every refusal of a function that its row alone decides.

    What also depends on the call or the instant (recursion, a key over its rate, an open breaker, a deadline) is worded
    when it happens.
    """
    policy = function.capacity
    for verdict in (
        Verdict(Status.NOT_FOUND),
        Verdict(Status.HALTED),
        Verdict(Status.TENANT_SUSPENDED),
        Verdict(Status.PAYLOAD_TOO_LARGE, limit=function.max_payload_bytes),
        Verdict(Status.INFLIGHT_LIMIT, limit=policy.max_inflight),
        Verdict(Status.QUEUE_FULL, limit=policy.max_queue_depth),
        Verdict(Status.QUEUE_WAIT_TIMEOUT, limit=int(policy.max_queue_wait_s * 1e9)),
    ):
        yield saying(verdict.code, refusal(verdict, function))
