"""`/sandboxes/{id}/ports/{port}/…`: an HTTP server inside a sandbox, through a tunnel. What it says is hostile."""

from __future__ import annotations

import anyio
import h11

from constellation.base.errors import ConstellationError, DeadlineExceeded
from constellation.routes.registry import Match
from constellation.zenith.calls import context_of
from constellation.zenith.execution import Execution
from constellation.zenith.headers import SANDBOXED, forwarded, function_headers
from constellation.zenith.port_sockets import relay_socket
from constellation.zenith.principals import Access
from constellation.zenith.request import MAX_HEADER_BYTES, MAX_HEADERS, Request
from constellation.zenith.socket_request import SocketRequest
from constellation.zenith.tunnel import SandboxAnswerInvalid, Tunnel, tunnel

_HEAD_S = 60.0  # chosen: until the answer begins


class PortRelay:
    """Passes requests on over a connection each; bodies come and go as they are made."""

    def __init__(self, *, execution: Execution, max_body_bytes: int, read_timeout_s: float) -> None:
        self._execution = execution
        self._max_body_bytes, self._read_timeout_s = max_body_bytes, read_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        port = match.params["port"]
        target = f"/{match.params['rest']}".encode("latin-1") + (b"?" + request.query if request.query else b"")
        async with tunnel(
            self._execution,
            path=f"/sandboxes/{match.params['id']}/ports/{port}/",
            query=b"",
            token=access.token,
            context=context_of(request),
        ) as opened:
            if isinstance(request, SocketRequest):
                await relay_socket(request, opened, target=target.decode("latin-1"), host=f"localhost:{port}")
                return
            request.expect_body(
                limit_bytes=match.route.max_body_bytes or self._max_body_bytes, timeout_s=self._read_timeout_s
            )
            await _exchange(request, opened, target=target, host=f"localhost:{port}")


async def _exchange(request: Request, opened: Tunnel, *, target: bytes, host: str) -> None:
    ours = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
    headers = [(b"host", host.encode()), (b"connection", b"close"), *forwarded(request.headers)]
    announced = request.single.get(b"content-length")
    if announced is not None:
        headers.append((b"content-length", announced))
    elif not request.body_done:
        headers.append((b"transfer-encoding", b"chunked"))
    try:
        await opened.send(ours.send(h11.Request(method=request.method, target=target, headers=headers)) or b"")
    except h11.LocalProtocolError as error:
        raise SandboxAnswerInvalid(f"the request can not be passed on: {error}") from error
    failure: ConstellationError | None = None
    async with anyio.create_task_group() as tasks:

        async def pass_body() -> None:
            nonlocal failure
            try:
                while (piece := await request.piece()) is not None:
                    await opened.send(ours.send(h11.Data(data=piece)) or b"")
                await opened.send(ours.send(h11.EndOfMessage()) or b"")
            except h11.LocalProtocolError:
                return  # it has answered before it read all
            except ConstellationError as error:
                failure = error
                tasks.cancel_scope.cancel()

        tasks.start_soon(pass_body)
        try:
            await _answer(request, ours, opened)
        except h11.RemoteProtocolError as error:
            failure = SandboxAnswerInvalid(str(error))
        except ConstellationError as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _answer(request: Request, ours: h11.Connection, opened: Tunnel) -> None:
    with anyio.move_on_after(_HEAD_S) as waiting:
        event = await _event(ours, opened)
        while isinstance(event, h11.InformationalResponse):
            event = await _event(ours, opened)
    if waiting.cancelled_caught:
        raise DeadlineExceeded("the server in the sandbox", after_s=_HEAD_S)
    if not isinstance(event, h11.Response):
        raise SandboxAnswerInvalid("it closed the connection")
    if len(event.headers) > MAX_HEADERS:
        raise SandboxAnswerInvalid(f"more than {MAX_HEADERS} headers")
    headers = function_headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
    length = next((value for name, value in event.headers if name == b"content-length"), None)
    if length is not None:
        headers.append((b"content-length", length))
    await request.start(event.status_code, [*headers, SANDBOXED])
    while True:
        event = await _event(ours, opened)
        if isinstance(event, h11.Data):
            await request.chunk(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            await request.end()
            return
        else:
            raise SandboxAnswerInvalid("its answer breaks off")


async def _event(ours: h11.Connection, opened: Tunnel) -> object:
    while (event := ours.next_event()) is h11.NEED_DATA:
        ours.receive_data(await opened.data())
    return event
