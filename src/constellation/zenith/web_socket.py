"""WebSockets on function URLs: the function is called when a client comes, for each of its messages, and when it is gone.

An event is that of a function URL (see `function_url`) with `type` "websocket", `event` "connect", "message" or
"disconnect", and the connection's id. Messages of a connection are handled one after the other, each by one call; what it
returns, if it is not null, is sent back. The next message is not read before, so a client that is faster than its function
waits. A client that leaves stops the call that runs for it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from constellation.base.errors import ConstellationError, Overloaded
from constellation.base.ids import RequestId, uuid7
from constellation.nova.config.sections import SocketSettings
from constellation.nova.domain.access import Identity
from constellation.routes.registry import Match
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2
from constellation.zenith.breakers import Outcome, unguarded
from constellation.zenith.calls import sticky_key_of
from constellation.zenith.errors import ClientGone, FunctionAnswerInvalid, SocketLimit
from constellation.zenith.execution import Execution
from constellation.zenith.http_event import answer_of, facts_of, from_base64
from constellation.zenith.invoke import GRACE_S, failure_of
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.retries import Tries
from constellation.zenith.socket_request import FAILED, GOING_AWAY, NORMAL, POLICY, TOO_BIG, SocketRequest

SOURCE = "websocket"
_OWN_CODES = range(3000, 5000)  # what an application may close with, besides 1000
_READ_AHEAD = 4  # messages; chosen: the rest waits in the client
_SEND_STALL_S = 60.0  # as of an answer
_FAREWELL_S = 10.0  # chosen: how long the call that hears of the end may take
_CLOSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a function's output means to the client."""

    data: str | bytes | None = None
    close_code: int | None = None


class Doorkeeper(Protocol):
    """Says who is there; see `UrlDoor`."""

    async def admit(self, request: Request, match: Match) -> Access: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketTerms:
    """What the route that a connection came by says of its calls."""

    facts: Mapping[str, Any] | None = None  # what events say of the handshake; None: as those of a function URL
    guard: Callable[[], AbstractContextManager[Outcome]] = unguarded  # each call but the last, which only tells
    tries: Callable[[str], Tries] | None = None  # by method, for what it lets be done twice; None: one
    timeout_s: float = 0.0  # of one call; 0: the function's own


@dataclass(slots=True, eq=False)
class _Connection:
    """One client, from its handshake to its end."""

    request: SocketRequest
    match: Match
    doorman: Doorkeeper
    terms: SocketTerms
    id: str = field(default_factory=lambda: str(uuid7()))
    ends_with: int | None = None  # the closing code, when the gateway ends it while it listens

    @property
    def function(self) -> str:
        return unquote(self.match.params["name"])

    @property
    def path(self) -> str:
        return "/" + self.match.params.get("rest", "")

    def tries(self, method: str) -> Tries | None:
        return None if self.terms.tries is None else self.terms.tries(method)


class WebSockets:
    """All connections of one gateway: bounded in number, all together and by who opened them."""

    def __init__(
        self, *, execution: Execution, doorman: Doorkeeper, settings: Callable[[], SocketSettings], max_timeout_s: float
    ) -> None:
        self._execution, self._doorman = execution, doorman
        self._settings, self._max_timeout_s = settings, max_timeout_s
        self._open: dict[tuple[str, str], int] = {}  # by tenant and subject

    async def serve(
        self, request: SocketRequest, match: Match, access: Access, doorman: Doorkeeper | None = None, *,
        terms: SocketTerms | None = None,
    ) -> None:  # fmt: skip
        """Serve a connection whose handshake is `request`; returns at its end.

        Args:
            doorman: another than the API's own.
            terms: those of the route that it came by.

        Raises:
            ConstellationError: it is refused; nothing was answered yet.
        """
        connection = _Connection(request, match, doorman or self._doorman, terms or SocketTerms())
        with self._place(access.identity):
            chosen = await self._connect(connection, access)
            if request.status:
                return  # the function answered in plain HTTP
            await request.accept(chosen)
            code = GOING_AWAY  # if we are cut off
            try:
                code = await self._talk(connection)
            finally:
                await self._close(connection, code)
            await self._farewell(connection, code)

    # One connection, step by step.

    async def _connect(self, connection: _Connection, access: Access) -> str | None:
        """Tell the function that a client came; return the subprotocol that it chose."""
        function = connection.function
        offered = list(connection.request.protocols)
        tries = connection.tries("GET")
        with connection.terms.guard() as outcome:
            while True:
                output = await self._call(connection, access, "connect", {"subprotocols": offered}, tries)
                try:
                    value = msgspec.json.decode(output)
                except msgspec.DecodeError:
                    value = None
                status = value.get("statusCode", 200) if isinstance(value, dict) else 200
                http_status = status if isinstance(status, int) else 200
                pause_s = None if tries is None else tries.after_answer(http_status)
                if pause_s is None:
                    break
                await anyio.sleep(pause_s)
            outcome.answered(http_status)
        if not isinstance(value, dict):
            return None
        if status != 101 and (not isinstance(status, int) or not 200 <= status <= 299):
            answer = answer_of(function, output)
            await connection.request.answer(
                answer.status, answer.body, content_type=answer.content_type, headers=answer.headers
            )
            return None
        chosen = value.get("subprotocol")
        if chosen is not None and chosen not in offered:
            raise FunctionAnswerInvalid(function, "it chose a subprotocol that the client did not offer")
        return chosen

    async def _talk(self, connection: _Connection) -> int:
        """Handle messages until the client leaves, is told to, or its time is up; return the closing code."""
        code = GOING_AWAY  # if its time is up
        inbox, messages = anyio.create_memory_object_stream[str | bytes](_READ_AHEAD)
        with messages, anyio.move_on_after(self._settings().max_duration_s):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, connection, inbox, tasks.cancel_scope)
                code = await self._converse(connection, messages)
                tasks.cancel_scope.cancel()
        return connection.ends_with or code

    async def _converse(self, connection: _Connection, messages: MemoryObjectReceiveStream[str | bytes]) -> int:
        while True:
            with anyio.move_on_after(self._settings().idle_timeout_s) as quiet:
                message = await messages.receive()
            if quiet.cancelled_caught:
                return GOING_AWAY
            try:
                reply = await self._answer(connection, message)
            except ConstellationError as error:
                if error.http_status in (401, 403):
                    return POLICY
                problem = error.problem() | {"connection_id": connection.id}
                reply = Reply(data=msgspec.json.encode(problem).decode())
            if reply.data is not None and not await _sent(connection, reply.data):
                return FAILED
            if reply.close_code is not None:
                return reply.close_code

    async def _read(
        self, connection: _Connection, inbox: MemoryObjectSendStream[str | bytes], talk: anyio.CancelScope
    ) -> None:
        """Hear the client until it leaves or says too much at once; then nothing runs for it any more."""
        with inbox:
            while True:
                try:
                    message = await connection.request.message()
                except ClientGone:
                    break
                size_bytes = len(message.encode() if isinstance(message, str) else message)
                if size_bytes > self._settings().max_message_bytes:
                    connection.ends_with = TOO_BIG
                    break
                await inbox.send(message)
            talk.cancel()

    async def _answer(self, connection: _Connection, message: str | bytes) -> Reply:
        is_binary = isinstance(message, bytes)
        body = b64encode(message).decode() if isinstance(message, bytes) else message
        # Asked for each message: a key that was revoked, or a tenant that was suspended, ends here.
        access = await connection.doorman.admit(connection.request, connection.match)
        facts = {"body": body, "isBase64Encoded": is_binary}
        tries = connection.tries("POST")
        with connection.terms.guard() as outcome:
            reply = reply_of(connection.function, await self._call(connection, access, "message", facts, tries))
            outcome.answered(200)
        return reply

    async def _close(self, connection: _Connection, code: int) -> None:
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await connection.request.close(code)

    async def _farewell(self, connection: _Connection, code: int) -> None:
        """Tell the function that the client is gone, as well as can be."""
        facts = {"code": None if connection.request.gone else code}
        with anyio.move_on_after(_FAREWELL_S, shield=True), suppress(ConstellationError):
            access = await connection.doorman.admit(connection.request, connection.match)
            await self._call(connection, access, "disconnect", facts, None)

    async def _call(
        self, connection: _Connection, access: Access, event: str, facts: dict[str, Any], tries: Tries | None
    ) -> bytes:
        """Call the function, again where that is safe; return its output.

        Raises:
            ConstellationError: as `_once`.
        """
        while True:
            try:
                return await self._once(connection, access, event, facts)
            except ConstellationError as error:
                pause_s = None if tries is None else tries.after_error(error)
                if pause_s is None:
                    raise
            await anyio.sleep(pause_s)

    async def _once(self, connection: _Connection, access: Access, event: str, facts: dict[str, Any]) -> bytes:
        """Call the function; return its output.

        Raises:
            FunctionFailed: it raised.
            ConstellationError: as `Execution.invoke`.
        """
        request_id = connection.request.request_id if event == "connect" else RequestId(uuid7())
        terms = connection.terms
        seen = facts_of(connection.request, path=connection.path) if terms.facts is None else terms.facts
        payload = {**seen, "type": SOURCE, "event": event, "connection_id": connection.id, **facts}
        reply = await self._execution.invoke(
            nova_pb2.InvokeRequest(
                function=connection.function,
                sticky_key=sticky_key_of(connection.request) or connection.id,  # one connection, one version
                payload=msgspec.json.encode(payload | {"request_id": str(request_id)}),
                peer=connection.request.peer,
                timeout_ms=round(terms.timeout_s * 1000),
            ),
            token=access.token,
            context=CallContext(request_id=request_id, source=SOURCE),
            timeout_s=(terms.timeout_s or self._max_timeout_s) + GRACE_S,
        )
        if reply.error:
            raise failure_of(connection.function, reply.error)
        return reply.output or b"null"

    @contextmanager
    def _place(self, identity: Identity) -> Iterator[None]:
        """Count a connection for the length of the block, or raise `Overloaded` or `SocketLimit`."""
        if sum(self._open.values()) >= self._settings().max_open:
            raise Overloaded("WebSockets", limit=self._settings().max_open)
        who = (identity.tenant, identity.subject)
        if self._open.get(who, 0) >= self._settings().max_open_per_key:
            raise SocketLimit(identity.subject, limit=self._settings().max_open_per_key)
        self._open[who] = self._open.get(who, 0) + 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if self._open[who] == 0:
                del self._open[who]


def reply_of(function: str, output: bytes) -> Reply:
    """Return what an output means: null is nothing, a text is itself, and JSON is its own text.

    An object with `body` or `close` and nothing else says more: `body` is sent (bytes, if `isBase64Encoded`), then the
    connection is closed with the code `close`.

    Raises:
        FunctionAnswerInvalid: its body is not base64, or its code none that an application may close with.
    """
    value = msgspec.json.decode(output)
    if value is None:
        return Reply()
    if isinstance(value, str):
        return Reply(data=value)
    if not isinstance(value, dict) or not ({"body", "close"} & value.keys()) or (
        value.keys() - {"body", "close", "isBase64Encoded"}
    ):  # fmt: skip
        return Reply(data=output.decode())
    code = value.get("close")
    is_code = code == NORMAL or (isinstance(code, int) and not isinstance(code, bool) and code in _OWN_CODES)
    if code is not None and not is_code:
        raise FunctionAnswerInvalid(function, "close must be 1000, or from 3000 to 4999")
    body = value.get("body")
    if body is None:
        return Reply(close_code=code)
    if not isinstance(body, str):
        return Reply(data=msgspec.json.encode(body).decode(), close_code=code)
    if not value.get("isBase64Encoded", False):
        return Reply(data=body, close_code=code)
    return Reply(data=from_base64(function, body), close_code=code)


async def _sent(connection: _Connection, data: str | bytes) -> bool:
    """Send a message; False when the client took none for too long."""
    with anyio.move_on_after(_SEND_STALL_S) as stalled:
        await connection.request.say(data)
    return not stalled.cancelled_caught
