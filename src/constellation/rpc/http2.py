"""Hypercorn's HTTP/2 with the bounds that a public port needs, and an end that clients understand.

What Hypercorn leaves open, and each of which a test shows: streams that are opened and reset cost the server a task each,
without a bound; frames that carry nothing are handled at any rate; an answer that the app leaves without its end is
never ended for the client, either; data for a stream that was answered early, or PRIORITY frames, break the connection with
an exception; a full buffer does not stop the app when the client's window is closed; a request whose body nobody reads
stops all others of its connection, and its own end; a connection that is closed says no GOAWAY.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.lowlevel
import hypercorn.protocol.h2
from h2.errors import ErrorCodes
from h2.events import DataReceived, PriorityUpdated, RequestReceived, StreamReset
from h2.events import Event as H2Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BUFFER_LOW_WATER, BufferCompleteError, H2Protocol, StreamBuffer
from hyperframe.frame import GoAwayFrame
from priority.priority import MissingStreamError

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(rb"/[\x21-\x7e]*|\*")
_PREFACE_BYTES = 24  # RFC 9113 section 3.4
_HEAD_BYTES = 9  # of a frame
MAX_FRAME_BYTES = 1 << 14  # what every peer may send, and no more is offered
_DATA, _RST_STREAM, _END_STREAM = 0x0, 0x3, 0x1
_SMALL_BYTES = 256  # chosen: data in smaller pieces costs more to handle than it brings
_RESET_COST = 10.0  # chosen: of a frame that carries nothing, 1
_BURST = 4000.0  # chosen: 400 streams given up at once; frames that carry nothing cost us some 20 us each
_A_SECOND = 1000.0
_A_SENT_FRAME = 4.0  # chosen: what we send is answered with WINDOW_UPDATEs, two for each frame at most
_DENSE = 64  # chosen: so many frames at once, and others have their turn between
_SLICE_BYTES = 1 << 10
_WINDOW_BYTES = (
    1 << 20
)  # chosen: of a connection; one stream has 64 KiB, so a few that nobody reads do not stop the rest


class FrameMeter:
    """Says when a client's frames ask for more than they bring. Reads only their heads (RFC 9113 section 4.1)."""

    def __init__(self, *, now_s: float) -> None:
        self._skip_bytes = _PREFACE_BYTES
        self._head = b""
        self._left, self._at_s = _BURST, now_s

    def count(self, data: bytes, *, now_s: float) -> tuple[int, ErrorCodes | None]:
        """Take what came into account; return how many frames begin in it, and what is wrong with them."""
        frames, cost, at, size = 0, 0.0, 0, len(data)
        longest_bytes = 0
        while True:
            skipped = min(self._skip_bytes, size - at)
            self._skip_bytes -= skipped
            at += skipped
            if at == size:
                break
            if self._head or size - at < _HEAD_BYTES:
                taken = min(_HEAD_BYTES - len(self._head), size - at)
                self._head += data[at : at + taken]
                at += taken
                if len(self._head) < _HEAD_BYTES:
                    break
                head, self._head = self._head, b""
            else:
                head = data[at : at + _HEAD_BYTES]
                at += _HEAD_BYTES
            self._skip_bytes = int.from_bytes(head[:3], "big")
            longest_bytes = max(longest_bytes, self._skip_bytes)
            frames += 1
            cost += _cost(head[3], head[4], self._skip_bytes)
        self._left = min(_BURST, self._left + (now_s - self._at_s) * _A_SECOND) - cost
        self._at_s = now_s
        if longest_bytes > MAX_FRAME_BYTES:
            return frames, ErrorCodes.FRAME_SIZE_ERROR  # h2 would wait for it to come whole
        return frames, None if self._left >= 0 else ErrorCodes.ENHANCE_YOUR_CALM

    def sent(self) -> None:
        """A frame of data was sent: it may be acknowledged."""
        self._left = min(_BURST, self._left + _A_SENT_FRAME)


def _cost(kind: int, flags: int, size_bytes: int) -> float:
    if kind == _DATA and (size_bytes >= _SMALL_BYTES or flags & _END_STREAM):
        return 0.0
    return _RESET_COST if kind == _RST_STREAM else 1.0


class Buffer(StreamBuffer):
    """What the app said and the client has not taken: it holds the app up as long as it is full."""

    def __init__(self, event_class: type[Any]) -> None:
        super().__init__(event_class)
        self.gone = event_class()  # the end is sent, or there will be none

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        while len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data

    async def close(self) -> None:
        await super().close()
        await self.gone.set()


class Inbox:
    """What came of one request and its app has not read. The client's window bounds it: it is opened again by reading."""

    def __init__(self, read: Callable[[int], Awaitable[None]]) -> None:
        self._read = read
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        self._news = anyio.Event()
        self._has_reader = True
        self.next_bytes = 0  # of the window, taken by the message that comes next

    async def put(self, message: dict[str, Any]) -> None:
        size_bytes, self.next_bytes = self.next_bytes, 0
        if self._has_reader:
            self._waiting.append((message, size_bytes))
            self._news.set()
        elif size_bytes:
            await self._read(size_bytes)

    async def get(self) -> dict[str, Any]:
        while not self._waiting:
            self._news = anyio.Event()
            await self._news.wait()
        message, size_bytes = self._waiting.popleft()
        if size_bytes:
            await self._read(size_bytes)
        return message

    async def close(self) -> None:
        """The app has ended: what is there and what comes is forgotten."""
        self._has_reader = False
        size_bytes = sum(size for _, size in self._waiting)
        self._waiting.clear()
        if size_bytes:
            await self._read(size_bytes)


class Http2Config(Config):
    """Settings of a server, and its open connections of HTTP/2."""

    def __init__(self) -> None:
        super().__init__()
        self.open_h2: set[BoundedH2] = set()


class BoundedH2(H2Protocol):
    """One connection. At most `h2_max_concurrent_streams` requests are in hand, given up or not."""

    def __init__(self, app: Any, config: Http2Config, *others: Any) -> None:
        super().__init__(app, config, *others)
        self._open = config.open_h2
        self._plain_app = app
        self._inboxes: dict[int, Inbox] = {}  # of apps that have not ended
        self._meter = FrameMeter(now_s=time.monotonic())
        # No ENABLE_CONNECT_PROTOCOL: no route takes WebSockets.
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: config.h2_max_concurrent_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: config.h2_max_header_list_size,
            },
        )

    # ---- what the client sends

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        self._open.add(self)
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(_WINDOW_BYTES)
        await self._flush()

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._take(event.data)
            return
        if isinstance(event, Closed):
            self._open.discard(self)
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()  # its app waits for nobody any more
        await super().handle(event)

    async def _take(self, data: bytes) -> None:
        frames, error = self._meter.count(data, now_s=time.monotonic())
        if error is not None:
            await self.say_goodbye(error)
            await self.send(Closed())
            return
        step = len(data) if frames <= _DENSE else _SLICE_BYTES
        for at in range(0, len(data), step or 1):
            if self.closed:
                return
            await super().handle(RawData(data[at : at + step]))
            if step < len(data):
                await anyio.lowlevel.checkpoint()

    async def _handle_events(self, events: list[H2Event]) -> None:
        for event in events:
            if isinstance(event, PriorityUpdated):
                continue  # RFC 9113 section 5.3 has given them up
            if isinstance(event, RequestReceived) and (error := self._fault_of(event)) is not None:
                self._reset(event.stream_id, error)
            elif isinstance(event, DataReceived):
                await self._receive(event)
            elif isinstance(event, StreamReset):
                await self._close_stream(event.stream_id)
                await self._drop_buffer(event.stream_id)
            else:
                await super()._handle_events([event])
        await self._flush()

    def _fault_of(self, request: RequestReceived) -> ErrorCodes | None:
        if self.context.terminated.is_set() or len(self._inboxes) >= self.config.h2_max_concurrent_streams:
            return ErrorCodes.REFUSED_STREAM
        said = dict(request.headers)
        method = said[b":method"]
        if method == b"CONNECT" or not _METHOD.fullmatch(method) or not _PATH.fullmatch(said.get(b":path", b"")):
            return ErrorCodes.PROTOCOL_ERROR
        return None

    async def _create_stream(self, request: RequestReceived) -> None:
        if request.stream_ended is None and not any(name == b"content-length" for name, _ in request.headers):
            # A body of unknown length, said as HTTP/1.1 says it: the app can not see the frames.
            request.headers.append((b"transfer-encoding", b"chunked"))
        stream_id, app = request.stream_id, self._plain_app

        async def read(size_bytes: int) -> None:
            if not self.closed:
                self.connection.acknowledge_received_data(size_bytes, stream_id)
                await self._flush()

        inbox = self._inboxes[stream_id] = Inbox(read)

        async def alone(scope: Any, _: Any, *others: Any) -> None:
            try:
                await app(scope, inbox.get, *others)
            finally:
                del self._inboxes[stream_id]
                await inbox.close()

        self.app = alone  # type: ignore[assignment]  # of the stream that is made here
        await super()._create_stream(request)
        self.streams[stream_id].app_put = inbox.put  # its own would hold up all streams

    async def _receive(self, event: DataReceived) -> None:
        inbox, stream = self._inboxes.get(event.stream_id), self.streams.get(event.stream_id)
        if inbox is None or stream is None:  # answered, or given up: it is nobody's
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return
        inbox.next_bytes = event.flow_controlled_length
        await stream.handle(Body(stream_id=event.stream_id, data=event.data))

    # ---- what the app says

    async def stream_send(self, event: StreamEvent) -> None:
        buffer = self.stream_buffers.get(event.stream_id)
        if isinstance(event, StreamClosed):
            # What the client has is not the whole; or it is, and it may stop sending.
            self._reset(event.stream_id, ErrorCodes.NO_ERROR if buffer is None else ErrorCodes.INTERNAL_ERROR)
            await self._drop_buffer(event.stream_id)
            await self._flush()
        await super().stream_send(event)
        if isinstance(event, EndBody) and isinstance(buffer, Buffer):
            await buffer.gone.wait()  # the end is sent before anything that follows from it

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers.get(stream_id)
        self._meter.sent()
        try:
            await super()._send_data(stream_id)
        except (KeyError, MissingStreamError):
            return  # it was dropped meanwhile
        if isinstance(buffer, Buffer) and stream_id not in self.stream_buffers:
            await buffer.gone.set()

    async def _drop_buffer(self, stream_id: int) -> None:
        buffer = self.stream_buffers.pop(stream_id, None)
        if buffer is not None:
            self.priority.remove_stream(stream_id)
            await buffer.close()

    def _reset(self, stream_id: int, error: ErrorCodes) -> None:
        stream = self.connection.streams.get(stream_id)
        if stream is not None and not stream.closed and not self.closed:
            try:
                self.connection.reset_stream(stream_id, error)
            except ProtocolError:
                return  # the connection is over

    # ---- its end

    async def announce_end(self) -> None:
        """Have the client open no more streams here; those that are open go on."""
        if not self.closed:
            frame = GoAwayFrame(0, last_stream_id=self.connection.highest_inbound_stream_id)
            await self.send(RawData(frame.serialize()))

    async def say_goodbye(self, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Tell the client that the connection ends now."""
        try:
            self.connection.close_connection(error)
        except ProtocolError:
            return  # it knows
        await self._flush()


def install() -> None:
    """Make Hypercorn use them in this process."""
    hypercorn.protocol.H2Protocol = BoundedH2  # type: ignore[attr-defined, assignment]  # in place of its parent
    hypercorn.protocol.h2.StreamBuffer = Buffer  # type: ignore[misc]
