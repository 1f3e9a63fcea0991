"""The writer of the lane's rows, in virtual time."""

from __future__ import annotations

import anyio
import pytest
import trio
from prometheus_client import Counter
from trio.testing import MockClock

from constellation.base.errors import Unavailable
from constellation.comet.executor.rows import RowWriter
from constellation.nova.config.sections import LogSettings
from constellation.nova.store.rows import BEGINNING, END


class Ring:
    """Rows of one letter each, taken two at a time."""

    def __init__(self, rows: str = "", *, dropped: int = 0) -> None:
        self.rows, self.records_dropped, self.heard = rows, dropped, 0

    @property
    def records(self) -> int:
        return len(self.rows)

    def write_rows(self, into: memoryview, at: int, *, skip: int, limit: int) -> tuple[int, int]:
        taken = self.rows[skip : skip + min(limit, 2, len(into) - at)].encode()
        into[at : at + len(taken)] = taken
        return len(taken), at + len(taken)

    def row_room(self) -> int:
        return len(self.rows[:1])

    def forget_records(self, count: int) -> None:
        self.rows = self.rows[count:]

    def hear(self) -> None:
        self.heard += 1


class Sink:
    """Takes batches, unless it is away or a row is not to its taste."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.over_s: list[float] = []
        self.is_away = False
        self.refused = ""

    async def copy(self, rows: memoryview, *, over_s: float) -> None:
        self.over_s.append(over_s)
        whole = bytes(rows)
        assert whole.startswith(BEGINNING)
        assert whole.endswith(END)
        batch = whole[len(BEGINNING) : -len(END)].decode()
        await anyio.sleep(0.01)
        if self.is_away:
            raise Unavailable("the database", reason="away")
        if set(self.refused) & set(batch):
            raise ValueError("no column takes this")
        self.batches.append(batch)


def writer(ring: Ring, sink: Sink, **settings: object) -> tuple[RowWriter, Counter]:
    dropped = Counter("dropped", "Dropped", registry=None)
    made = LogSettings(**({"batch_rows": 3, "flush_interval_s": 1.0} | settings))
    return RowWriter(ring, sink, made, dropped=dropped), dropped


def simulate(main) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_rows_wait_for_others_and_full_batches_follow_each_other():
    async def main():
        ring, sink = Ring("abcdefgh"), Sink()
        made, _ = writer(ring, sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run, ring.hear)
            await anyio.sleep(5)
            assert sink.batches == []  # nobody said that there are any
            made.wake_nowait()
            await anyio.sleep(0.99)
            assert (sink.batches, ring.heard) == ([], 0)
            await anyio.sleep(0.1)
            assert (sink.batches, ring.heard) == (["abc", "def"], 1)
            await anyio.sleep(1.0)
            assert sink.batches == ["abc", "def", "gh"]
            assert ring.rows == ""
            tasks.cancel_scope.cancel()

    simulate(main)


@pytest.mark.parametrize(
    ("waiting", "over_s"),
    [
        (255, [0.0]),  # few are put in at once
        (256, [1.0]),
        (500, [1.0]),
        (2000, [0.25, 1 / 3, 0.5, 1.0]),  # so that what came in an interval is written in one
        (2001, [0.0]),  # half of the ring: no time to lose
    ],
)
def test_the_rows_of_an_interval_are_spread_over_the_next(waiting: int, over_s: list[float]):
    async def main():
        ring, sink = Ring("a" * waiting), Sink()
        made, _ = writer(ring, sink, batch_rows=500, buffer_rows=4000)
        made.wake_nowait()
        with anyio.move_on_after(1.9):
            await made.run(ring.hear)
        assert sink.over_s[: len(over_s)] == pytest.approx(over_s)

    simulate(main)


def test_an_outage_delays_rows_and_loses_none():
    async def main():
        ring, sink = Ring("ab"), Sink()
        made, dropped = writer(ring, sink)
        sink.is_away = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run, ring.hear)
            made.wake_nowait()
            await anyio.sleep(30)
            ring.rows += "c"
            assert sink.batches == []
            sink.is_away = False
            await anyio.sleep(5)
            assert "".join(sink.batches) == "abc"
            assert dropped._value.get() == 0
            tasks.cancel_scope.cancel()

    simulate(main)


def test_a_row_that_can_not_be_stored_costs_itself_only():
    async def main():
        ring, sink = Ring("abcdefg"), Sink()
        sink.refused = "b"
        made, dropped = writer(ring, sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run, ring.hear)
            made.wake_nowait()
            await anyio.sleep(1.5)
            assert sink.batches == ["a", "c", "def"]  # the suspects are tried alone, and at once
            assert dropped._value.get() == 1
            tasks.cancel_scope.cancel()

    simulate(main)


def test_a_flush_gives_up_in_time_and_counts_what_is_lost():
    async def main():
        ring, sink = Ring("ab", dropped=5), Sink()
        sink.is_away = True
        made, dropped = writer(ring, sink)
        with trio.fail_after(6.0):
            await made.flush(within_s=5.0)
        assert dropped._value.get() == 2 + 5
        assert ring.records == 0

    simulate(main)


@pytest.mark.parametrize("cut_s", [1.005, 1.015])
def test_a_batch_cut_off_by_the_end_is_written_by_the_flush(cut_s):
    async def main():
        ring, sink = Ring("abcd"), Sink()
        made, dropped = writer(ring, sink)
        made.wake_nowait()
        with anyio.move_on_after(cut_s):
            await made.run(ring.hear)
        await made.flush(within_s=5.0)
        assert sorted(set("".join(sink.batches))) == ["a", "b", "c", "d"]
        assert dropped._value.get() == 0

    simulate(main)


def test_drops_of_the_ring_are_counted_once():
    async def main():
        ring, sink = Ring("a", dropped=3), Sink()
        made, dropped = writer(ring, sink)
        await made.flush(within_s=5.0)
        ring.rows, ring.records_dropped = "b", 4
        await made.flush(within_s=5.0)
        assert sink.batches == ["a", "b"]
        assert dropped._value.get() == 4

    simulate(main)
