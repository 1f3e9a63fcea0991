"""Calls through real gRPC into real sandboxes, recorded in a real database."""

from __future__ import annotations

import json
from uuid import uuid4

import anyio
import pytest

from constellation.base.errors import DeadlineExceeded, RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.nova.domain.access import Role
from constellation.nova.domain.function import CapacityPolicy
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

ECHO = "def handler(event, context):\n    print('saw', event)\n    return event\n"
PID = "import os, uuid\nME = uuid.uuid4().hex\ndef handler(event, context):\n    return ME\n"


async def test_a_call_is_answered_and_recorded(comet):
    await comet.deploy("echo", ECHO)
    context = CallContext(request_id=RequestId(uuid7()))
    reply = await comet.invoke("echo", {"n": 1}, context=context)
    assert json.loads(reply.output) == {"n": 1}
    assert (reply.cold_start, reply.version, reply.request_id) == (True, "1", str(context.request_id))
    assert not (await comet.invoke("echo", 2)).cold_start

    async def logs():
        return (await comet.http("GET", "/functions/echo/logs")).json()["items"]

    items = await eventually_two(logs)
    assert [item["log"] for item in items] == ["saw 2\n", "saw {'n': 1}\n"]
    [one] = (await comet.http("GET", "/invocations", query=f"request_id={context.request_id}")).json()["items"]
    assert (one["status"], one["cold_start"], one["function"], one["input_bytes"]) == ("ok", True, "echo", 8)


async def eventually_two(logs):
    with anyio.fail_after(10):
        while len(found := await logs()) < 2:
            await anyio.sleep(0.02)
    return found


async def test_a_request_id_that_the_log_can_not_hold_is_replaced(comet):
    await comet.deploy("echo", ECHO)
    context = CallContext(request_id=RequestId(uuid4()))
    assert (await comet.invoke("echo", 1, context=context)).request_id != str(context.request_id)


async def test_two_hundred_callers_share_four_instances(comet):
    await comet.deploy("who", PID)
    seen = []

    async def call():
        seen.append(await comet.output("who"))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(call)
    assert len(seen) == 200
    assert 1 <= len(set(seen)) <= 4


async def test_a_full_queue_is_refused_with_retry_after(comet):
    await comet.deploy(
        "narrow",
        "import time\ndef handler(event, context):\n    time.sleep(0.3)\n",
        max_replicas=1,
        capacity=CapacityPolicy(max_queue_depth=2, retry_after_s=3, shed_status_code=503),
    )
    await comet.invoke("narrow")
    problems = []

    async def call():
        try:
            await comet.invoke("narrow")
        except RemoteProblem as problem:
            problems.append(problem)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(call)
    assert [(p.code, p.http_status, p.retry_after_s, p.retryable) for p in problems] == [
        ("queue_full", 503, 3, True)
    ] * 5


async def test_waiting_too_long_in_line_is_refused(comet):
    await comet.deploy(
        "slow",
        "import time\ndef handler(event, context):\n    time.sleep(1)\n",
        max_replicas=1,
        capacity=CapacityPolicy(max_queue_wait_s=0.1),
    )
    await comet.invoke("slow")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(comet.invoke, "slow")
        await anyio.sleep(0.2)
        with pytest.raises(RemoteProblem) as refused:
            await comet.invoke("slow")
    assert (refused.value.code, refused.value.http_status) == ("queue_wait_timeout", 429)


async def test_calls_in_hand_are_bounded_by_the_policy(comet):
    await comet.deploy(
        "few",
        "import time\ndef handler(event, context):\n    time.sleep(1)\n",
        capacity=CapacityPolicy(max_inflight=1, retry_after_s=7),
    )
    refused: list[RemoteProblem] = []

    async def call() -> None:
        try:
            await comet.invoke("few")
        except RemoteProblem as problem:
            refused.append(problem)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        tasks.start_soon(call)
    assert [(it.code, it.http_status, it.retry_after_s) for it in refused] == [("inflight_limit", 429, 7)]


HANDLERS = {
    "exits": ("import os; os._exit(3)", ("instance_died", 502)),
    "kills": ("import os; os.kill(os.getpid(), 9)\n    import ctypes; ctypes.string_at(0)", ("instance_died", 502)),
    "allocates": ("hold = []\n    while True:\n        hold.append(bytearray(8 << 20))", None),
    "forks": (
        "import os, time\n    while True:\n        try:\n            os.fork()\n        except OSError:\n            time.sleep(0.01)",
        None,
    ),
    "sleeps": ("import time; time.sleep(60)", ("timeout", 504)),
    "closes": ("import os, time; os.closerange(0, 256); time.sleep(60)", ("instance_died", 502)),
}


@pytest.mark.parametrize("name", HANDLERS)
async def test_a_bad_handler_costs_its_own_call_only(comet, name):
    body, expected = HANDLERS[name]
    code = f"def handler(event, context):\n    if event == 'ok':\n        return 'fine'\n    {body}\n"
    await comet.deploy("bad", code, timeout_s=1.5, max_replicas=1)
    await comet.deploy("neighbour", ECHO)
    got = None
    try:
        reply = await comet.invoke("bad", "bad")
    except RemoteProblem as problem:
        got = (problem.code, problem.http_status)
    else:
        assert json.loads(reply.error)["type"] in ("MemoryError", "BlockingIOError")
    assert got == expected or (expected is None and got in (None, ("instance_died", 502), ("timeout", 504)))
    assert await comet.output("bad", "ok") == "fine"
    assert await comet.output("neighbour", 1) == 1


async def test_raising_is_an_answer(comet):
    await comet.deploy("raises", "def handler(event, context):\n    raise ValueError('no such thing')\n")
    for is_cold in (True, False):  # the instance lives on
        reply = await comet.invoke("raises")
        assert reply.cold_start is is_cold
        assert not reply.output
        error = json.loads(reply.error)
        assert (error["type"], error["message"]) == ("ValueError", "no such thing")


async def test_a_flood_is_cut_and_marked(comet):
    await comet.deploy("floods", "def handler(event, context):\n    for _ in range(50000): print('x' * 99)\n")
    reply = await comet.invoke("floods")

    async def row():
        return (await comet.http("GET", "/functions/floods/logs", query=f"request_id={reply.request_id}")).json()[
            "items"
        ]

    with anyio.fail_after(10):
        while not (items := await row()):
            await anyio.sleep(0.02)
    assert items[0]["log_truncated"]
    assert len(items[0]["log"]) <= 64 << 10


async def test_code_that_does_not_load_says_why_until_it_is_replaced(comet):
    await comet.deploy("broken", "def handler(event, context)\n")
    with pytest.raises(RemoteProblem, match="SyntaxError") as refused:
        await comet.invoke("broken")
    assert (refused.value.code, refused.value.http_status) == ("handler_load_failed", 502)
    await comet.deploy("broken", ECHO)
    with anyio.fail_after(1):
        while True:
            try:
                assert await comet.output("broken", 1) == 1
            except RemoteProblem:
                continue
            break


async def test_the_problem_names_the_phase_whose_time_ran_out(comet):
    await comet.deploy("loads", "import time\ntime.sleep(30)\n" + ECHO, init_timeout_s=0.3)
    with pytest.raises(RemoteProblem) as late:
        await comet.invoke("loads")
    assert (late.value.code, late.value.problem()["phase"]) == ("timeout", "init")
    await comet.deploy("naps", "import time\ndef handler(event, context):\n    time.sleep(event)\n", max_replicas=1)
    await comet.invoke("naps", 0)
    with pytest.raises(RemoteProblem) as late:
        await comet.invoke("naps", 30, timeout_ms=300)
    assert (late.value.code, late.value.problem()["phase"]) == ("timeout", "run")
    await comet.invoke("naps", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(comet.invoke, "naps", 1)
        await anyio.sleep(0.1)
        with pytest.raises(RemoteProblem) as late:
            await comet.invoke("naps", 0, timeout_ms=200)
    assert (late.value.code, late.value.problem()["phase"]) == ("timeout", "wait")


async def test_a_caller_that_gives_up_frees_its_instance(comet):
    await comet.deploy("naps", "import time\ndef handler(event, context):\n    time.sleep(event)\n", max_replicas=1)
    with pytest.raises(DeadlineExceeded):
        await comet.invoke("naps", 30, deadline_s=0.5)
    with anyio.fail_after(5):
        await comet.invoke("naps", 0)


async def test_the_guard_chain_refuses_at_the_door(comet):
    await comet.deploy("echo", ECHO, max_payload_bytes=10)
    await comet.deploy("halted", ECHO, halted=True)

    async def problem(name, event=None, **more):
        with pytest.raises(RemoteProblem) as refused:
            await comet.invoke(name, event, **more)
        return refused.value.code, refused.value.http_status

    deep = CallContext(request_id=RequestId(uuid7()), depth=32, chain=("a",))
    cycle = CallContext(request_id=RequestId(uuid7()), depth=2, chain=("echo", "b"))
    assert await problem("halted") == ("halted", 403)
    assert await problem("echo", "12345678901") == ("payload_too_large", 413)
    assert await problem("echo", payload=b"{nope") == ("invalid_request", 400)
    assert await problem("echo", context=deep) == ("recursion", 508)
    assert await problem("echo", context=cycle) == ("recursion", 508)
    assert await problem("missing") == ("not_found", 404)
    assert await problem("echo", role=Role.VIEWER) == ("forbidden", 403)
    assert await comet.output("echo", payload=b"") == {}


async def test_a_streamed_answer_comes_in_pieces(comet):
    await comet.deploy("counts", "def handler(event, context):\n    for n in range(3):\n        yield f'{n}\\n'\n")
    request = nova_pb2.InvokeRequest(function="counts", payload=b"null")
    async with comet.channel.open(comet.stub.InvokeStream, metadata=comet.metadata(), timeout_s=30) as stream:
        await stream.send_message(request, end=True)
        messages = [message async for message in stream]
    assert b"".join(m.data for m in messages) == b"0\n1\n2\n"
    assert len(messages) >= 2
    assert messages[-1].end.version == "1"
    assert not messages[-1].end.error


async def test_instances_share_calls_up_to_their_concurrency(comet):
    await comet.deploy(
        "shared",
        "import os, time\nME = os.urandom(8).hex()\ndef handler(event, context):\n    time.sleep(0.3)\n    return ME\n",
        instance_concurrency=4,
        max_replicas=1,
    )
    seen = []

    async def call():
        seen.append(await comet.output("shared"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(call)
    assert len(set(seen)) == 1
    assert comet.plane.pool.total == 1


async def test_two_tenants_with_one_name_never_meet(comet, db):
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('blue'), ('green')")
        await tx.execute("INSERT INTO namespaces VALUES ('blue', 'default'), ('green', 'default')")
    secret = "import os\nSECRET = {!r}\ndef handler(event, context):\n    print('log of', SECRET)\n    return SECRET\n"
    for tenant in ("blue", "green"):
        await comet.deploy("same", secret.format(tenant), tenant=tenant)
    for _ in range(3):
        for tenant in ("blue", "green"):
            assert await comet.output("same", tenant=tenant) == tenant
    with pytest.raises(RemoteProblem, match="does not exist"):
        await comet.invoke("same")
    for tenant in ("blue", "green"):
        async with anyio.create_task_group():
            with anyio.fail_after(10):
                while (
                    len(items := (await comet.http("GET", "/functions/same/logs", tenant=tenant)).json()["items"]) < 3
                ):
                    await anyio.sleep(0.02)
        assert {item["log"] for item in items} == {f"log of {tenant}\n"}
        stats = (await comet.http("GET", "/stats", tenant=tenant)).json()
        assert stats["instances"] == 1
    job = (await comet.http("POST", "/functions/same/invoke-async", body={"payload": 1}, tenant="blue")).json()
    assert (await comet.http("GET", f"/async-invocations/{job['id']}", tenant="green")).status == 404
    assert (await comet.http("GET", f"/async-invocations/{job['id']}", tenant="blue")).status == 200
