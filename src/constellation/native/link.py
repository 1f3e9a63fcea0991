"""The host's end of workers' channels: C moves the frames (native/src/link); what calls came to is told here."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from constellation.native import _core
from constellation.native.errors import NativeError, checked, describe
from constellation.native.mail import Mail
from constellation.native.reactor import Event, Reactor

_lib, _ffi = _core.lib, _core.ffi

FRAME_MAX_BYTES: int = _lib.CT_LINK_FRAME_MAX
_ANSWER = struct.Struct("=QII")  # ct_link_answer
_PIECE = struct.Struct("=I")
_ASKED = struct.Struct("=QII16s8s")  # ct_link_asked
_LOG_IS_CUT = 1
assert _ANSWER.size == _ffi.sizeof("ct_link_answer")
assert _ASKED.size == _ffi.sizeof("ct_link_asked")


class EndKind(IntEnum):
    """`enum ct_end`: how a call ended."""

    RESULT = _lib.CT_END_RESULT
    ERROR = _lib.CT_END_ERROR
    INVALID = _lib.CT_END_INVALID
    TIMEOUT = _lib.CT_END_TIMEOUT
    DIED = _lib.CT_END_DIED


class CauseKind(IntEnum):
    """`enum ct_cause`: why a worker is not spoken to any more."""

    CLOSED = _lib.CT_CAUSE_CLOSED
    FRAME = _lib.CT_CAUSE_FRAME
    ANSWER = _lib.CT_CAUSE_ANSWER
    LOG = _lib.CT_CAUSE_LOG
    PIECE = _lib.CT_CAUSE_PIECE
    KIND = _lib.CT_CAUSE_KIND
    CHATTER = _lib.CT_CAUSE_CHATTER
    MEMORY = _lib.CT_CAUSE_MEMORY
    ASK = _lib.CT_CAUSE_ASK
    STDIO = _lib.CT_CAUSE_STDIO
    RIGHTS = _lib.CT_CAUSE_RIGHTS


class LinkEvent(IntEnum):
    """`enum ct_link_event`."""

    HELLO = _lib.CT_LINK_HELLO
    READY = _lib.CT_LINK_READY
    ENDED = _lib.CT_LINK_ENDED
    PIECE = _lib.CT_LINK_PIECE
    HUNG_UP = _lib.CT_LINK_HUNG_UP
    GIVEN_UP = _lib.CT_LINK_GIVEN_UP
    ASKED = _lib.CT_LINK_ASKED


_HELLO, _READY, _ENDED, _PIECE_EVENT, _HUNG_UP, _GIVEN_UP, _ASKED_EVENT = map(int, LinkEvent)
_CAUSES = {
    CauseKind.ANSWER: "an unexpected answer to call {0}",
    CauseKind.LOG: "a log of call {0}, which never was",
    CauseKind.PIECE: "a piece of call {0}, which is not a stream in hand",
    CauseKind.KIND: "an unexpected frame of kind {0}",
    CauseKind.CHATTER: "more log than the limit",
    CauseKind.MEMORY: "no memory for what it sent",
    CauseKind.ASK: "an ask in call {0}, which never was",
    CauseKind.STDIO: "an output that is held, so that it can not be read",
    CauseKind.RIGHTS: "descriptors, which nobody asked for",
}


class LinkFailed(NativeError):
    """A call could not be sent: no memory for it, or the link has ended."""

    code, http_status, retryable = "link_failed", 503, True


class End(NamedTuple):
    """How a call ended; a named tuple because thousands a second are made."""

    kind: int  # EndKind
    body: bytes
    log: bytes
    is_log_cut: bool
    duration_ms: float
    pieces: list[bytes]  # of a stream, that were not taken before


class Asked(NamedTuple):
    """What a worker asks of the host, and in which call. Each is replied to once, by `Link.reply`."""

    link: Link
    call_id: int
    call: object  # what `Link.begin` was told of the call; None for one of the lane
    until_s: float  # the call's deadline on the monotonic clock; 0: nobody waits for it any more
    depth: int  # of a call of the lane
    chain: tuple[str, ...]  # likewise
    trace_id: bytes  # likewise
    span_id: bytes
    body: bytes


class Links:
    """The links of one reactor: hands each event to the link that it is about."""

    def __init__(self, reactor: Reactor) -> None:
        handle = _lib.ct_links_new(reactor.handle)
        if handle == _ffi.NULL:
            raise MemoryError("no memory for links")
        self._reactor = reactor  # lives as long as what was made with it
        self._handle: Any = _ffi.gc(handle, _lib.ct_links_free)
        self._links: dict[int, Link] = {}
        self._on_asked: Callable[[Asked], None] | None = None
        reactor.take(LinkEvent, self._deliver)

    @property
    def handle(self) -> Any:
        """The `ct_links *`, for this package alone."""
        return self._handle

    def hear_asks(self, on_asked: Callable[[Asked], None] | None) -> None:
        """Say who answers what workers ask; while nobody does, nothing is."""
        self._on_asked = on_asked

    def catch_up(self) -> None:
        """Hear all that the workers have said by now."""
        self._reactor.catch_up()

    def open(
        self,
        fd: int,
        stdio_fd: int,
        mail: Mail | None = None,
        *,
        is_alone: bool,
        log_limit_bytes: int,
        on_hang_up: Callable[[str], None],
        on_given_up: Callable[[], None],
        owner: object = None,
    ) -> Link:
        """Take over a worker's socket, the reading end of its stdio, both non-blocking, and its page, and begin to read.

        `on_hang_up(cause)` is called once, when the worker closed its end (cause "") or broke the protocol.
        `on_given_up()` is called whenever a call of the worker has lost its caller. `owner` is who the worker is,
        for whoever answers what it asks.

        Raises:
            OSError, MemoryError: all of them are closed.
        """
        out = _ffi.new("ct_link **")
        settings = _ffi.new("ct_link_settings *", [log_limit_bytes, is_alone])
        try:
            checked("link", _lib.ct_link_open(self._handle, fd, stdio_fd, settings, out))
        except BaseException:
            if mail is not None:
                mail.close()
            raise
        if mail is not None:
            try:
                checked("link", _lib.ct_link_share(out[0], mail.give()))
            except BaseException:
                _lib.ct_link_free(out[0], _ffi.NULL, 0)
                raise
        number = int(_lib.ct_link_handle(out[0]))
        link = Link(out[0], number, lambda: self._links.pop(number, None), on_hang_up, on_given_up, owner)
        self._links[number] = link
        return link

    def _deliver(self, event: Event) -> None:
        link = self._links.get(event.target)
        if link is None:
            return
        if event.kind != _ASKED_EVENT:
            link._hear(event)  # noqa: SLF001 - one module, two classes
        elif self._on_asked is not None and link.is_open:
            self._on_asked(_asked(link, event))


class Link:
    """One worker's channel, from `Links.open` to `end_nowait`."""

    def __init__(
        self,
        handle: Any,
        number: int,
        forget: Callable[[], object],
        on_hang_up: Callable[[str], None],
        on_given_up: Callable[[], None],
        owner: object,
    ) -> None:
        self.owner = owner
        self.number = number  # the link's handle: index and generation
        self._handle: Any = handle  # None once ended
        self._forget, self._on_hang_up, self._on_given_up = forget, on_hang_up, on_given_up
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._calls: dict[int, asyncio.Future[End]] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}  # for a piece of a stream
        self._told: dict[int, object] = {}  # of calls in hand
        self._on_end: set[Callable[[], None]] = set()
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        self.readiness: asyncio.Future[bytes] | None = None

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    @property
    def in_hand(self) -> int:
        """Calls that the worker has, those without a caller included."""
        return 0 if self._handle is None else int(_lib.ct_link_in_hand(self._handle))

    def init(self, message: bytes) -> asyncio.Future[bytes]:
        """Send the init frame; the future gets the body of the ready frame.

        Raises:
            LinkFailed
        """
        if self._handle is None:
            raise LinkFailed("link", -errno.ENOTCONN)
        self.readiness = self._loop.create_future()
        self._sent(_lib.ct_link_init(self._handle, message, len(message)))
        return self.readiness

    def begin(
        self,
        request_id: bytes,
        trace_id: bytes,
        span_id: bytes,
        payload: bytes,
        *,
        timeout_s: float,
        is_stream: bool,
        told: object = None,
    ) -> tuple[int, asyncio.Future[End]]:
        """Send a call; return its id and the future of its end. Ids of 16, 16 and 8 bytes. `told` comes back with asks.

        Raises:
            LinkFailed: nothing was sent.
        """
        if self._handle is None:
            raise LinkFailed("link", -errno.ENOTCONN)
        if (len(request_id), len(trace_id), len(span_id)) != (16, 16, 8):
            raise ValueError("request id, trace id and span id have 16, 16 and 8 bytes")
        call_id = self._sent(
            _lib.ct_link_call(
                self._handle,
                request_id,
                trace_id,
                span_id,
                payload,
                len(payload),
                int(timeout_s * 1e9) if timeout_s > 0 else 0,
                is_stream,
            )
        )
        ended = self._calls[call_id] = self._loop.create_future()
        self._told[call_id] = told
        return call_id, ended

    def give_up(self, call_id: int) -> bool:
        """Forget a call that has lost its caller; False when it has ended."""
        if self._calls.pop(call_id, None) is None:
            return False
        self._told.pop(call_id, None)
        if self._handle is None or not _lib.ct_link_cancel(self._handle, call_id):
            return False
        self._on_given_up()
        return True

    def take(self, call_id: int) -> bytes | None:
        """Return the oldest piece of a stream in hand; None when there is none now."""
        if self._handle is None:
            return None
        out = _ffi.new("uint8_t **")
        size = _lib.ct_link_take(self._handle, call_id, out)
        return bytes(_ffi.buffer(out[0], size)) if size else None

    async def wait_for_piece(self, call_id: int) -> None:
        """Return when the stream has a piece, or has ended."""
        waiting = self._waiting[call_id] = self._loop.create_future()
        try:
            await waiting
        finally:
            self._waiting.pop(call_id, None)

    def reply(self, asked: Asked, body: bytes) -> None:
        """Answer what the worker asked; nothing once the link has ended."""
        if self._handle is not None:
            _lib.ct_link_reply(self._handle, asked.call_id, body, len(body), len(asked.body))

    def on_end(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Have `hear` called when the link ends; the function that is returned takes that back."""
        self._on_end.add(hear)
        return lambda: self._on_end.discard(hear)

    def told(self, call_id: int) -> object:
        """Return what `begin` was told of a call in hand."""
        return self._told.get(call_id)

    def last_words(self, count_bytes: int) -> tuple[bytes, bool]:
        """Return the end of what the process said outside the protocol, and whether that log is cut."""
        if self._handle is None:
            return b"", False
        out, is_cut = _ffi.new("uint8_t[]", count_bytes), _ffi.new("int *")
        size = _lib.ct_link_last_words(self._handle, out, count_bytes, is_cut)
        return bytes(_ffi.buffer(out, size)), bool(is_cut[0])

    def end_nowait(self, cause: str) -> None:
        """Close both descriptors. Every call in hand ends with DIED, in the reactor's next turn; may be repeated."""
        handle, self._handle = self._handle, None
        if handle is not None:
            text = cause.encode()
            _lib.ct_link_free(handle, text, len(text))
            for hear in list(self._on_end):
                hear()
            self._forget_if_done()

    def _sent(self, result: int) -> int:
        if result < 0:
            raise LinkFailed("link", result)
        return result

    def _hear(self, event: Event) -> None:
        kind = event.kind
        if kind == _ENDED:
            self._ended(event)
        elif kind == _PIECE_EVENT:
            self._wake(event.subject)
        elif self._handle is None:
            return  # said before the end
        elif kind == _GIVEN_UP:
            self._on_given_up()
        elif kind == _HUNG_UP:
            self._on_hang_up(_cause(event))
        elif kind == _HELLO:
            _resolve(self.greeting, event.data)
        elif kind == _READY and self.readiness is not None:
            _resolve(self.readiness, event.data)

    def _ended(self, event: Event) -> None:
        ended = self._calls.pop(event.subject, None)
        self._told.pop(event.subject, None)
        if ended is not None and not ended.done():
            ended.set_result(_end(event))
        self._wake(event.subject)
        if self._handle is None:
            self._forget_if_done()

    def _wake(self, call_id: int) -> None:
        waiting = self._waiting.get(call_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _forget_if_done(self) -> None:
        if not self._calls:
            self._forget()


def _resolve(future: asyncio.Future[bytes], body: bytes) -> None:
    if not future.done():
        future.set_result(body)


def _end(event: Event) -> End:
    data = event.data
    if not data:  # no memory for the answer
        return End(_lib.CT_END_DIED, b"", b"", is_log_cut=False, duration_ms=0.0, pieces=[])
    duration_ns, log_bytes, body_bytes = _ANSWER.unpack_from(data)
    body_at = _ANSWER.size + log_bytes
    end_at = body_at + body_bytes
    return End(
        event.number,
        data[body_at:end_at],
        data[_ANSWER.size : body_at] if log_bytes else b"",
        bool(event.flags & _LOG_IS_CUT),
        duration_ns / 1e6,
        list(_pieces(data, end_at)) if end_at < len(data) else [],
    )


def _pieces(data: bytes, at: int) -> Iterator[bytes]:
    while at < len(data):
        (size,) = _PIECE.unpack_from(data, at)
        at += _PIECE.size
        yield data[at : at + size]
        at += size


def _asked(link: Link, event: Event) -> Asked:
    until_ns, depth, chain_bytes, trace_id, span_id = _ASKED.unpack_from(event.data)
    body_at = _ASKED.size + chain_bytes
    chain = event.data[_ASKED.size : body_at].decode("utf-8", "replace").split(",") if chain_bytes else ()
    call_id = event.subject
    body = event.data[body_at:]
    told = link.told(call_id)
    return Asked(link, call_id, told, until_ns / 1e9, depth, tuple(chain), trace_id, span_id, body)


def _cause(event: Event) -> str:
    """Word why a worker is not spoken to any more; "" when it closed its end."""
    if event.number == CauseKind.CLOSED:
        return ""
    if event.number == CauseKind.FRAME:
        return f"protocol: frame: {describe(event.status)}"
    return "protocol: " + _CAUSES[CauseKind(event.number)].format(event.subject)
