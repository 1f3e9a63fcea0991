"""Figures over the invocation log that rules about a function's settings go by."""

from __future__ import annotations

import json

import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.advice import Calls
from constellation.nova.domain.function import Function
from constellation.nova.store.functions import Functions
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.statistics import Statistics

from .test_invocations import record

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

DAY_S = 86_400.0


async def test_calls_are_counted_by_what_they_say_of_the_settings_that_the_live_version_has(
    db: Database, database
) -> None:
    new = Function(
        tenant="default", namespace="default", name="f", id=uuid7(), runtime="python", handler="main.handler",
        timeout_s=2.0,
    )  # fmt: skip
    functions = Functions(db)
    function = await functions.create(new, {"main.py": b"0"})
    async with connect(database.dsn("comet"), application="comet", min_size=0, max_size=1) as own:
        figures = Statistics(own)

        async def called(count: int, *, age_s: float = 60.0, **more: object) -> None:
            facts = {"function_id": function.id, "duration_ms": 10.0, "queued_ms": 0.0} | more
            await Invocations(db).record([record(age_s=age_s, **facts) for _ in range(count)])

        assert await figures.advice(function, days=7) == Calls()
        await called(5)
        await called(3, cold_start=True, duration_ms=300.0, queued_ms=250.0)  # it waited for its own start
        await called(2, queued_ms=101.0, duration_ms=111.0)
        await called(1, status="timeout", duration_ms=2010.0)
        await called(1, status="timeout", duration_ms=500.0)  # its caller gave it less
        died = json.dumps({"code": "instance_died", "cause": "out of memory"}, separators=(",", ":"))
        await called(1, status="instance_died", error=died)
        await called(1, status="instance_died", error=died.replace("out of memory", "exit status 3"))
        await called(1, status="function_error", error='{"type": "MemoryError", "message": ""}')
        await called(1, status="function_error", error=json.dumps({"type": "E", "message": 'no "MemoryError"'}))
        for left_out in (
            {"status": "cancelled"}, {"status": "invalid_request"}, {"function_version": 2}, {"function_id": uuid7()},
            {"function_name": "g"}, {"namespace": "other"}, {"age_s": 8 * DAY_S},
        ):  # fmt: skip
            await called(9, **left_out)
        found = await figures.advice(function, days=7)
        assert found == Calls(
            calls=16, errors=6, cold_starts=3, timeouts=1, out_of_memory=2, queued=2, cold_p50_ms=300.0,
            warm_p50_ms=10.0, run_p99_ms=2010.0, has_any=True,
        )  # fmt: skip
        assert (await figures.advice(function, days=9)).calls == 25
        changed = await functions.update(function, files={"main.py": b"1"})
        assert (await figures.advice(changed, days=7)).calls == 9  # of version 2
        await Functions(db).delete("default", "default", "f")
