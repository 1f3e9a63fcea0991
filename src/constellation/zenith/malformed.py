"""What is no HTTP/1.1 never reaches the app: here it is answered with a problem, as everything else is.

Hypercorn answers such a request itself, with an empty body, and offers no setting for that. This is the one place that
touches names of hypercorn which are not public; `tests/acceptance/test_bad_input.py` fails when they change.
"""

from __future__ import annotations

import json

import h11
import hypercorn.protocol
from hypercorn.protocol.h11 import H11Protocol

from constellation.base.errors import ConstellationError
from constellation.rpc.problems import PROBLEM_JSON


class MalformedRequest(ConstellationError):
    """Bytes that are no HTTP/1.1 request, or a body that ends before it should."""

    code, http_status = "malformed_request", 400

    def __init__(self, http_status: int) -> None:
        super().__init__("this is not a complete, well-formed HTTP/1.1 request; the connection is closed")
        self.http_status = http_status


class ProblemH11(H11Protocol):
    """Hypercorn's HTTP/1.1, whose refusals carry a problem."""

    async def _send_error_response(self, status_code: int) -> None:
        body = json.dumps(MalformedRequest(status_code).problem(), separators=(",", ":")).encode()
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def answer_with_problems() -> None:
    """Have this process's HTTP server refuse malformed requests with problems."""
    hypercorn.protocol.H11Protocol = ProblemH11  # type: ignore[attr-defined]  # a class is put in place of its parent
