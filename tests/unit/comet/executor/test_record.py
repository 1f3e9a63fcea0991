"""The invocation log's writer, in virtual time."""

from __future__ import annotations

import anyio
import pytest
import trio
from prometheus_client import Counter
from trio.testing import MockClock

from constellation.base.errors import Unavailable
from constellation.comet.executor.record import RecordWriter
from constellation.nova.config.sections import LogSettings


class Sink:
    """Takes batches, unless it is away or a row is not to its taste."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.is_away = False
        self.refused: set[object] = set()

    async def record(self, records) -> None:
        await anyio.sleep(0.01)
        if self.is_away:
            raise Unavailable("the database", reason="away")
        if self.refused & set(records):
            raise ValueError("no column takes this")
        self.batches.append(list(records))

    @property
    def rows(self) -> list[object]:
        return [row for batch in self.batches for row in batch]


class Record(str):
    __slots__ = ()
    function_name = "f"


def writer(sink: Sink, **settings: object) -> tuple[RecordWriter, Counter]:
    dropped = Counter("dropped", "Dropped", registry=None)
    made = RecordWriter(
        sink, LogSettings(**({"batch_rows": 3, "buffer_rows": 6, "flush_interval_s": 1.0} | settings)), dropped=dropped
    )
    return made, dropped


def simulate(main) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def put(target: RecordWriter, *names: str) -> None:
    for name in names:
        target.put_nowait(Record(name))


def test_a_full_batch_goes_at_once_and_a_partial_one_when_it_is_old():
    async def main():
        sink = Sink()
        made, _ = writer(sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run)
            put(made, "a", "b", "c", "d")
            await anyio.sleep(0.1)
            assert sink.batches == [["a", "b", "c"]]
            await anyio.sleep(1.0)
            assert sink.batches == [["a", "b", "c"], ["d"]]
            tasks.cancel_scope.cancel()

    simulate(main)


def test_over_the_bound_records_are_dropped_and_counted():
    async def main():
        sink = Sink()
        made, dropped = writer(sink)
        put(made, *"abcdefgh")
        await made.flush(within_s=5.0)
        assert sink.rows == list("abcdef")
        assert dropped._value.get() == 2

    simulate(main)


def test_an_outage_delays_records_and_loses_none():
    async def main():
        sink = Sink()
        made, dropped = writer(sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run)
            sink.is_away = True
            put(made, "a", "b")
            await anyio.sleep(30)
            put(made, "c")
            assert sink.rows == []
            sink.is_away = False
            await anyio.sleep(5)
            assert sink.rows == ["a", "b", "c"]
            assert dropped._value.get() == 0
            tasks.cancel_scope.cancel()

    simulate(main)


def test_a_row_that_can_not_be_stored_costs_itself_only():
    async def main():
        sink = Sink()
        sink.refused = {"b"}
        made, dropped = writer(sink)
        put(made, "a", "b", "c")
        await made.flush(within_s=5.0)
        assert sink.rows == ["a", "c"]
        assert dropped._value.get() == 1

    simulate(main)


def test_a_flush_gives_up_in_time_and_counts_what_is_lost():
    async def main():
        sink = Sink()
        sink.is_away = True
        made, dropped = writer(sink)
        put(made, "a", "b")
        with trio.fail_after(6.0):
            await made.flush(within_s=5.0)
        assert dropped._value.get() == 2
        assert len(made) == 0

    simulate(main)


@pytest.mark.parametrize("cut_s", [0.005, 0.015])
def test_a_batch_cut_off_by_the_end_is_written_by_the_flush(cut_s):
    async def main():
        sink = Sink()
        made, _ = writer(sink)
        put(made, "a", "b", "c", "d")
        with anyio.move_on_after(cut_s):
            await made.run()
        await made.flush(within_s=5.0)
        assert sorted(set(sink.rows)) == ["a", "b", "c", "d"]

    simulate(main)
