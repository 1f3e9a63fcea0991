"""The writer of logs, of calls and of databases: records wait in a bounded buffer and are written in batches; a call never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import anyio
import structlog

from constellation.base.backoff import backoff_s
from constellation.base.errors import ConstellationError
from constellation.nova.config.sections import LogSettings

log = structlog.get_logger()

ROWS_AT_ONCE = 500  # measured: one costs Python about 20 us, and the calls in hand wait for all of a batch
RETRY_BASE_S, RETRY_CAP_S = 0.1, 2.0  # while the database is away


class Record(Protocol):
    @property
    def function_name(self) -> str: ...


R = TypeVar("R", bound=Record)
R_contra = TypeVar("R_contra", bound=Record, contravariant=True)


class RecordSink(Protocol[R_contra]):
    async def record(self, records: Sequence[R_contra]) -> None:
        """Write a batch in one commit; writing one again that may have been written does no harm."""
        ...


class DropCounter(Protocol):
    def inc(self, amount: float = 1) -> None: ...


class RecordWriter(Generic[R]):
    """Takes records without ever waiting; over the bound they are dropped and counted."""

    def __init__(self, sink: RecordSink[R], settings: LogSettings, *, dropped: DropCounter) -> None:
        self._sink, self._settings, self._dropped = sink, settings, dropped
        self._batch_rows = min(settings.batch_rows, ROWS_AT_ONCE)
        self._buffer: deque[R] = deque()
        self._some, self._enough = anyio.Event(), anyio.Event()
        self._failures = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def put_nowait(self, record: R) -> None:
        """Keep a record for the next batch."""
        count = len(self._buffer)
        if count >= self._settings.buffer_rows:
            self._dropped.inc()
            return
        self._buffer.append(record)
        if count == 0:
            self._some.set()
        if count + 1 == self._batch_rows:
            self._enough.set()

    async def run(self) -> None:
        """Write batches, each when it is full or `flush_interval` old, until cancelled."""
        while True:
            await self._some.wait()
            if len(self._buffer) < self._batch_rows:
                with anyio.move_on_after(self._settings.flush_interval_s):
                    await self._enough.wait()
            await self._write_batch()

    async def flush(self, *, within_s: float) -> None:
        """Write what is left at the end; what does not get through in time is dropped and counted."""
        with anyio.move_on_after(within_s):
            while self._buffer:
                await self._write_batch()
        if self._buffer:
            log.error("records.dropped", count=len(self._buffer))
            self._dropped.inc(len(self._buffer))
            self._buffer.clear()

    async def _write_batch(self) -> None:
        batch = [self._buffer[index] for index in range(min(len(self._buffer), self._batch_rows))]
        try:
            await self._sink.record(batch)
        except ConstellationError as error:
            self._failures += 1
            log.warning("records.write_failed", reason=str(error), waiting=len(self._buffer))
            wait_s = backoff_s(self._failures, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, jitter=0.5)
            await anyio.sleep(wait_s)
            return
        except Exception:  # the supervision point of the log: a row that can not be stored costs itself only
            log.exception("records.batch_refused", rows=len(batch))
            await self._write_one_by_one(batch)
        self._failures = 0
        for _ in batch:
            self._buffer.popleft()
        self._some, self._enough = anyio.Event(), anyio.Event()
        if self._buffer:
            self._some.set()
        if len(self._buffer) >= self._batch_rows:
            self._enough.set()

    async def _write_one_by_one(self, batch: Sequence[R]) -> None:
        for record in batch:
            try:
                await self._sink.record([record])
            except Exception as error:  # noqa: BLE001  # as above; the trace was logged with the batch
                self._dropped.inc()
                log.warning("record.dropped", function=record.function_name, reason=repr(error)[:512])
