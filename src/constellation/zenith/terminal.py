"""`/sandboxes/{id}/terminal`: a program in a sandbox at the other end of a WebSocket."""

from __future__ import annotations

import anyio
import msgspec

from constellation.base.errors import ConstellationError
from constellation.routes.registry import Match
from constellation.zenith.calls import context_of
from constellation.zenith.errors import ClientGone
from constellation.zenith.execution import Execution
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.socket_request import FAILED, NORMAL, UNSUPPORTED, NoSocketHere, SocketRequest
from constellation.zenith.tunnel import Tunnel, tunnel

_OUT, _ERROR = b"\1", b"\2"  # what a message begins with where there are two streams


class Order(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A text message of a client."""

    size: tuple[int, int] | None = None  # rows, columns
    signal: int | None = None
    end: bool = False  # of the input


class Terminal:
    """Binary messages are the program's input and output. Its last word is a text message: how it ended."""

    def __init__(self, *, execution: Execution) -> None:
        self._execution = execution

    async def __call__(self, request: Request, _match: Match, access: Access | None, /) -> None:
        assert access is not None
        if not isinstance(request, SocketRequest):
            raise NoSocketHere(wants_socket=True)
        is_split = b"tty=0" in request.query.split(b"&") or b"tty=false" in request.query.split(b"&")
        async with tunnel(
            self._execution, path=request.path, query=request.query, token=access.token, context=context_of(request)
        ) as opened:
            await request.accept()
            try:
                await _relay(request, opened, is_split=is_split)
            except ClientGone:
                return
            except ConstellationError as error:
                await request.close(FAILED, str(error))


async def _relay(request: SocketRequest, opened: Tunnel, *, is_split: bool) -> None:
    closing = FAILED, "it broke off"
    async with anyio.create_task_group() as tasks:

        async def hear() -> None:
            nonlocal closing
            try:
                while True:
                    message = await request.message()
                    if isinstance(message, bytes):
                        await opened.send(message)
                    else:
                        await _obey(opened, message)
            except ClientGone:
                pass
            except msgspec.MsgspecError as error:
                closing = UNSUPPORTED, f"a text message must be an order: {error}"
            tasks.cancel_scope.cancel()

        tasks.start_soon(hear)
        async for piece in opened.pieces():
            if piece.data:
                await request.say((_OUT if is_split else b"") + piece.data)
            if piece.error:
                await request.say(_ERROR + piece.error)
            if piece.control:
                await request.say(bytes(piece.control).decode("utf-8", "replace"))
                closing = NORMAL, ""
        tasks.cancel_scope.cancel()
    await request.close(*closing)


async def _obey(opened: Tunnel, message: str) -> None:
    order = msgspec.json.decode(message, type=Order)
    if order.end:
        await opened.finish()
    elif order.size is not None or order.signal is not None:
        await opened.order(msgspec.json.encode(order))
