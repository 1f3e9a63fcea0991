"""The host's end of one worker's socket, as an instance sees it: what calls came to, in the words of the contract.

C moves the frames, keeps the bounds and checks what the worker says (native/src/link).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from constellation.comet.backend.contract import (
    Call,
    CallLog,
    CallTimeout,
    HandlerLoadFailed,
    InstanceDied,
    InstanceSpec,
    Outcome,
    OutputInvalid,
    StreamOutcome,
)
from constellation.native.json_check import is_handler_error
from constellation.native.link import End, EndKind, Links
from constellation.native.mail import Mail
from constellation.wire.gen import agent_pb2

PROTOCOL = 1
CODE_DIR, LAYERS_DIR = "/code", "/opt"
_NOTHING = CallLog()
_RESULT, _ERROR, _INVALID, _TIMEOUT = (
    int(EndKind.RESULT),
    int(EndKind.ERROR),
    int(EndKind.INVALID),
    int(EndKind.TIMEOUT),
)


def init_of(spec: InstanceSpec) -> agent_pb2.Init:
    """Return the init frame of an instance, whose sandbox shows it its code at `CODE_DIR`."""
    return agent_pb2.Init(
        handler=spec.handler,
        function_name=spec.function_name,
        function_version=spec.function_version,
        tenant=spec.tenant,
        namespace=spec.namespace,
        memory_limit_mb=spec.memory_mb,
        concurrency=spec.concurrency,
        env=dict(spec.env),
        code_dir=CODE_DIR,
        log_limit_bytes=spec.log_limit_bytes,
        has_layers=spec.layers_dir is not None,
    )


class HandlerError(msgspec.Struct):
    """The body of an error frame."""

    type: str
    message: str
    stack: str = ""


class Channel:
    """Owns the socket, the pipe and the page of one instance until `end_nowait`; the first two must be non-blocking.

    `on_hang_up(cause)` is called once, when the worker closed its end (cause "") or broke the protocol.
    `on_given_up()` is called whenever a call of the worker has lost its caller.
    """

    def __init__(
        self,
        links: Links,
        channel: socket.socket,
        stdio_fd: int,
        mail: Mail | None = None,
        *,
        spec: InstanceSpec,
        on_hang_up: Callable[[str], None],
        on_given_up: Callable[[], None],
    ) -> None:
        self._function, self._log_limit_bytes, self._on_hang_up = spec.function_name, spec.log_limit_bytes, on_hang_up
        self._links = links
        self._on_given_up = on_given_up
        self._link = links.open(
            channel.detach(),
            stdio_fd,
            mail,
            is_alone=spec.concurrency <= 1,
            log_limit_bytes=spec.log_limit_bytes,
            on_hang_up=on_hang_up,
            on_given_up=on_given_up,
            owner=spec,
        )
        self._cause: str | None = None  # why no call can be made any more

    @property
    def number(self) -> int:
        """The link's handle, by which C finds it."""
        return self._link.number

    @property
    def in_hand(self) -> int:
        """Calls that the worker has, those without a caller included."""
        return self._link.in_hand

    @property
    def is_ready(self) -> bool:
        """The worker has answered the init frame."""
        readiness = self._link.readiness
        return readiness is not None and readiness.done()

    # -- the worker's first words

    async def hello(self) -> agent_pb2.Hello:
        """Wait for the worker's greeting.

        Raises:
            InstanceDied: it ended, or speaks another protocol.
        """
        message = await asyncio.shield(self._link.greeting)
        try:
            hello = agent_pb2.Hello.FromString(message)
        except ValueError as error:
            raise self._violated("an unreadable hello") from error
        if hello.protocol != PROTOCOL:
            raise self._violated(f"version {hello.protocol}, not {PROTOCOL}")
        return hello

    async def init(self, message: agent_pb2.Init, *, timeout_s: float) -> None:
        """Send the init frame and wait until the handler is loaded.

        Raises:
            HandlerLoadFailed: the worker could not load it.
            CallTimeout: with phase "init".
            InstanceDied: the worker ended meanwhile.
        """
        self._check_alive()
        ready = self._link.init(message.SerializeToString())
        timer = asyncio.get_running_loop().call_later(timeout_s, self._init_overdue, ready, timeout_s)
        try:
            body = await ready
        finally:
            timer.cancel()
        try:
            answer = agent_pb2.Ready.FromString(body)
        except ValueError as wrong:
            raise self._violated("an unreadable ready") from wrong
        if not answer.ok:
            if not is_handler_error(answer.error):
                raise self._violated("an unreadable ready")
            error = msgspec.json.decode(answer.error, type=HandlerError)
            facts = {"type": error.type, "message": error.message, "stack": error.stack}
            raise HandlerLoadFailed(self._function, error=facts)

    def _init_overdue(self, ready: asyncio.Future[bytes], timeout_s: float) -> None:
        if not ready.done():
            log = self._ambient_log()
            ready.set_exception(CallTimeout(self._function, after_s=timeout_s, phase="init", log=log))
            self._on_given_up()

    # -- calls

    async def call(self, call: Call) -> Outcome:
        """Run one call to its end.

        Raises:
            CallTimeout, InstanceDied, OutputInvalid
        """
        call_id, ended = self._begin(call, is_stream=False)
        try:
            end = await ended
        except asyncio.CancelledError:
            self._give_up(call_id)
            raise
        return self._outcome(call, end)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[StreamOutcome]:
        """Run one call whose answer comes in pieces. Leaving the block early gives the call up."""
        call_id, ended = self._begin(call, is_stream=True)
        try:
            yield _Pieces(self, call, call_id, ended)
        finally:
            self._give_up(call_id)

    def _begin(self, call: Call, *, is_stream: bool) -> tuple[int, asyncio.Future[End]]:
        self._check_alive()
        return self._link.begin(
            call.request_id.bytes,
            call.trace_id,
            call.span_id,
            call.payload,
            timeout_s=call.timeout_s,
            is_stream=is_stream,
            told=call,
        )

    def _outcome(self, call: Call, end: End) -> Outcome:
        log = _log(end.log, is_cut=end.is_log_cut)
        if end.kind == _RESULT:
            return Outcome(output=end.body, error=None, log=log, duration_ms=end.duration_ms)
        if end.kind == _ERROR:
            return Outcome(output=None, error=end.body, log=log, duration_ms=end.duration_ms)
        if end.kind == _INVALID:
            raise OutputInvalid(self._function, log=log)
        if end.kind == _TIMEOUT:
            raise CallTimeout(self._function, after_s=call.timeout_s, log=log)
        raise self._death(log)

    def _give_up(self, call_id: int) -> None:
        """End the wait for a call that has lost its caller; nothing when it has ended."""
        self._link.give_up(call_id)

    # -- the end

    def _violated(self, what: str) -> InstanceDied:
        cause = f"protocol: {what}"
        self._on_hang_up(cause)
        return InstanceDied(self._function, cause=cause)

    def _check_alive(self) -> None:
        if self._cause is not None:
            raise InstanceDied(self._function, cause=self._cause)

    def last_words(self, count_bytes: int) -> bytes:
        """Return the end of what the process said outside the protocol."""
        return self._link.last_words(count_bytes)[0]

    def catch_up_nowait(self) -> None:
        """Hear what the worker has said by now; the news of its end may come sooner than its last words."""
        self._links.catch_up()

    def end_nowait(self, cause: str) -> None:
        """Close both descriptors; every call in hand, and every later one, ends with `InstanceDied`."""
        if self._cause is not None:
            return
        self._cause = cause
        waiting = [future for future in (self._link.greeting, self._link.readiness) if future and not future.done()]
        death = self._death(self._ambient_log()) if waiting else None
        self._link.end_nowait(cause)
        for future in waiting:
            assert death is not None
            future.set_exception(death)
            future.exception()  # marks it as seen: often nobody waits

    def _ambient_log(self) -> CallLog:
        said, is_cut = self._link.last_words(self._log_limit_bytes)
        return _log(said, is_cut=is_cut)

    def _death(self, log: CallLog) -> InstanceDied:
        return InstanceDied(self._function, cause=self._cause or "", log=log)


class _Pieces:
    """The pieces of a streamed answer. Implements `StreamOutcome`."""

    def __init__(self, channel: Channel, call: Call, call_id: int, ended: asyncio.Future[End]) -> None:
        self._channel, self._call, self._id, self._ended = channel, call, call_id, ended
        self._rest: deque[bytes] | None = None  # once it has ended
        self._outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome:
        if self._outcome is None:
            raise RuntimeError("the stream has not been read to its end")
        return self._outcome

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises:
            CallTimeout, InstanceDied, OutputInvalid: after the pieces that came before it.
        """
        link = self._channel._link  # noqa: SLF001 - one module, two classes
        while not self._ended.done():
            piece = link.take(self._id)
            if piece is not None:
                return piece
            await link.wait_for_piece(self._id)
        if self._rest is None:
            self._rest = deque(self._ended.result().pieces)
        if self._rest:
            return self._rest.popleft()
        self._outcome = self._channel._outcome(self._call, self._ended.result())  # noqa: SLF001 - as above
        raise StopAsyncIteration


def _log(said: bytes, *, is_cut: bool) -> CallLog:
    """Return what was printed as text; bytes that are not UTF-8 are replaced."""
    if not said and not is_cut:
        return _NOTHING
    return CallLog(text=said.decode("utf-8", "replace"), truncated=is_cut)
