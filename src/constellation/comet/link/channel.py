"""The host's end of one worker's socket: sends calls, takes answers, bounds everything.

The hot path of the Python lane: direct non-blocking sends, a reader driven by the loop's readiness, one future and one
timer a call. It uses the asyncio loop below anyio, because a cancel scope and an event a call cost more than the call.
What it sends is bounded by the calls in hand, which the pool bounds; what it takes is bounded here.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from constellation.comet.backend.contract import (
    Call,
    CallLog,
    CallTimeout,
    HandlerLoadFailed,
    InstanceDied,
    Outcome,
    OutputInvalid,
    StreamOutcome,
)
from constellation.comet.link.log import LogBuffer
from constellation.comet.link.outbox import Outbox
from constellation.comet.link.pending import Pending, Pieces
from constellation.comet.link.stdio import Stdio
from constellation.native.errors import NativeError
from constellation.native.frames import Frame, FrameKind, FrameSplitter, pack_exec_head, pack_frame
from constellation.native.json_check import is_json
from constellation.wire.gen import agent_pb2

PROTOCOL = 1
MAX_FRAME_BYTES = 6 << 20  # of a worker's frame: the platform's limit for a synchronous answer
MAX_ERROR_BYTES = 256 << 10  # of an error frame; our workers stay below 64 KiB
_READ_BYTES = 64 << 10
# Chosen: log that a worker may send and calls have not asked for, as before its init; what silent calls leave of
# their share is kept for this many calls besides those in hand, for tasks that outlive their call.
_CHATTER_BYTES = 64 << 10
_CHATTER_CALLS = 8
_EMPTY_COST_BYTES = 64  # chosen: a frame without a body costs us as much as one with some
_EXEC_STREAM = 1  # a flag of the exec head
_LOG_CUT = 2  # a flag of a log frame
_MAX_MS = 0xFFFFFFFF

_HELLO, _READY, _EXEC, _RESULT, _ERROR, _CHUNK, _LOG = (
    int(FrameKind.HELLO),
    int(FrameKind.READY),
    int(FrameKind.EXEC),
    int(FrameKind.RESULT),
    int(FrameKind.ERROR),
    int(FrameKind.CHUNK),
    int(FrameKind.LOG),
)


class HandlerError(msgspec.Struct):
    """The body of an error frame."""

    type: str
    message: str
    stack: str = ""


_error_decoder = msgspec.json.Decoder(HandlerError)


def _handler_error(body: bytes) -> HandlerError:
    """Read the body of an error frame; `ValueError` when it is none.

    The strict check comes first: it bounds the depth, at which the decoder would fail with RecursionError.
    """
    if not is_json(body):
        raise ValueError("not JSON")
    return _error_decoder.decode(body)


class Channel:
    """Owns the socket and the pipe of one instance from `open_nowait` to `end_nowait`.

    `on_hang_up(cause)` is called once, when the worker closed its end (cause "") or broke the protocol.
    `on_given_up()` is called whenever a call of the worker has lost its caller.
    """

    def __init__(
        self,
        channel: socket.socket,
        stdio_fd: int,
        *,
        function: str,
        is_alone: bool,
        log_limit_bytes: int,
        on_hang_up: Callable[[str], None],
        on_given_up: Callable[[], None],
    ) -> None:
        self._socket = channel
        self._function, self._is_alone, self._log_limit_bytes = function, is_alone, log_limit_bytes
        self._on_hang_up, self._on_given_up = on_hang_up, on_given_up
        self._loop = asyncio.get_running_loop()
        self._splitter = FrameSplitter(limit_bytes=MAX_FRAME_BYTES)
        self._calls: dict[int, Pending] = {}
        self._last_id = 0
        self._outbox = Outbox(self._loop, channel)
        self._stdio = Stdio(self._loop, stdio_fd, take=self._spoken_by_nobody)
        self._chatter_bytes = _CHATTER_BYTES + log_limit_bytes
        self._ambient = LogBuffer(log_limit_bytes)  # printed by no call; goes to the next one
        self._greeting: asyncio.Future[bytes] = self._loop.create_future()
        self._readiness: asyncio.Future[bytes] | None = None
        self._is_reading = False
        self._has_hung_up = False
        self._cause: str | None = None  # why no call can be made any more

    @property
    def in_hand(self) -> int:
        """Calls that the worker has, those without a caller included."""
        return len(self._calls)

    @property
    def is_ready(self) -> bool:
        """The worker has answered the init frame."""
        return self._readiness is not None and self._readiness.done()

    def open_nowait(self) -> None:
        """Begin to read. Both descriptors must be non-blocking."""
        self._loop.add_reader(self._socket, self._read)
        self._stdio.open_nowait()
        self._is_reading = True

    # -- the worker's first words

    async def hello(self) -> agent_pb2.Hello:
        """Wait for the worker's greeting.

        Raises:
            InstanceDied: it ended, or speaks another protocol.
        """
        message = await asyncio.shield(self._greeting)
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
        ready: asyncio.Future[bytes] = self._loop.create_future()
        self._readiness = ready
        self._outbox.send_nowait(pack_frame(FrameKind.INIT, 0, message.SerializeToString()))
        timer = self._loop.call_later(timeout_s, self._init_overdue, ready, timeout_s)
        try:
            body = await ready
        finally:
            timer.cancel()
        try:
            answer = agent_pb2.Ready.FromString(body)
            error = None if answer.ok else _handler_error(answer.error)
        except ValueError as wrong:
            raise self._violated("an unreadable ready") from wrong
        if error is not None:
            facts = {"type": error.type, "message": error.message, "stack": error.stack}
            raise HandlerLoadFailed(self._function, error=facts)

    def _init_overdue(self, ready: asyncio.Future[bytes], timeout_s: float) -> None:
        if not ready.done():
            self._stdio.read_nowait()
            log = self._ambient.freeze()
            ready.set_exception(CallTimeout(self._function, after_s=timeout_s, phase="init", log=log))
            self._on_given_up()

    # -- calls

    async def call(self, call: Call) -> Outcome:
        """Run one call to its end.

        Raises:
            CallTimeout, InstanceDied, OutputInvalid
        """
        pending = self._begin(call, 0)
        try:
            kind, body = await pending.ended
        except asyncio.CancelledError:
            self._give_up(pending)
            raise
        return self._outcome(pending, kind, body)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[StreamOutcome]:
        """Run one call whose answer comes in pieces. Leaving the block early gives the call up."""
        pieces = Pieces(self._resume)
        pending = self._begin(call, _EXEC_STREAM)
        pending.pieces = pieces
        pending.ended.add_done_callback(lambda _: self._finish_stream(pending, pieces))
        try:
            yield pieces
        finally:
            self._give_up(pending)
            pieces.clear_nowait()

    def _finish_stream(self, pending: Pending, pieces: Pieces) -> None:
        if pending.ended.cancelled():
            return
        failure = pending.ended.exception()
        if failure is None:
            try:
                pieces.finish_nowait(self._outcome(pending, *pending.ended.result(), is_streamed=True))
            except OutputInvalid as error:
                failure = error
        if isinstance(failure, Exception):
            pieces.fail_nowait(failure)

    def _begin(self, call: Call, flags: int) -> Pending:
        self._check_alive()
        self._last_id = call_id = self._last_id % 0xFFFFFFFF + 1
        limit = self._log_limit_bytes  # of the call's log; the worker gives what no call prints as much anew
        most = _CHATTER_BYTES + 2 * limit * (_CHATTER_CALLS + len(self._calls))
        self._chatter_bytes = min(self._chatter_bytes + 2 * limit, most)
        log = LogBuffer(limit)
        if not self._ambient.is_empty:
            log, self._ambient = self._ambient, log
        pending = Pending(call_id, ended=self._loop.create_future(), log=log, timeout_s=call.timeout_s)
        self._calls[call_id] = pending
        head = pack_exec_head(
            request_id=call.request_id.bytes,
            trace_id=call.trace_id,
            span_id=call.span_id,
            remaining_ms=min(_MAX_MS, max(0, int(call.timeout_s * 1000))),
            flags=flags,
        )
        self._outbox.send_nowait(pack_frame(_EXEC, call_id, head + call.payload))
        pending.timer = self._loop.call_later(call.timeout_s, self._overdue, pending)
        return pending

    def _outcome(self, pending: Pending, kind: int, body: bytes, *, is_streamed: bool = False) -> Outcome:
        duration_ms = (time.perf_counter() - pending.started_s) * 1000
        if kind == _RESULT:
            if not (is_json(body) if not is_streamed else not body):
                raise OutputInvalid(self._function, log=pending.log.freeze())
            return Outcome(output=body, error=None, log=pending.log.freeze(), duration_ms=duration_ms)
        try:
            _handler_error(body)
        except ValueError as error:
            raise OutputInvalid(self._function, log=pending.log.freeze()) from error
        return Outcome(output=None, error=body, log=pending.log.freeze(), duration_ms=duration_ms)

    def _overdue(self, pending: Pending) -> None:
        if pending.ended.done():
            return
        self._stdio.read_nowait()
        pending.ended.set_exception(
            CallTimeout(self._function, after_s=pending.timeout_s, log=pending.log.freeze()),
        )
        self._abandon(pending)

    def _give_up(self, pending: Pending) -> None:
        """End the wait for a call that has lost its caller; nothing when it has ended."""
        if pending.id in self._calls:
            pending.ended.cancel()
            self._abandon(pending)

    def _abandon(self, pending: Pending) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        if not self._is_alone and self._cause is None:
            self._outbox.send_nowait(pack_frame(FrameKind.CANCEL, pending.id))
        self._on_given_up()

    # -- reading

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up("")
            return
        splitter = self._splitter
        try:
            frames: list[Frame] = splitter.feed(data)
            while frames:
                for kind, flags, call_id, body in frames:
                    if self._has_hung_up:
                        return
                    self._take(kind, flags, call_id, body)
                # A bad header behind good frames shows when it is the first of what is left.
                frames = splitter.feed(b"") if splitter.pending_bytes else []
        except NativeError as error:
            self._hang_up(f"protocol: {error}")

    def _take(self, kind: int, flags: int, call_id: int, body: bytes) -> None:
        if kind in (_RESULT, _ERROR):
            pending = self._calls.get(call_id)
            if pending is None or (kind == _ERROR and len(body) > MAX_ERROR_BYTES):
                self._hang_up(f"protocol: an unexpected answer to call {call_id}")
                return
            if len(self._calls) == 1:
                self._stdio.read_nowait()
            del self._calls[call_id]
            if not pending.ended.done():
                if pending.timer is not None:
                    pending.timer.cancel()
                pending.ended.set_result((kind, body))
        elif kind == _LOG:
            pending = self._calls.get(call_id)
            if not self._charge(body):
                return
            if pending is not None:
                pending.log.add(body, is_cut=bool(flags & _LOG_CUT))
            elif call_id <= self._last_id:  # 0: no call; else one that has ended, and left something running
                self._spoken_by_nobody(body, is_cut=bool(flags & _LOG_CUT))
            else:
                self._hang_up(f"protocol: a log of call {call_id}, which never was")
        elif kind == _CHUNK:
            pending = self._calls.get(call_id)
            if pending is None or pending.pieces is None:
                self._hang_up(f"protocol: a piece of call {call_id}, which is not a stream in hand")
            elif not body:
                self._charge(body)
            elif not pending.is_given_up:
                pending.pieces.push_nowait(body)
                if pending.pieces.is_full:
                    self._pause()
        elif kind == _HELLO and not self._greeting.done():
            self._greeting.set_result(body)
        elif kind == _READY and self._readiness is not None and not self._readiness.done():
            self._readiness.set_result(body)
        else:
            self._hang_up(f"protocol: an unexpected frame of kind {kind}")

    def _pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket)

    def _resume(self) -> None:
        if self._is_reading or self._has_hung_up:
            return
        if not any(p.pieces is not None and p.pieces.is_full and not p.is_given_up for p in self._calls.values()):
            self._is_reading = True
            self._loop.add_reader(self._socket, self._read)

    def _spoken_by_nobody(self, raw: bytes, *, is_cut: bool = False) -> bool:
        """Give bytes without a call to the only call in hand, else keep them for the next; False when over the bound."""
        log = self._ambient
        if len(self._calls) == 1:
            (pending,) = self._calls.values()
            log = pending.log
        log.add(raw, is_cut=is_cut)
        return not log.is_cut

    def _charge(self, body: bytes) -> bool:
        """Count what may come without bound; False, and the worker hung up on, when it ignores its limits.

        Our workers keep them and say so with the frame that is cut. One that goes on would cost the loop a core.
        """
        self._chatter_bytes -= len(body) or _EMPTY_COST_BYTES
        if self._chatter_bytes < 0:
            self._hang_up("protocol: more log than the limit")
        return self._chatter_bytes >= 0

    # -- the end

    def _violated(self, what: str) -> InstanceDied:
        cause = f"protocol: {what}"
        self._hang_up(cause)
        return InstanceDied(self._function, cause=cause)

    def _hang_up(self, cause: str) -> None:
        if self._has_hung_up:
            return
        self._has_hung_up = True
        self._loop.remove_reader(self._socket)
        self._outbox.close_nowait()
        self._on_hang_up(cause)

    def _check_alive(self) -> None:
        if self._cause is not None:
            raise InstanceDied(self._function, cause=self._cause)

    def last_words(self, count_bytes: int) -> bytes:
        """Return the end of what the process said outside the protocol."""
        self._stdio.read_nowait()
        if len(self._calls) == 1:
            (pending,) = self._calls.values()
            return pending.log.tail(count_bytes)
        return self._ambient.tail(count_bytes)

    def end_nowait(self, cause: str) -> None:
        """Close both descriptors; every call in hand, and every later one, ends with `InstanceDied`."""
        if self._cause is not None:
            return
        self._stdio.read_nowait()
        self._cause = cause
        self._has_hung_up = True
        self._loop.remove_reader(self._socket)
        self._outbox.close_nowait()
        self._socket.close()
        self._stdio.close_nowait()
        calls, self._calls = self._calls, {}
        for pending in calls.values():
            if pending.timer is not None:
                pending.timer.cancel()
            if not pending.ended.done():
                pending.ended.set_exception(self._death(pending.log.freeze()))
        for waiting in (self._greeting, self._readiness):
            if waiting is not None and not waiting.done():
                waiting.set_exception(self._death(self._ambient.freeze()))
                waiting.exception()  # marks it as seen: often nobody waits

    def _death(self, log: CallLog) -> InstanceDied:
        return InstanceDied(self._function, cause=self._cause or "", log=log)
