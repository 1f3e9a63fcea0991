from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from constellation.base.errors import StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.alias import Alias, shares_of
from constellation.nova.domain.canary import Canary, CanaryState, Sample, Verdict
from constellation.nova.domain.function import Function
from constellation.nova.service.canaries import CanaryKeeper
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.canaries import CHANNEL, Canaries
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import Database, connect

from .test_invocations import record

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def begun(db: Database, **more: object) -> tuple[Function, Canary]:
    functions = Functions(db)
    new = Function(
        tenant="default", namespace="default", name="hello", id=uuid7(), runtime="python", handler="main.handler"
    )
    function = await functions.create(new, {"main.py": b"0"})
    function = await functions.update(function, files={"main.py": b"1"})
    alias = await Aliases(db).put(
        "default", function.id, Alias(name="prod", shares=shares_of({1: 100}), is_sticky=True)
    )
    canary = Canary(
        tenant="default",
        namespace="default",
        function_id=function.id,
        function_name="hello",
        id=uuid7(),
        alias="prod",
        old_version=1,
        new_version=2,
        steps=(10, 50),
        step_s=1.0,
        min_calls=5,
        max_error_percent=5.0,
        max_p95_ratio=1.5,
    )
    return function, await Canaries(db).begin(replace(canary, **more), alias)


async def weights(db: Database, function: Function) -> dict[int, int]:
    alias = await Aliases(db).get("default", function.id, "prod")
    assert alias.is_sticky
    return {share.version: share.weight for share in alias.shares}


async def called(db: Database, version: int, *, calls: int, errors: int = 0, duration_ms: float = 10.0) -> None:
    await Invocations(db).record(
        [
            record(
                function_name="hello",
                function_version=version,
                status="function_error" if number < errors else "ok",
                duration_ms=duration_ms,
                cold_start=False,
                id=uuid7(),
            )
            for number in range(calls)
        ]
    )


async def test_a_canary_moves_its_alias_and_whoever_is_late_changes_nothing(db: Database) -> None:
    function, canary = await begun(db)
    canaries = Canaries(db)
    assert (canary.state, canary.step, await weights(db, function)) == (CanaryState.RUNNING, 0, {1: 90, 2: 10})
    with pytest.raises(StateConflict):
        await canaries.begin(replace(canary, id=uuid7()), await Aliases(db).get("default", function.id, "prod"))
    with pytest.raises(StateConflict):
        await canaries.refuse_moving("default", function.id, "prod")
    on = Verdict(state=CanaryState.RUNNING, step=1)
    assert await canaries.settle(canary, on)
    assert not await canaries.settle(canary, Verdict(state=CanaryState.ROLLED_BACK, step=0, reason="late"))
    assert await weights(db, function) == {1: 50, 2: 50}
    (second,) = await canaries.running()
    assert second.step == 1
    assert second.stepped_at is not None
    assert canary.stepped_at is not None
    assert second.stepped_at > canary.stepped_at
    assert await canaries.settle(second, Verdict(state=CanaryState.PROMOTED, step=1, reason="well"))
    assert await weights(db, function) == {2: 100}
    assert await canaries.running() == ()
    await canaries.refuse_moving("default", function.id, "prod")
    ended = await canaries.newest("default", function.id)
    assert (ended.state, ended.reason, ended.ended_at is None) == (CanaryState.PROMOTED, "well", False)
    assert (await canaries.list("default", function.id)).total == 1


async def test_samples_are_of_the_step_and_of_what_says_something(db: Database) -> None:
    _, canary = await begun(db)
    await called(db, 1, calls=10, duration_ms=20.0)
    await called(db, 2, calls=4, errors=1, duration_ms=30.0)
    await called(db, 3, calls=4)
    assert await Canaries(db).samples(canary) == (
        Sample(calls=10, errors=0, p95_ms=20.0),
        Sample(calls=4, errors=1, p95_ms=30.0),
    )
    assert canary.stepped_at is not None
    later = replace(canary, stepped_at=canary.stepped_at + timedelta(minutes=1))
    assert await Canaries(db).samples(later) == (Sample(), Sample())


async def test_the_keeper_rolls_back_what_fails_and_promotes_what_does_well(db: Database, database) -> None:
    function, canary = await begun(db)
    canaries = Canaries(db)

    async def until(state: CanaryState) -> Canary:
        with anyio.fail_after(30):
            while (found := await canaries.newest("default", function.id)).state is not state:
                await anyio.sleep(0.05)
        return found

    # As the role that nova has.
    async with (
        connect(database.dsn("nova"), application="nova", min_size=0, max_size=2) as own,
        anyio.create_task_group() as tasks,
    ):
        listener = Listener(database.dsn("nova"), application="nova", channels=(CHANNEL,))
        await tasks.start(listener.run)
        await tasks.start(CanaryKeeper(Canaries(own), look_s=0.05).run, listener.subscribe(CHANNEL))
        await called(db, 1, calls=10)
        await called(db, 2, calls=10, errors=2)
        ended = await until(CanaryState.ROLLED_BACK)
        assert "2 of 10 calls of version 2 failed" in ended.reason
        assert await weights(db, function) == {1: 100}

        alias = await Aliases(db).get("default", function.id, "prod")
        await canaries.begin(replace(canary, id=uuid7()), alias)
        while (await canaries.newest("default", function.id)).state is CanaryState.RUNNING:
            await called(db, 2, calls=5)
            await anyio.sleep(0.2)
        await until(CanaryState.PROMOTED)
        assert await weights(db, function) == {2: 100}
        tasks.cancel_scope.cancel()
