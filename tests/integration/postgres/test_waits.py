"""Executions that wait for messages, on a real database: what is published and what is waited for never miss each other."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.execution import MAX_WAITING, MessageWait, StepsDiverged, WaitsFull
from constellation.nova.domain.job import JobStatus
from constellation.nova.domain.message import NewMessage, Publisher
from constellation.nova.domain.topic import Condition, Topic
from constellation.nova.store.jobs import ClaimedJob
from constellation.nova.store.messages import Messages
from constellation.nova.store.pool import Database
from constellation.nova.store.steps import RunLost
from constellation.nova.store.topics import TopicNotFound, Topics
from tests.integration.postgres.test_steps import N, Rig, T, failure, run_of

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PAID = MessageWait(filter=(Condition(attribute="kind", equals=("paid",), prefixes=("paid.",)),))


class WaitRig(Rig):
    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.topics, self.messages = Topics(db), Messages(db)

    async def wait(self, claim: ClaimedJob, seq: int = 0, wait: MessageWait = PAID, seconds: float = 60) -> object:
        step = await self.steps.wait_for_message(run_of(claim), seq, N, "orders", wait, seconds=seconds)
        return None if step is None else step.error or step.output

    async def publish(self, payload: bytes, *, key: str = "", attributes: Mapping[str, str] = {}) -> None:
        message = NewMessage(payload=payload, key=key, attributes={"kind": "paid"} | dict(attributes))
        await self.messages.publish(T, N, "orders", Publisher(subject="t"), [message])

    async def is_due(self, claim: ClaimedJob) -> bool:
        job = await self.jobs.get(T, N, claim.job.id, is_durable=True)
        assert job.status is JobStatus.QUEUED
        return (job.run_at - job.created_at).total_seconds() < 30


@pytest.fixture
async def rig(db: Database) -> WaitRig:
    rig = WaitRig(db)
    await rig.topics.create(Topic(tenant=T, namespace=N, id=uuid7(), name="orders"))
    return rig


async def test_a_message_ends_the_wait_of_every_execution_that_it_is_for(rig: WaitRig) -> None:
    claims = [await rig.begin() for _ in range(3)]
    waits = (PAID, MessageWait(key="7"), MessageWait(key="8"))
    for claim, wait in zip(claims, waits, strict=True):
        assert await rig.wait(claim, wait=wait) is None
    assert len(await rig.jobs.suspend(claims)) == 3
    await rig.publish(b"1", attributes={"kind": "sent"})
    assert [await rig.is_due(claim) for claim in claims] == [False] * 3
    await rig.publish(b'{"n":2}', key="7", attributes={"kind": "paid.late"})
    assert [await rig.is_due(claim) for claim in claims] == [True, True, False]
    again = await rig.jobs.claim(owner="w", lease_s=60, limit=10)
    assert {claim.job.id for claim in again} == {claims[0].job.id, claims[1].job.id}
    for claim in again:
        output = await rig.wait(claim)
        assert isinstance(output, bytes)
        assert b'"data":{"n":2}' in output
        assert await rig.wait(claim) == output  # however often it is asked for


async def test_a_message_that_comes_while_the_run_is_being_put_aside_wakes_it(rig: WaitRig) -> None:
    claim = await rig.begin()
    assert await rig.wait(claim) is None
    await rig.publish(b"1")
    assert await rig.jobs.suspend([claim]) == {claim.job.id}
    assert b'"data":1' in await rig.wait(await rig.claim())


async def test_what_came_since_the_step_before_counts_once(rig: WaitRig) -> None:
    await rig.publish(b"0")  # before it began
    claim = await rig.begin()
    await rig.publish(b"1")
    await rig.publish(b"2")
    assert b'"data":1' in await rig.wait(claim, 0)
    assert b'"data":2' in await rig.wait(claim, 1)
    assert (
        await rig.wait(claim, 2, seconds=0.0)
        == b'{"type":"Timeout","message":"no such message came in time","stack":""}'
    )
    await rig.publish(b"3")
    await rig.steps.record(run_of(claim), 3, "s", output=b"1", error=None, took_s=0.0)
    await rig.publish(b"4")
    assert b'"data":3' in await rig.wait(claim, 4)  # it may be what the step did
    assert b'"data":4' in await rig.wait(claim, 5)
    await rig.publish(b"5")
    for seq in (6, 7):
        await rig.steps.record(run_of(claim), seq, "s", output=b"1", error=None, took_s=0.0)
    await rig.publish(b"6")
    assert b'"data":6' in await rig.wait(claim, 8)


async def test_publishing_and_beginning_to_wait_at_once_never_miss_each_other(rig: WaitRig) -> None:
    for number in range(20):
        claim = await rig.begin()
        found: list[object] = []

        async def waits(claim: ClaimedJob = claim, found: list[object] = found) -> None:
            found.append(await rig.wait(claim))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            tasks.start_soon(rig.publish, b"%d" % number)
        await rig.jobs.suspend([claim])
        if found == [None]:
            claim = await rig.claim()
            found = [await rig.wait(claim)]
        assert b'"data":%d,' % number in found[0] or b'"data":%d}' % number in found[0]
        await rig.steps.cancel(T, N, claim.job.id)


async def test_who_is_over_is_not_woken_and_asks_anew_when_it_is_tried_again(rig: WaitRig) -> None:
    claim = await rig.begin(max_attempts=1)
    assert await rig.wait(claim) is None
    await rig.jobs.fail([failure(claim)])
    await rig.publish(b"1")
    dead = await rig.jobs.get(T, N, claim.job.id, is_durable=True)
    assert dead.status is JobStatus.DEAD
    await rig.jobs.retry(T, N, claim.job.id)
    assert b'"data":1' in await rig.wait(await rig.claim())


async def test_what_can_not_be_waited_for_is_refused(rig: WaitRig) -> None:
    claim = await rig.begin()
    with pytest.raises(TopicNotFound):
        await rig.steps.wait_for_message(run_of(claim), 0, N, "none", PAID, seconds=1)
    await rig.steps.record(run_of(claim), 0, "s", output=b"1", error=None, took_s=0.0)
    with pytest.raises(StepsDiverged):
        await rig.wait(claim, 0)
    async with rig.db.transaction() as tx:
        await tx.execute("UPDATE jobs SET lease_until = now() - interval '1 second'")
    other = await rig.claim()
    with pytest.raises(RunLost):
        await rig.wait(claim, 1)
    async with rig.db.transaction() as tx:
        await tx.execute(
            "INSERT INTO execution_steps (tenant, execution_id, seq, kind, name, due_at, topic_id, filter) "
            "SELECT $1, gen_random_uuid(), 0, 'message', 'orders', now(), topics.id, '{}' "
            "FROM topics, generate_series(1, $2)", T, MAX_WAITING,
        )  # fmt: skip
    with pytest.raises(WaitsFull):
        await rig.wait(other, 1)
    assert await rig.wait(other, 1, MessageWait(key="k")) is None
