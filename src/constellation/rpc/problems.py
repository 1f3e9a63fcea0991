"""One error class, one status: the same problem over HTTP and gRPC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError

from constellation.base.errors import ConstellationError, RemoteProblem

TRAILER = "nova-problem-bin"
_STATUS = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    405: Status.UNIMPLEMENTED,
    409: Status.FAILED_PRECONDITION,
    413: Status.OUT_OF_RANGE,
    429: Status.RESOURCE_EXHAUSTED,
    501: Status.UNIMPLEMENTED,
    502: Status.ABORTED,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
    508: Status.FAILED_PRECONDITION,
}
_HTTP = {
    Status.CANCELLED: 499,
    Status.INVALID_ARGUMENT: 400,
    Status.UNAUTHENTICATED: 401,
    Status.PERMISSION_DENIED: 403,
    Status.NOT_FOUND: 404,
    Status.ALREADY_EXISTS: 409,
    Status.FAILED_PRECONDITION: 409,
    Status.OUT_OF_RANGE: 413,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.UNIMPLEMENTED: 501,
    Status.ABORTED: 502,
    Status.UNAVAILABLE: 503,
    Status.DEADLINE_EXCEEDED: 504,
}


PROBLEM_JSON = "application/problem+json"


def headers_of(error: ConstellationError) -> dict[str, str]:
    """Return the HTTP headers that go with a problem: when to come back, how to prove who one is, what is allowed."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None or error.http_status in (429, 503):
        headers["retry-after"] = str(error.retry_after_s or 1)
    if error.http_status == 401:
        headers["www-authenticate"] = 'Bearer realm="constellation"'
    if error.http_status == 405:
        allow = error.problem().get("allow")
        headers["allow"] = ", ".join(allow if isinstance(allow, list) else [])
    return headers


def status_of(error: ConstellationError) -> Status:
    """Return the gRPC status that goes with the error's HTTP status."""
    return _STATUS.get(error.http_status, Status.INTERNAL)


def trailer_of(error: ConstellationError) -> dict[str, bytes]:
    """Return the trailing metadata that carries the whole problem."""
    return {TRAILER: json.dumps(error.problem(), separators=(",", ":")).encode()}


class ProblemDetails(StatusDetailsCodecBase):
    """A problem as the details of a status, which outlive a stream that is reset."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:  # noqa: ARG002  # grpclib's signature
        problem: bytes = details
        return problem

    def decode(self, status: Status, message: str | None, data: bytes) -> bytes:  # noqa: ARG002
        return data


def problem_from(error: GRPCError, trailing: Mapping[str, object] | None) -> RemoteProblem:
    """Return what the other side said: its problem where it sent one, else one made of the gRPC status."""
    carried = trailing.get(TRAILER) if trailing else error.details
    if isinstance(carried, bytes):
        try:
            body = json.loads(carried)
        except ValueError:
            body = None
        if isinstance(body, dict):
            return RemoteProblem(body)
    http_status = _HTTP.get(error.status, 500)
    return RemoteProblem(
        {
            "type": f"urn:constellation:problem:{error.status.name.lower()}",
            "title": error.status.name.lower().replace("_", " "),
            "status": http_status,
            "detail": error.message or "the other side gave no reason",
            "code": error.status.name.lower(),
            "retryable": error.status in (Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED),
        }
    )
