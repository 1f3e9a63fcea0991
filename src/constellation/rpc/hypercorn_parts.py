"""The two classes of Hypercorn that are replaced by ours, as it has no setting for what they do.

Its connection, which we end when its client has ended it: Hypercorn lets a quiet connection's keep-alive timer run out
before it closes its socket, even when the client is gone already. With its default of 5 s nobody notices; with ours,
clients that open a connection a call would cost us a descriptor each for a minute.

Its HTTP/1.1, whose refusals of what is no HTTP carry a problem, as everything else does, and not an empty body. Clients
see it where C does not own the port.

Nothing else touches names of Hypercorn which are not public; `tests/integration/rpc/test_connections.py` fails when they
change.
"""

from __future__ import annotations

import json

import h11
import hypercorn.protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event, Updated
from hypercorn.protocol.h11 import H11Protocol

from constellation.base.errors import ConstellationError
from constellation.rpc.problems import PROBLEM_JSON


class MalformedRequest(ConstellationError):
    """Bytes that are no HTTP/1.1 request, or a body that ends before it should."""

    code, http_status = "malformed_request", 400

    def __init__(self, http_status: int) -> None:
        super().__init__("this is not a complete, well-formed HTTP/1.1 request; the connection is closed")
        self.http_status = http_status


class Connection(TCPServer):
    """A connection whose keep-alive timer stops at the end of what the client sends."""

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and event.idle and self.reader.at_eof():
            return  # nobody is there to send another request
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


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


def install() -> None:
    """Make Hypercorn use them in this process."""
    setattr(run, "TCPServer", Connection)  # noqa: B010  # the module does not export what it imports
    hypercorn.protocol.H11Protocol = ProblemH11  # type: ignore[attr-defined]  # a class is put in place of its parent
