"""The device that keeps cores awake is open exactly while calls flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from constellation.comet.wakefulness import FLOW_PER_S, WINDOW_S, Wakefulness

pytestmark = pytest.mark.anyio

ENOUGH = int(FLOW_PER_S * WINDOW_S)


class Windows:
    """A clock whose sleeps end when the test says so, each after as many calls as it says."""

    def __init__(self) -> None:
        self.calls = 0
        self._begun, self._over = anyio.create_memory_object_stream[None](1), anyio.create_memory_object_stream[int](1)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        assert seconds == WINDOW_S
        await self._begun[0].send(None)
        self.calls += await self._over[1].receive()

    def close(self) -> None:
        for end in (*self._begun, *self._over):
            end.close()

    async def begun(self) -> None:
        with anyio.fail_after(5):
            await self._begun[1].receive()

    async def over(self, *, calls: int) -> None:
        await self._over[0].send(calls)


@pytest.fixture
def windows() -> Iterator[Windows]:
    with closing(Windows()) as windows:
        yield windows


def _holders(path: Path) -> int:
    return sum(each.resolve() == path for each in Path("/proc/self/fd").iterdir())


async def test_it_is_held_while_calls_flow_and_let_go_after(tmp_path, windows):
    device = tmp_path / "latency"
    device.write_bytes(b"")
    wakefulness = Wakefulness(lambda: windows.calls, windows, device=device)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wakefulness.run)
        wakefulness.wake_nowait()
        await windows.begun()
        assert _holders(device) == 0
        await windows.over(calls=ENOUGH - 1)  # a few calls are no reason
        await anyio.wait_all_tasks_blocked()
        wakefulness.wake_nowait()
        await windows.begun()
        await windows.over(calls=ENOUGH)
        for _ in range(3):
            await windows.begun()
            assert _holders(device) == 1
            assert device.read_bytes() == bytes(4)
            await windows.over(calls=ENOUGH)
        await windows.begun()
        await windows.over(calls=0)
        await anyio.wait_all_tasks_blocked()
        assert _holders(device) == 0
        wakefulness.wake_nowait()
        await windows.begun()
        await windows.over(calls=ENOUGH)
        await windows.begun()
        assert _holders(device) == 1
        tasks.cancel_scope.cancel()
    assert _holders(device) == 0


async def test_without_the_right_to_write_it_ends_quietly(tmp_path, windows):
    with anyio.fail_after(5):
        await Wakefulness(lambda: windows.calls, windows, device=tmp_path / "missing").run()
