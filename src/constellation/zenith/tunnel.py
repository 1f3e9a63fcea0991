"""A connection through comet into a sandbox, as the gateway holds it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpclib.client import Stream

from constellation.base.errors import ConstellationError, Unavailable
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2
from constellation.zenith.execution import Execution

TUNNEL_S = 6 * 3600.0  # chosen: a terminal that is open for longer is opened again
_PIECE_BYTES = 64 << 10


class SandboxAnswerInvalid(ConstellationError):
    """What a server inside a sandbox says is no HTTP, or it says nothing."""

    code, http_status = "sandbox_answer_invalid", 502

    def __init__(self, reason: str) -> None:
        super().__init__(f"the server in the sandbox gave no valid answer: {reason}")


class Tunnel:
    """Pieces both ways; each side goes no faster than the other takes them."""

    def __init__(self, stream: Stream[Any, Any]) -> None:
        self._stream, self._has_ended = stream, False

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE_BYTES):
            await self._stream.send_message(nova_pb2.TunnelPiece(data=data[at : at + _PIECE_BYTES]))

    async def order(self, control: bytes) -> None:
        """Tell the program's keeper something: JSON."""
        await self._stream.send_message(nova_pb2.TunnelPiece(control=control))

    async def finish(self) -> None:
        """Say that there is no more to send; what comes back still does."""
        await self._stream.send_message(nova_pb2.TunnelPiece(end=True))

    async def pieces(self) -> AsyncIterator[nova_pb2.TunnelPiece]:
        """Yield what comes until the other end has said all."""
        while not self._has_ended:
            yield await self._next()

    async def data(self) -> bytes:
        """Return what comes next, b"" at the end."""
        while not self._has_ended:
            piece = await self._next()
            if piece.data:
                return bytes(piece.data)
        return b""

    async def _next(self) -> nova_pb2.TunnelPiece:
        piece: nova_pb2.TunnelPiece | None = await self._stream.recv_message()
        if piece is None:
            await self._stream.recv_trailing_metadata()  # which has the reason
            raise Unavailable("comet", reason="the tunnel broke")
        self._has_ended = piece.end
        return piece


@asynccontextmanager
async def tunnel(
    execution: Execution, *, path: str, query: bytes, token: str, context: CallContext
) -> AsyncIterator[Tunnel]:
    """Open what a path of the public API names; leaving the block closes it.

    Raises:
        RemoteProblem: comet refuses.
        Unavailable
    """
    async with execution.tunnel(token=token, context=context, timeout_s=TUNNEL_S) as stream:
        await stream.send_message(nova_pb2.TunnelPiece(open=nova_pb2.TunnelOpen(path=path, query=query)))
        if await stream.recv_message() is None:
            await stream.recv_trailing_metadata()
            raise Unavailable("comet", reason="it opens nothing and does not say why")
        try:
            yield Tunnel(stream)
        finally:
            await stream.cancel()
