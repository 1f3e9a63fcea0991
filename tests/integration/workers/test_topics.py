"""Deliveries of messages by nebula processes that are killed: each arrives, retried, dead when nothing helps."""

from __future__ import annotations

import json
from collections import Counter

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import JobStatus
from constellation.nova.domain.message import NewMessage, Publisher
from constellation.nova.domain.topic import Condition, Subscription, Topic
from constellation.nova.store.functions import Functions
from constellation.nova.store.messages import Messages
from constellation.nova.store.topics import Topics
from tests.integration.workers.rig import Raised, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

SCOPE = {"tenant": "default", "namespace": "default"}
QUICK = {"queue": {"lease": "1s", "safety_poll": "300ms", "workers": 8}}
ME = Publisher(subject="apikey:ci", call_depth=3, call_chain=("x",))


@pytest.fixture
async def topics(db) -> Topics:
    topics = Topics(db)
    await topics.create(Topic(**SCOPE, id=uuid7(), name="orders"))
    for name in ("all", "eu", "fails"):
        row = Function(**SCOPE, name=name, id=uuid7(), runtime="python", handler="main.handler")
        await Functions(db).create(row, {"main.py": b"1"})
        wanted = (Condition(attribute="region", equals=("eu",)),) if name == "eu" else ()
        await topics.subscribe(
            Subscription(
                **SCOPE,
                id=uuid7(),
                name=name,
                topic_name="orders",
                function_name=name,
                filter=wanted,
                max_attempts=2 if name == "fails" else 20,
                backoff_base_s=0.05,
            )
        )
    return topics


async def test_killed_workers_lose_no_delivery(platform, comet, db, topics):
    arrived: dict[str, Counter[int]] = {name: Counter() for name in ("all", "eu", "fails")}
    callers = []

    def of(name):
        async def work(payload, caller):
            arrived[name][json.loads(payload)["data"]] += 1
            callers.append(caller)
            await anyio.sleep(0.05)
            if name == "fails":
                raise Raised("always")
            return b"1"

        return work

    for name in arrived:
        comet.functions[name] = of(name)
    messages = Messages(db)

    async def publish():
        for first in range(0, 60, 10):
            batch = [
                NewMessage(payload=b"%d" % n, attributes={"region": "eu" if n % 3 == 0 else "us"})
                for n in range(first, first + 10)
            ]
            await messages.publish("default", "default", "orders", ME, batch)
            await anyio.sleep(0.1)

    async def is_over():
        counts = Counter()
        for name in arrived:
            found = await topics.subscription("default", "default", name)
            counts.update((await messages.standing(found)).counts)
        return counts == {JobStatus.DEAD: 60}

    async with comet.serving() as address, anyio.create_task_group() as tasks:
        worker = platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        tasks.start_soon(publish)
        for _ in range(3):
            await eventually(lambda: comet.in_hand == 8, platform)
            worker.kill()
            worker.wait()
            worker = platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        await eventually(is_over, platform)
    assert set(arrived["all"]) == set(arrived["fails"]) == set(range(60))
    assert set(arrived["eu"]) == set(range(0, 60, 3))
    dead = await messages.deliveries(await topics.subscription("default", "default", "fails"))
    assert {(each.status, each.attempt) for each in dead.items} == {(JobStatus.DEAD, 2)}
    done = await messages.deliveries(await topics.subscription("default", "default", "all"), status=JobStatus.SUCCEEDED)
    assert done.total == 60
    assert {(caller.context.source, caller.context.depth) for caller in callers} == {("event", 3)}
    assert {caller.identity.subject for caller in callers} == {f"subscription:{name}" for name in arrived}


async def test_pausing_stops_what_is_in_line_and_in_hand(platform, comet, db, topics):
    runs = Counter()

    async def work(payload, caller):
        runs[json.loads(payload)["data"]] += 1
        await anyio.sleep(0.3)
        if not may_pass.is_set():
            raise Raised("not yet")
        return b"1"

    async def passes(payload, caller):
        return b"1"

    may_pass = anyio.Event()
    comet.functions |= {"all": work, "eu": passes, "fails": passes}
    messages = Messages(db)
    found = await topics.subscription("default", "default", "all")
    async with comet.serving() as address:
        platform.start("nebula", "--comet-grpc", str(address), config=QUICK)
        await messages.publish("default", "default", "orders", ME, [NewMessage(payload=b"%d" % n) for n in range(30)])
        await eventually(lambda: len(runs) >= 8, platform)
        await topics.pause("default", "default", "all")

        async def stands_still():
            return (await messages.standing(found)).counts == {JobStatus.PAUSED: 30}

        await eventually(stands_still, platform)
        assert len(runs) < 30
        may_pass.set()
        await topics.resume("default", "default", "all")

        async def is_over():
            return (await messages.standing(found)).counts == {}

        await eventually(is_over, platform)
    assert set(runs) == set(range(30))
