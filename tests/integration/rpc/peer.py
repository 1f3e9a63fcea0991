"""A plane of which a test says every byte."""

from __future__ import annotations

import socket
import struct

from anyio.abc import SocketAttribute, SocketStream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, StreamEnded
from h2.settings import Settings

NOISE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class Peer:
    """One connection of a plane, which goes as far in the exchange as it is told."""

    def __init__(self, socket_stream: SocketStream) -> None:
        self._stream = socket_stream
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._seen: list[Event] = []
        self.call = 1  # the first that a client makes

    async def until(self, kind: type[Event]) -> None:
        while not any(isinstance(event, kind) for event in self._seen):
            await self._hear()

    async def _hear(self) -> None:
        self._seen.extend(self._h2.receive_data(await self._stream.receive()))
        await self.flush()

    async def asked(self) -> None:
        """Wait for the whole of a call, and turn to it."""
        while not (ended := [event for event in self._seen if isinstance(event, StreamEnded)]):
            await self._hear()
        self._seen.remove(ended[0])
        self.call = ended[0].stream_id

    async def flush(self) -> None:
        if out := self._h2.data_to_send():
            await self._stream.send(out)

    async def greet(self, settings: dict[int, int] | None = None) -> None:
        self._h2.local_settings = Settings(client=False, initial_values=settings)
        self._h2.initiate_connection()
        await self.flush()

    async def head(self) -> None:
        self._h2.send_headers(self.call, [(":status", "200"), ("content-type", "application/grpc")])
        await self.flush()

    async def data(self, data: bytes) -> None:
        self._h2.send_data(self.call, data)
        await self.flush()

    async def trailers(self) -> None:
        self._h2.send_headers(self.call, [("grpc-status", "0")], end_stream=True)
        await self.flush()

    # ---- how it ends

    async def fin(self) -> None:
        await self._stream.aclose()

    async def rst(self) -> None:
        raw = self._stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._stream.aclose()

    async def goaway(self, code: int, last: int) -> None:
        body = struct.pack(">II", last, code)
        await self._stream.send(struct.pack(">IBI", len(body) << 8 | 7, 0, 0) + body)
        await self._stream.aclose()

    async def goaway_and_wait(self) -> None:
        body = struct.pack(">II", 0, 0)
        await self._stream.send(struct.pack(">IBI", len(body) << 8 | 7, 0, 0) + body)
        await self.wait()

    async def reset(self, code: int) -> None:
        await self._stream.send(struct.pack(">IBII", 4 << 8 | 3, 0, self.call, code))
        await self.wait()

    async def cut(self) -> None:
        """End the call where it is, without a status."""
        await self._stream.send(struct.pack(">IBI", 0, 1, self.call))

    async def end(self) -> None:
        await self.cut()
        await self.wait()

    async def noise(self) -> None:
        await self._stream.send(NOISE)
        await self._stream.aclose()

    async def wait(self) -> None:
        """Keep the connection until the other side closes it."""
        while True:
            await self._stream.receive()
