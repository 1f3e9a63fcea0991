"""WebSockets of a client to a server inside a sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    TextMessage,
)
from wsproto.events import Request as Opening
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from constellation.base.errors import ConstellationError, DeadlineExceeded
from constellation.zenith.errors import ClientGone
from constellation.zenith.headers import forwarded
from constellation.zenith.socket_request import FAILED, NORMAL, TOO_BIG, SocketRequest
from constellation.zenith.tunnel import SandboxAnswerInvalid, Tunnel

_MESSAGE_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10
_OPEN_S = 30.0
_HANDSHAKE = (b"sec-websocket-", b"cookie2")


async def relay_socket(request: SocketRequest, opened: Tunnel, *, target: str, host: str) -> None:
    """Open a WebSocket to the server and pass messages both ways until either side closes.

    Raises:
        SandboxAnswerInvalid, DeadlineExceeded: before the client's own is accepted.
    """
    ours = WSConnection(ConnectionType.CLIENT)
    kept = [(name, value) for name, value in forwarded(request.headers) if not name.startswith(_HANDSHAKE)]
    try:
        await opened.send(
            ours.send(Opening(host=host, target=target, subprotocols=list(request.protocols), extra_headers=kept))
        )
        with anyio.move_on_after(_OPEN_S) as waiting:
            accepted = await _accepted(ours, opened)
        if waiting.cancelled_caught:
            raise DeadlineExceeded("the server in the sandbox", after_s=_OPEN_S)
    except (LocalProtocolError, RemoteProtocolError) as error:
        raise SandboxAnswerInvalid(str(error)) from error
    await request.accept(accepted.subprotocol if accepted.subprotocol in request.protocols else None)
    closing = NORMAL, ""
    async with anyio.create_task_group() as tasks:

        async def hear() -> None:
            try:
                while True:
                    message = await request.message()
                    event = BytesMessage(data=message) if isinstance(message, bytes) else TextMessage(data=message)
                    await opened.send(ours.send(event))
            except (ClientGone, LocalProtocolError):
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(hear)
        try:
            closing = await _hear_server(request, ours, opened)
        except RemoteProtocolError as error:
            closing = FAILED, f"the server in the sandbox broke the protocol: {error}"
        except ConstellationError as error:
            closing = FAILED, str(error)
        tasks.cancel_scope.cancel()
    await request.close(*closing)


async def _accepted(ours: WSConnection, opened: Tunnel) -> AcceptConnection:
    heard = 0
    while True:
        for event in _events(ours):
            if isinstance(event, AcceptConnection):
                return event
            if isinstance(event, RejectConnection | RejectData):
                raise SandboxAnswerInvalid("it refuses the WebSocket")
        data = await opened.data()
        heard += len(data)
        if not data or heard > _HEAD_BYTES:
            raise SandboxAnswerInvalid("it does not open the WebSocket")
        ours.receive_data(data)


async def _hear_server(request: SocketRequest, ours: WSConnection, opened: Tunnel) -> tuple[int, str]:
    """Pass on what the server says; return how to close."""
    parts: list[bytes | str] = []
    held = 0
    while True:
        for event in _events(ours):
            if isinstance(event, Ping):
                await opened.send(ours.send(event.response()))
            elif isinstance(event, CloseConnection):
                code = event.code if event.code in range(3000, 5000) or event.code == NORMAL else FAILED
                return code, event.reason or ""
            elif isinstance(event, Message):
                held += len(event.data)
                if held > _MESSAGE_BYTES:
                    return TOO_BIG, "a message of the server in the sandbox is too long"
                parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
                if event.message_finished:
                    await request.say("".join(parts) if isinstance(parts[0], str) else b"".join(parts))  # type: ignore[arg-type]  # one kind
                    parts, held = [], 0
            elif not isinstance(event, Pong):
                return FAILED, "the server in the sandbox says what makes no sense"
        data = await opened.data()
        if not data:
            return FAILED, "the server in the sandbox is gone"
        ours.receive_data(data)


def _events(ours: WSConnection) -> Iterator[Event]:
    yield from ours.events()
