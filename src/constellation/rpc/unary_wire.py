"""The bytes of unary gRPC calls on one HTTP/2 connection, as the caller sees them. No I/O.

One message there and one back needs a few frames of RFC 9113, and no state machine a stream: h2, beneath grpclib, takes
330 us of Python a call for its part, and grpclib more for streams that could do anything. Streams stay with grpclib.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from grpclib.const import Status
from hpack import Decoder, HPACKError

from constellation.rpc.metadata import AUTHORIZATION
from constellation.rpc.problems import TRAILER

MAX_ANSWER_BYTES = 64 << 20  # chosen: twice the largest answer of comet's
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_REFUSED_STREAM, _CANCEL = 0x7, 0x8
_TABLE_SIZE, _ENABLE_PUSH, _STREAMS, _WINDOW, _FRAME_SIZE = 1, 2, 3, 4, 5  # settings
_FRAME_BYTES = 1 << 14  # we offer no more, and others offer no less
_HEAD_BYTES = 9
_BLOCK_BYTES = 64 << 10  # chosen: of headers in an answer; a problem is a few KiB
_SAME_BLOCKS = 64  # chosen: a server begins and ends its answers in two ways or three
_FIRST_WINDOW, MAX_WINDOW = (1 << 16) - 1, (1 << 31) - 1
_LAST_ID = 1 << 30  # a connection of so many calls is replaced long before its ids end
_TABLE_BYTES = 4096  # what an encoder may use of the other side's table before it was told otherwise
_ENTRY_BYTES = 32  # of a table for each entry, beside its text
_FIRST_INDEX = 62  # RFC 7541: behind the static table
_HTTP = {400: Status.INTERNAL, 401: Status.UNAUTHENTICATED, 403: Status.PERMISSION_DENIED, 404: Status.UNIMPLEMENTED}
_UNAVAILABLE = frozenset({429, 502, 503, 504})


class Broken(Exception):
    """The other side does not speak HTTP/2 as it is written."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call was answered. `body`: the message, where the status is OK; `problem`: what came in the trailer."""

    status: Status
    message: str = ""
    body: bytes = b""
    problem: bytes = b""


@dataclass(frozen=True, slots=True)
class Gone:
    """A call that gets no answer."""

    reason: str
    may_have_begun: bool = True


class _Call:
    __slots__ = ("body", "body_bytes", "status", "unsent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.unsent: memoryview | None = None
        self.status = b""  # of HTTP
        self.body: list[bytes] = []
        self.body_bytes = 0


class Fields:
    """Headers of requests, packed. What all calls say is told once a connection, and then named by a number.

    The service token is one of these. What a table gives away of a secret is how well somebody's guess compresses: but
    nothing else is ever looked up or put there, so that no length depends on any other call's headers. Huffman's code
    is not used: the other side's Python takes longer to read it than the bytes take to send.
    """

    def __init__(self, *, scheme: str, authority: str, authorization: str) -> None:
        self._start = b"\x83" + (b"\x87" if scheme == "https" else b"\x86")  # :method POST, :scheme
        self._authority = (":authority", authority)
        self._grpc = (("te", "trailers"), ("content-type", "application/grpc"))
        same = [self._authority, *self._grpc, (AUTHORIZATION, authorization)]
        self._same_bytes = sum(len(name) + len(value) + _ENTRY_BYTES for name, value in same)
        self._same = frozenset(same)
        self._told: dict[tuple[str, str], int] = {}  # what is in the table, and the how-manieth it was
        self._may_tell = self._same_bytes <= _TABLE_BYTES
        self._starts: dict[str, bytes] = {}  # by the path, while the table stays as it is
        self._names: dict[str, bytes] = {}
        self._sizes = b""  # of the table, to be said at the next block's start

    def limit(self, size_bytes: int) -> None:
        """Begin anew with a table of which the other side takes so much."""
        size_bytes = min(size_bytes, _TABLE_BYTES)
        self._sizes = b"\x20" + _integer(0x20, 5, size_bytes)
        self._may_tell = self._same_bytes <= size_bytes
        self._told.clear()
        self._starts.clear()

    def block(self, path: str, metadata: Mapping[str, str], *, timeout_ms: int) -> bytes:
        """Return the header block of a call.

        Raises:
            ValueError: a name or value is no visible ASCII; nothing is told then.
        """
        for name, value in metadata.items():
            if not (name.isascii() and value.isascii() and value.isprintable()):
                raise ValueError(f"the metadata {name!r} is no visible ASCII")
        sizes, self._sizes = self._sizes, b""
        start = self._starts.get(path) or self._begin(path)
        fields = [self._field(field) for field in metadata.items()]
        return b"".join((sizes, start, self._literal("grpc-timeout", f"{timeout_ms}m"), *fields))

    def _begin(self, path: str) -> bytes:
        known = len(self._told)
        authority = self._field(self._authority)
        fields = [self._field(field) for field in self._grpc]
        start = b"".join((self._start, authority, self._literal(":path", path), *fields))
        if known == len(self._told):
            self._starts[path] = start
        return start

    def _field(self, field: tuple[str, str]) -> bytes:
        place = self._told.get(field)
        if place is not None:
            return bytes((0x80 | (_FIRST_INDEX + len(self._told) - 1 - place),))
        if field in self._same and self._may_tell:
            self._told[field] = len(self._told)
            self._starts.clear()  # the numbers of what was told before have gone up
            return b"\x40" + _text(field[0]) + _text(field[1])
        return self._literal(*field)

    def _literal(self, name: str, value: str) -> bytes:
        packed = self._names.get(name)
        if packed is None:
            packed = self._names[name] = b"\x00" + _text(name)
        return packed + _text(value)


class UnaryWire:
    """One connection. Whoever owns it hands over what came, and sends what `take` returns."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._decoder = Decoder(max_header_list_size=_BLOCK_BYTES)
        self._same_blocks: dict[bytes, list[tuple[bytes, bytes]]] = {}  # read before, with the table as it is
        self._calls: dict[int, _Call] = {}
        self._next_id = 1
        self._rest = b""
        self._unended: tuple[int, int, bytes] | None = None  # a block that goes on in the next frame
        self._window, self._call_window, self._frame_bytes = _FIRST_WINDOW, _FIRST_WINDOW, _FRAME_BYTES
        self._unacknowledged_bytes = 0
        self.max_calls = 0  # until the other side has said what it takes
        self.is_ending = False  # it takes no more calls
        settings = struct.pack(">HIHI", _ENABLE_PUSH, 0, _WINDOW, MAX_WINDOW)
        window = struct.pack(">I", MAX_WINDOW - _FIRST_WINDOW)
        self._out = [_PREFACE, _frame(_SETTINGS, 0, 0, settings), _frame(_WINDOW_UPDATE, 0, 0, window)]

    @property
    def calls(self) -> int:
        """Calls in hand."""
        return len(self._calls)

    def take(self) -> bytes:
        """Return what is to be sent."""
        out, self._out = b"".join(self._out), []
        return out

    def begin(self, path: str, metadata: Mapping[str, str], message: bytes, *, timeout_ms: int) -> int:
        """Begin a call and return its number. Only below `max_calls`, and unless `is_ending`. Errors as in `Fields.block`."""
        block = self._fields.block(path, metadata, timeout_ms=timeout_ms)
        number = self._next_id
        self._next_id += 2
        self.is_ending = self.is_ending or number >= _LAST_ID
        call = self._calls[number] = _Call(self._call_window)
        out = self._out
        if len(block) <= self._frame_bytes:
            out.append(_frame(_HEADERS, _END_HEADERS, number, block))
        else:
            pieces = [block[at : at + self._frame_bytes] for at in range(0, len(block), self._frame_bytes)]
            out.append(_frame(_HEADERS, 0, number, pieces[0]))
            out.extend(_frame(_CONTINUATION, 0, number, piece) for piece in pieces[1:-1])
            out.append(_frame(_CONTINUATION, _END_HEADERS, number, pieces[-1]))
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        size_bytes = len(body)
        if size_bytes <= self._window and size_bytes <= self._call_window and size_bytes <= self._frame_bytes:
            self._window -= size_bytes
            out.append(_frame(_DATA, _END_STREAM, number, body))
        else:
            call.unsent = memoryview(body)
            self._send(number, call)
        return number

    def cancel(self, number: int) -> None:
        """Give a call up; nothing more is heard of it."""
        if self._calls.pop(number, None) is not None:
            self._reset(number)

    def receive(self, data: bytes) -> list[tuple[int, Answer | Gone]]:
        """Take what came, and return the calls that have ended.

        Raises:
            Broken: it can not go on.
        """
        ended: list[tuple[int, Answer | Gone]] = []
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= _HEAD_BYTES:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > _FRAME_BYTES:
                raise Broken("a frame that is too long")
            end = at + _HEAD_BYTES + length
            if end > size:
                break
            number = int.from_bytes(data[at + 5 : at + 9], "big") & MAX_WINDOW
            self._take(data[at + 3], data[at + 4], number, data[at + _HEAD_BYTES : end], ended)
            at = end
        self._rest = data[at:]
        return ended

    # ---- frames that came

    def _take(self, kind: int, flags: int, number: int, body: bytes, ended: list[tuple[int, Answer | Gone]]) -> None:
        if (self._unended is not None) != (kind == _CONTINUATION):
            raise Broken("a header block that is not whole")
        if kind == _DATA:
            self._take_data(flags, number, body, ended)
        elif kind == _HEADERS:
            body = _unpadded(body, flags)
            if flags & _PRIORITY:
                body = body[5:]
            self._take_block(flags, number, body, ended, ends_call=bool(flags & _END_STREAM))
        elif kind == _CONTINUATION and self._unended is not None:
            began, first_flags, block = self._unended
            if began != number or len(block) + len(body) > _BLOCK_BYTES:
                raise Broken("a header block that does not end")
            self._unended = None
            self._take_block(flags, number, block + body, ended, ends_call=bool(first_flags & _END_STREAM))
        elif kind == _RST_STREAM:
            if self._calls.pop(number, None) is not None:
                code = _number(body)
                gone = Gone(f"the call was reset, error {code}", may_have_begun=code != _REFUSED_STREAM)
                ended.append((number, gone))
        elif kind == _SETTINGS:
            self._take_settings(flags, body)
        elif kind == _WINDOW_UPDATE:
            self._open(number, _number(body) & MAX_WINDOW)
        elif kind == _PING:
            if not flags & _ACK:
                self._out.append(_frame(_PING, _ACK, 0, body))
        elif kind == _GOAWAY:
            self._take_goaway(body, ended)
        elif kind == _PUSH:
            raise Broken("a push that we declined")

    def _take_data(self, flags: int, number: int, body: bytes, ended: list[tuple[int, Answer | Gone]]) -> None:
        self._unacknowledged_bytes += len(body)
        if self._unacknowledged_bytes > MAX_WINDOW // 2:
            self._out.append(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unacknowledged_bytes)))
            self._unacknowledged_bytes = 0
        call = self._calls.get(number)
        if call is None:
            return
        body = _unpadded(body, flags)
        call.body.append(body)
        call.body_bytes += len(body)
        if call.body_bytes > MAX_ANSWER_BYTES:
            self.cancel(number)
            ended.append((number, Gone(f"its answer is over {MAX_ANSWER_BYTES} bytes")))
        elif flags & _END_STREAM:
            self._end(number, call, {}, ended)

    def _take_block(
        self, flags: int, number: int, block: bytes, ended: list[tuple[int, Answer | Gone]], *, ends_call: bool
    ) -> None:
        if not flags & _END_HEADERS:
            self._unended = (number, _END_STREAM if ends_call else 0, block)
            return
        fields = self._same_blocks.get(block) or self._read(block)
        call = self._calls.get(number)
        if call is None:
            return
        headers = dict(fields)
        status = headers.get(b":status")
        if status is not None and not status.startswith(b"1"):
            call.status = status
        if ends_call:
            self._end(number, call, headers, ended)

    def _read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            fields: list[tuple[bytes, bytes]] = [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise Broken(f"headers that can not be read: {error}") from error
        if not block or min(block) < 0x80 or 0xFF in block or len(self._same_blocks) >= _SAME_BLOCKS:
            self._same_blocks.clear()  # it may have changed the table
        else:  # each byte is a number of what is in the table
            self._same_blocks[block] = fields
        return fields

    def _take_settings(self, flags: int, body: bytes) -> None:
        if flags & _ACK:
            return
        if len(body) % 6:
            raise Broken("settings that can not be read")
        self.max_calls = self.max_calls or _LAST_ID
        for setting, value in struct.iter_unpack(">HI", body):
            if setting == _STREAMS:
                self.max_calls = value
            elif setting == _TABLE_SIZE:
                self._fields.limit(value)
            elif setting == _FRAME_SIZE:
                self._frame_bytes = max(value, _FRAME_BYTES)
            elif setting == _WINDOW:
                for call in self._calls.values():
                    call.window += value - self._call_window
                self._call_window = value
        self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
        self._send_more()

    def _take_goaway(self, body: bytes, ended: list[tuple[int, Answer | Gone]]) -> None:
        self.is_ending = True
        last = _number(body[:4]) & MAX_WINDOW
        for number in [number for number in self._calls if number > last]:
            del self._calls[number]
            ended.append((number, Gone("the other side is going away", may_have_begun=False)))

    def _open(self, number: int, more_bytes: int) -> None:
        if number == 0:
            self._window += more_bytes
            self._send_more()
        elif (call := self._calls.get(number)) is not None:
            call.window += more_bytes
            self._send(number, call)

    # ---- how calls go on

    def _send_more(self) -> None:
        for number, call in self._calls.items():
            self._send(number, call)

    def _send(self, number: int, call: _Call) -> None:
        """Send of a message what the windows let through."""
        while call.unsent is not None:
            size_bytes = min(len(call.unsent), self._window, call.window, self._frame_bytes)
            if size_bytes <= 0:
                return
            piece, call.unsent = call.unsent[:size_bytes], call.unsent[size_bytes:]
            self._window -= size_bytes
            call.window -= size_bytes
            if not len(call.unsent):
                call.unsent = None
            self._out.append(_frame(_DATA, 0 if call.unsent is not None else _END_STREAM, number, bytes(piece)))

    def _end(
        self, number: int, call: _Call, trailers: Mapping[bytes, bytes], ended: list[tuple[int, Answer | Gone]]
    ) -> None:
        del self._calls[number]
        if call.unsent is not None:  # answered before all of it was sent: nobody wants the rest
            self._reset(number)
        ended.append((number, _answer(call, trailers)))

    def _reset(self, number: int) -> None:
        self._out.append(_frame(_RST_STREAM, 0, number, struct.pack(">I", _CANCEL)))


def _answer(call: _Call, trailers: Mapping[bytes, bytes]) -> Answer | Gone:
    if not call.status or (call.status == b"200" and b"grpc-status" not in trailers):
        return Gone("its answer was cut off")
    if call.status != b"200":
        code = int(call.status) if call.status.isdigit() else 0
        status = Status.UNAVAILABLE if code in _UNAVAILABLE else _HTTP.get(code, Status.UNKNOWN)
        return Answer(status, f"it answered {code} over HTTP")
    given = trailers.get(b"grpc-status")
    if given == b"0":
        body = b"".join(call.body)
        if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
            return Gone("its answer is not one plain message")
        return Answer(Status.OK, body=body[5:])
    try:
        status = Status(int(given or b""))
    except ValueError:
        return Answer(Status.UNKNOWN, "its answer has no gRPC status that is known")
    message = unquote(trailers.get(b"grpc-message", b"").decode("latin-1"))
    return Answer(status, message, problem=_binary(trailers.get(TRAILER.encode(), b"")))


def _binary(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return b""


def _frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return struct.pack(">IBI", len(body) << 8 | kind, flags, number) + body


def _unpadded(body: bytes, flags: int) -> bytes:
    if not flags & _PADDED:
        return body
    if not body or body[0] >= len(body):
        raise Broken("padding that is longer than its frame")
    return body[1 : len(body) - body[0]]


def _number(body: bytes) -> int:
    if len(body) != 4:
        raise Broken("a frame of the wrong length")
    return int.from_bytes(body, "big")


def _text(text: str) -> bytes:
    packed = text.encode("ascii")
    size = len(packed)
    return (bytes((size,)) if size < 0x7F else _integer(0, 7, size)) + packed


def _integer(start: int, bits: int, value: int) -> bytes:
    """Pack a number of RFC 7541 section 5.1 behind the first bits of its first byte."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((start | value,))
    out = bytearray((start | most,))
    value -= most
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)
