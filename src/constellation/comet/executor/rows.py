"""The writer of the lane's rows: records stay in the table's ring until their rows, encoded in C, are in the log.

One batch is under way at a time. The ring is the only buffer: what finds no place in it is dropped and counted there,
and a call never waits. On a busy node the rows of one interval are spread over the next: written at once they would
take a core from the calls for tens of milliseconds, and the slowest in a hundred of these waited for just that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
import structlog

from constellation.base.backoff import backoff_s
from constellation.base.errors import ConstellationError
from constellation.comet.executor.record import RETRY_BASE_S, RETRY_CAP_S, DropCounter
from constellation.nova.config.sections import LogSettings
from constellation.nova.store.rows import BEGINNING, END

log = structlog.get_logger()

BATCH_BYTES = 1 << 20  # chosen: some 3,000 rows without output; one with more output than that goes alone
FEW_ROWS = 256  # chosen: PostgreSQL takes them in about a millisecond


class RowSource(Protocol):
    """The ring: `native.ledger.Ledger`."""

    @property
    def records(self) -> int: ...
    @property
    def records_dropped(self) -> int: ...
    def write_rows(self, into: memoryview, at: int, *, skip: int, limit: int) -> tuple[int, int]: ...
    def row_room(self) -> int: ...
    def forget_records(self, count: int) -> None: ...


class RowSink(Protocol):
    async def copy(self, rows: memoryview, *, over_s: float) -> None:
        """Write a batch in one commit, spread over a time; writing one again that may have been written is harmless."""
        ...


class RowWriter:
    """Takes records out of the ring as rows."""

    def __init__(self, source: RowSource, sink: RowSink, settings: LogSettings, *, dropped: DropCounter) -> None:
        self._source, self._sink, self._settings, self._dropped = source, sink, settings, dropped
        self._some = anyio.Event()
        self._buffer = bytearray(BATCH_BYTES)
        self._failures = 0
        self._suspects = 0  # the oldest rows, of a batch that was refused: each is tried alone
        self._told = 0  # of the ring's drops

    def wake_nowait(self) -> None:
        """There are records."""
        self._some.set()

    async def run(self, hear: Callable[[], None]) -> None:
        """Write batches, each when it is full or `flush_interval` old, until cancelled.

        Args:
            hear: asks to be woken by the next record.
        """
        while True:
            await self._some.wait()
            await anyio.sleep(self._settings.flush_interval_s)
            self._some = anyio.Event()
            hear()
            while self._source.records:
                await self._write_batch(over_s=self._time_for_batch_s())
                if self._source.records < self._settings.batch_rows and not self._suspects:
                    self._some.set()  # those that came meanwhile wait for others
                    break

    async def flush(self, *, within_s: float) -> None:
        """Write what is left at the end; what does not get through in time is dropped and counted."""
        with anyio.move_on_after(within_s):
            while self._source.records:
                await self._write_batch()
        self._count_drops()
        left = self._source.records
        if left:
            log.error("rows.dropped", count=left)
            self._dropped.inc(left)
            self._source.forget_records(left)

    def _time_for_batch_s(self) -> float:
        """Return over how long the next batch is spread: its share of an interval; 0 when there is no time to lose."""
        waiting, settings = self._source.records, self._settings
        if self._suspects or not FEW_ROWS <= waiting <= settings.buffer_rows // 2:
            return 0.0
        return settings.flush_interval_s * min(1.0, settings.batch_rows / waiting)

    async def _write_batch(self, *, over_s: float = 0.0) -> None:
        rows, encoded = await self._encode(1 if self._suspects else self._settings.batch_rows)
        try:
            await self._sink.copy(encoded, over_s=over_s)
        except ConstellationError as error:
            self._failures += 1
            log.warning("rows.write_failed", reason=str(error), waiting=self._source.records)
            await anyio.sleep(backoff_s(self._failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, jitter=0.5))
            return
        except Exception as error:  # the supervision point of the log: a row that can not be stored costs itself only
            if rows > 1:
                log.exception("rows.batch_refused", rows=rows)
                self._suspects = rows
                return
            log.warning("row.dropped", reason=repr(error)[:512])
            self._dropped.inc()
        self._failures = 0
        self._suspects = max(0, self._suspects - rows)
        self._source.forget_records(rows)
        self._count_drops()

    async def _encode(self, limit: int) -> tuple[int, memoryview]:
        """Return how many records a batch stands for, and its bytes; they are good until the next."""
        room = len(BEGINNING) + self._source.row_room() + len(END)
        whole = memoryview(self._buffer if room <= BATCH_BYTES else bytearray(room))
        whole[: len(BEGINNING)] = BEGINNING
        rows, at, space = 0, len(BEGINNING), whole[: -len(END)]
        while rows < limit:
            count, at = self._source.write_rows(space, at, skip=rows, limit=limit - rows)
            if count == 0:
                break
            rows += count
            await anyio.lowlevel.checkpoint()  # the calls in hand come in between
        whole[at : at + len(END)] = END
        return rows, whole[: at + len(END)]

    def _count_drops(self) -> None:
        dropped = self._source.records_dropped
        if dropped > self._told:
            self._dropped.inc(dropped - self._told)
            self._told = dropped
