"""The fake keeps the parts of the backend's contract that the pool rests on."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import anyio
import pytest
import trio
from trio.testing import MockClock

from constellation.comet.backend.contract import Call, CallTimeout, InstanceDied, InstanceSpec
from constellation.testing.fake_backend import FakeBackend, FakeInstance, Script

CALL = Call(request_id=UUID(int=1), payload=b"7", timeout_s=1.0)


async def started(script: Script | None = None, *, concurrency: int = 1) -> FakeInstance:
    spec = InstanceSpec(
        tenant="t",
        namespace="n",
        function_id=UUID(int=1),
        function_name="f",
        function_version="1",
        runtime="python",
        handler="main.handler",
        code_dir=Path("/nowhere"),
        concurrency=concurrency,
    )
    instance = await FakeBackend(script).create(spec, timeout_s=1.0)
    await instance.init(timeout_s=1.0)
    return instance


async def for_ever(_spec, _call) -> bytes:
    await anyio.sleep_forever()
    return b""


def simulate(main) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_call_is_answered_whole_and_in_pieces():
    async def main():
        instance = await started()
        assert (await instance.invoke(CALL)).output == b"7"
        async with instance.stream(CALL) as answer:
            assert b"".join([piece async for piece in answer]) == b"7"
            assert answer.outcome.output == b""

    simulate(main)


@pytest.mark.parametrize(("concurrency", "is_dead"), [(1, True), (2, False)])
def test_a_timeout_and_a_cancellation_kill_an_instance_of_one_call(concurrency, is_dead):
    async def main():
        late = await started(Script(handle=for_ever), concurrency=concurrency)
        with pytest.raises(CallTimeout):
            await late.invoke(CALL)
        assert late.died.is_set() is is_dead
        left = await started(Script(handle=for_ever), concurrency=concurrency)
        with anyio.move_on_after(0.5):
            await left.invoke(CALL)
        assert left.died.is_set() is is_dead

    simulate(main)


def test_destroying_ends_what_is_in_hand():
    async def main():
        instance = await started(Script(handle=for_ever))
        causes = []

        async def call():
            with pytest.raises(InstanceDied) as died:
                await instance.invoke(CALL)
            causes.append(died.value.cause)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.sleep(0.1)
            await instance.destroy()
            await instance.destroy()
        assert causes == ["destroyed"]
        assert not instance.backend.alive

    simulate(main)


def test_loading_has_a_limit():
    async def main():
        with pytest.raises(CallTimeout) as late:
            await started(Script(init=lambda _spec: anyio.sleep_forever()))
        assert late.value.phase == "init"

    simulate(main)
