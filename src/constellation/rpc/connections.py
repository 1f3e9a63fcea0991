"""Hypercorn's connections, ended as soon as their client has ended them.

Hypercorn 0.18 sees the end of an idle connection and then waits for its keep-alive timer before it closes its own end:
every client that comes, asks once and goes leaves a descriptor in CLOSE-WAIT behind for a minute, and a thousand of
them leave a plane that can accept nobody. There is no setting against that but a timer so short that clients' kept
connections break under them. This goes when Hypercorn stops that timer at the end of the stream.
"""

from __future__ import annotations

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, Updated


class Connection(TCPServer):
    """One connection of a client, without a timer over what has ended."""

    async def protocol_send(self, event: Event) -> None:
        # An answer to a client that ended its half before it: there will be no next request to be idle for.
        is_over = isinstance(event, Updated) and event.idle and self.reader.at_eof()
        await super().protocol_send(Closed() if is_over else event)

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            await self.idle_task.stop()


def end_with_clients() -> None:
    """Have every Hypercorn server of this process use such connections. Call it before serving; again is harmless."""
    run.TCPServer = Connection  # type: ignore[attr-defined]  # the name that its server looks up
