"""A call that the worker has and the host waits for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from constellation.comet.backend.contract import Outcome
from constellation.comet.link.log import LogBuffer

# Chosen: a fast guest stays a few socket buffers ahead of a slow reader, no more.
STREAM_HIGH_BYTES = 256 << 10
STREAM_LOW_BYTES = 64 << 10


class Pending:
    """One call in hand. `ended` holds (kind, body) of the frame that ended it, or the exception."""

    __slots__ = ("ended", "id", "log", "pieces", "started_s", "timeout_s", "timer")

    def __init__(
        self, call_id: int, *, ended: asyncio.Future[tuple[int, bytes]], log: LogBuffer, timeout_s: float
    ) -> None:
        self.id = call_id
        self.ended = ended
        self.log = log
        self.timeout_s = timeout_s
        self.started_s = time.perf_counter()
        self.timer: asyncio.TimerHandle | None = None
        self.pieces: Pieces | None = None

    @property
    def is_given_up(self) -> bool:
        """Nobody waits for it any more, yet the worker still has it."""
        return self.ended.done()


class Pieces:
    """The chunks of a streamed answer between the socket and their reader. Implements `StreamOutcome`.

    `on_room` is called when the buffer has fallen below its low mark after it was full.
    """

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._on_room = on_room
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._awaited: asyncio.Future[None] | None = None
        self._outcome: Outcome | None = None
        self._failure: Exception | None = None
        self.is_full = False

    def push_nowait(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._chunks.append(chunk)
        self._buffered_bytes += len(chunk)
        if self._buffered_bytes >= STREAM_HIGH_BYTES:
            self.is_full = True
        self._wake_nowait()

    def finish_nowait(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._wake_nowait()

    def fail_nowait(self, failure: Exception) -> None:
        self._failure = failure
        self._wake_nowait()

    def clear_nowait(self) -> None:
        """Forget what nobody will read."""
        self._chunks.clear()
        self._buffered_bytes = 0
        self._make_room_nowait()

    @property
    def outcome(self) -> Outcome:
        if self._outcome is None:
            raise RuntimeError("the stream has not been read to its end")
        return self._outcome

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises:
            CallTimeout, InstanceDied, OutputInvalid: after the pieces that came before it.
        """
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._outcome is not None:
                raise StopAsyncIteration
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
        chunk = self._chunks.popleft()
        self._buffered_bytes -= len(chunk)
        if self._buffered_bytes <= STREAM_LOW_BYTES:
            self._make_room_nowait()
        return chunk

    def _make_room_nowait(self) -> None:
        if self.is_full:
            self.is_full = False
            self._on_room()

    def _wake_nowait(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)
