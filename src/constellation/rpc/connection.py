"""Hypercorn's connection, ended when its client has ended it.

Hypercorn lets a quiet connection's keep-alive timer run out before it closes its socket, even when the client is gone
already. With its default of 5 s nobody notices; with ours, clients that open a connection a call would cost us a
descriptor each for a minute. Hypercorn has no setting for it, so its class is replaced in the one module that uses it.
"""

from __future__ import annotations

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event, Updated


class Connection(TCPServer):
    """A connection whose keep-alive timer stops at the end of what the client sends."""

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and event.idle and self.reader.at_eof():
            return  # nobody is there to send another request
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


def install() -> None:
    """Make Hypercorn use it in this process."""
    setattr(run, "TCPServer", Connection)  # noqa: B010  # the module does not export what it imports
