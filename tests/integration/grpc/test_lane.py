"""The lane in C beside the Python servers: what it takes, what it leaves, and that nobody can tell the difference."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.base.errors import RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.nova.domain.access import Limit, Permission, Role
from constellation.nova.domain.function import CapacityPolicy
from constellation.nova.store.pool import connect
from constellation.rpc.metadata import CallContext

from .conftest import running

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

ECHO = "def handler(event, context):\n    return event\n"
MANY = """
import os, sys, time

def handler(event, context):
    print("began", flush=True)
    if event == "sleep":
        time.sleep(60)
    if event == "exit":
        sys.exit(3)
    if event == "fill":
        hoard = [bytearray(1 << 20) for _ in range(4096)]
    if event == "raise":
        raise ValueError("no")
    return event
"""


def taken(comet) -> tuple[float, float]:
    """Streams that C took in, and those that it passed on, after a look inside or without."""
    value = comet.context.registry.get_sample_value
    return value("constellation_port_taken_total"), value("constellation_port_forwarded_total")


@pytest.fixture
def lane(comet):
    if not comet.is_native:
        pytest.skip("of the lane in C only")
    return comet


async def test_a_function_that_is_known_is_served_in_c_and_another_one_is_not(lane):
    await lane.deploy("echo", ECHO)
    await lane.output("echo", 1)  # not known yet: Python reads its row
    assert taken(lane) == (1, 1)
    assert await lane.output("echo", {"n": [1, 2]}) == {"n": [1, 2]}
    assert taken(lane) == (2, 1)
    with pytest.raises(RemoteProblem) as nothing:
        await lane.output("none", 1)
    assert nothing.value.code == "not_found"
    assert taken(lane) == (3, 2)


async def test_the_last_rows_are_written_when_comet_ends(database, tmp_path):
    async with running(database, tmp_path / "state", is_native=True) as made:
        support = made.plane.backends[0].support()
        if not support.available:
            pytest.skip(support.reason)
        await made.deploy("echo", ECHO)
        for number in range(6):
            await made.output("echo", number)
        assert taken(made) == (6, 1)
    async with connect(database.dsn(), application="tests", max_size=1) as db:
        found = await db.fetch("SELECT status, cold_start, node, runtime FROM invocations ORDER BY id")
    assert [tuple(row) for row in found] == [("ok", at == 0, found[0]["node"], "python") for at in range(6)]


async def test_a_token_that_may_not_invoke_is_refused_by_python(lane):
    await lane.deploy("echo", ECHO)
    await lane.output("echo", 1)
    role = next(role for role in Role if not _may_invoke(lane, role))
    with pytest.raises(RemoteProblem) as refused:
        await lane.output("echo", 1, role=role)
    assert refused.value.code == "forbidden"


async def test_who_may_call_some_functions_calls_them_in_c_and_is_refused_others(lane):
    for name in ("echo", "echo-out", "other"):
        await lane.deploy(name, ECHO)
        await lane.output(name, 1)
    role = next(role for role in Role if not _may_invoke(lane, role))
    some = (Limit(permissions=frozenset({Permission.FUNCTION_INVOKE}), only=("ec*",), never=("*-out",)),)
    taken_before, forwarded_before = taken(lane)
    assert await lane.output("echo", 2, role=role, limits=some) == 2
    assert taken(lane) == (taken_before + 1, forwarded_before)
    for name in ("echo-out", "other"):
        with pytest.raises(RemoteProblem) as refused:
            await lane.output(name, 1, role=role, limits=some)
        assert refused.value.code == "forbidden"
    assert taken(lane) == (taken_before + 3, forwarded_before + 2)


def _may_invoke(comet, role) -> bool:
    token = comet.token(role=role).encode()
    now_s = int(comet.context.clock.now().timestamp())
    return comet.plane.pool._table.find_identity(token, now_s=now_s).may_invoke


async def test_every_end_of_a_call_reads_the_same_whoever_served_it(comet):
    """The same calls on both ports: the expectations stand here once."""
    await comet.deploy("many", MANY, max_replicas=1, timeout_s=1.0, memory_mb=64)
    assert await comet.output("many", 1) == 1
    reply = await comet.invoke("many", "raise")
    assert json.loads(reply.error)["type"] == "ValueError"
    expected = {
        "sleep": ("timeout", "many: no answer within 1 s (run)", {"after_s": 1.0, "phase": "run"}),
        "exit": ("instance_died", "many: the instance died: exit status 3", {"cause": "exit status 3"}),
        "fill": ("instance_died", "many: the instance died: out of memory", {"cause": "out of memory"}),
    }
    for event, (code, detail, extras) in expected.items():
        context = CallContext(request_id=RequestId(uuid7()))
        with pytest.raises(RemoteProblem) as failed:
            await comet.invoke("many", event, context=context)
        assert (failed.value.code, str(failed.value)) == (code, detail)
        assert extras.items() <= failed.value.problem().items()
        row = await _row_of(comet, context)
        assert (row["status"], row["error"]["code"], row["source"]) == (code, code, "http")
    with pytest.raises(RemoteProblem) as invalid:
        await comet.invoke("many", payload=b"{")
    assert invalid.value.code == "invalid_request"
    if comet.is_native:
        assert taken(comet)[0] >= 5


async def _row_of(comet, context):
    with anyio.fail_after(10):
        while True:
            query = f"request_id={context.request_id}"
            items = (await comet.http("GET", "/invocations", query=query)).json()["items"]
            if items:
                return items[0]
            await anyio.sleep(0.02)


async def test_a_caller_that_hangs_up_stops_the_work_and_its_instance_serves_nobody_else(comet):
    await comet.deploy("many", MANY, max_replicas=1, timeout_s=60.0)
    assert await comet.output("many", 1) == 1
    context = CallContext(request_id=RequestId(uuid7()))
    with anyio.move_on_after(0.3):
        await comet.invoke("many", "sleep", context=context)
    with anyio.fail_after(10):
        reply = await comet.invoke("many", 2)
    assert (json.loads(reply.output), reply.cold_start) == (2, True)
    assert (await _row_of(comet, context))["status"] == "cancelled"


async def test_a_full_line_and_a_long_wait_are_refused_by_the_policy(comet):
    policy = CapacityPolicy(max_queue_depth=1, max_queue_wait_s=0.3, shed_status_code=503, retry_after_s=7)
    await comet.deploy("many", MANY, max_replicas=1, timeout_s=60.0, capacity=policy)
    assert await comet.output("many", 1) == 1
    codes = []

    async def ask(event) -> None:
        try:
            await comet.invoke("many", event)
        except RemoteProblem as problem:
            codes.append((problem.code, problem.http_status, problem.retry_after_s))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "sleep")
        await anyio.sleep(0.1)
        for _ in range(2):
            tasks.start_soon(ask, 2)
        with anyio.fail_after(10):
            while len(codes) < 2:
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert codes == [("queue_full", 503, 7), ("queue_wait_timeout", 503, 7)]
