"""Frames of the guest protocol to and from bytes; what each kind carries is told in proto/agent.proto."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from constellation.native import _core
from constellation.native.errors import checked

_lib, _ffi = _core.lib, _core.ffi

_BATCH = 64  # chosen: frames a C call; one busy guest sends no more than this in a read of 64 KiB with real bodies
HEADER_BYTES: int = _lib.CT_FRAME_HEADER_BYTES
EXEC_HEAD_BYTES: int = _lib.CT_EXEC_HEAD_BYTES


class FrameKind(IntEnum):
    """`enum ct_frame_kind`; a frame from a guest may hold any other number too."""

    HELLO = _lib.CT_FRAME_HELLO
    INIT = _lib.CT_FRAME_INIT
    READY = _lib.CT_FRAME_READY
    EXEC = _lib.CT_FRAME_EXEC
    RESULT = _lib.CT_FRAME_RESULT
    ERROR = _lib.CT_FRAME_ERROR
    CHUNK = _lib.CT_FRAME_CHUNK
    LOG = _lib.CT_FRAME_LOG
    CANCEL = _lib.CT_FRAME_CANCEL
    PING = _lib.CT_FRAME_PING
    PONG = _lib.CT_FRAME_PONG
    STOP = _lib.CT_FRAME_STOP


class Frame(NamedTuple):
    """One whole frame; a named tuple because thousands a second are made."""

    kind: int
    flags: int
    call_id: int
    body: bytes


def pack_frame(kind: int, call_id: int, body: bytes = b"", *, flags: int = 0) -> bytes:
    """Return header and body as one piece.

    Raises:
        LengthOverLimit: the body is longer than 32 bits can say.
    """
    head = _ffi.new("uint8_t[]", HEADER_BYTES)
    checked("frame", _lib.ct_frame_put(head, kind, flags, call_id, len(body)))
    return bytes(_ffi.buffer(head)) + body


def pack_exec_head(*, request_id: bytes, trace_id: bytes, span_id: bytes, remaining_ms: int, flags: int = 0) -> bytes:
    """Return the 48 bytes that stand before the payload of an exec frame; ids of 16, 16 and 8 bytes.

    Raises:
        ValueError: an id of another length.
    """
    if (len(request_id), len(trace_id), len(span_id)) != (16, 16, 8):
        raise ValueError("request id, trace id and span id have 16, 16 and 8 bytes")
    head = _ffi.new("ct_exec_head *", [request_id, trace_id, span_id, remaining_ms, flags])
    out = _ffi.new("uint8_t[]", EXEC_HEAD_BYTES)
    _lib.ct_exec_head_put(out, head)
    return bytes(_ffi.buffer(out))


class FrameSplitter:
    """Cuts a byte stream into frames, however the stream was cut into chunks.

    Holds at most one incomplete frame, so at most `limit_bytes` and a header.
    """

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._rest = bytearray()
        self._found: Any = _ffi.new("ct_frame[]", _BATCH)  # Any: cdata
        self._used: Any = _ffi.new("size_t *")

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has not wholly arrived."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that this chunk completes, in order.

        Raises:
            LengthOverLimit: a body above the limit is announced.
            InputMalformed: the stream is not frames. The stream cannot be used any more after either.
        """
        if self._rest:
            self._rest += chunk
            frames, used = self._scan(self._rest)
            del self._rest[:used]
            return frames
        frames, used = self._scan(chunk)
        if used < len(chunk):
            self._rest += memoryview(chunk)[used:]
        return frames

    def _scan(self, data: bytes | bytearray) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        used = 0
        with _ffi.from_buffer(data) as view:  # pins `data` until the block ends
            while True:
                found = self._found
                count = checked(
                    "frame",
                    _lib.ct_frame_scan(view + used, len(data) - used, self._limit_bytes, found, _BATCH, self._used),
                )
                for i in range(count):
                    one = found[i]
                    frames.append(Frame(one.kind, one.flags, one.call_id, bytes(_ffi.buffer(one.body, one.len))))
                used += self._used[0]
                if count < _BATCH:
                    return frames, used
