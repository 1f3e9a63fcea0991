"""Waiting, loading and running have a limit each; the one that ran out is named to the caller and in the log."""

from __future__ import annotations

import anyio
import pytest

from constellation.base.errors import RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.nova.domain.function import CapacityPolicy
from constellation.rpc.metadata import CallContext

from .conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

SLEEPS = "import time\ndef handler(event, context):\n    time.sleep(event)\n"
LOADS = "import time\ntime.sleep(60)\ndef handler(event, context):\n    return 1\n"


async def refusal(comet, name, event, **more):
    """How a call failed, and its row in the log."""
    context = CallContext(request_id=RequestId(uuid7()))
    with pytest.raises(RemoteProblem) as refused:
        await comet.invoke(name, event, context=context, **more)

    async def row():
        return (await comet.http("GET", "/invocations", query=f"request_id={context.request_id}")).json()["items"]

    return refused.value, (await eventually(row))[0]


async def test_the_limit_that_ran_out_is_named(comet):
    await comet.deploy("runs", SLEEPS, timeout_s=0.5, init_timeout_s=30.0)
    await comet.deploy("loads", LOADS, timeout_s=30.0, init_timeout_s=0.5)
    await comet.deploy("waits", SLEEPS, timeout_s=30.0, max_replicas=1)
    await comet.invoke("waits", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(comet.invoke, "waits", 20)

        async def is_busy():
            return [counts.busy for function, counts in comet.plane.pool.stats() if function.name == "waits"] == [1]

        await eventually(is_busy)
        cases = {
            "run": await refusal(comet, "runs", 60),
            "init": await refusal(comet, "loads", 1),
            "wait": await refusal(comet, "waits", 0, timeout_ms=500),
        }
        tasks.cancel_scope.cancel()
    for phase, (problem, row) in cases.items():
        assert (problem.code, problem.http_status) == ("timeout", 504)
        assert f"({phase})" in str(problem)
        assert problem.problem() == problem.problem() | {"after_s": 0.5, "phase": phase}
        assert (row["status"], row["error"]["code"], row["error"]["phase"]) == ("timeout", "timeout", phase)


async def test_a_wait_that_the_function_itself_bounds_is_shed_by_its_policy(comet):
    policy = CapacityPolicy(max_queue_wait_s=0.2, shed_status_code=503)
    await comet.deploy("waits", SLEEPS, timeout_s=30.0, max_replicas=1, capacity=policy)
    await comet.invoke("waits", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(comet.invoke, "waits", 20)

        async def is_shed():
            try:
                await comet.invoke("waits", 0)
            except RemoteProblem as problem:
                return problem
            return None

        problem = await eventually(is_shed)
        tasks.cancel_scope.cancel()
    assert (problem.code, problem.http_status, problem.problem()["phase"]) == ("queue_wait_timeout", 503, "wait")
