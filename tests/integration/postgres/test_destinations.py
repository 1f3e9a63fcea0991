"""Results on their way, on a real server: the end of a job and what it leads to are written together."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.function import MAX_CALL_DEPTH, Function
from constellation.nova.domain.job import Job, JobStatus, NewJob
from constellation.nova.domain.quota import Dimension, Limit
from constellation.nova.domain.result_target import NO_DESTINATIONS, Destination, Destinations, TargetKind
from constellation.nova.domain.topic import Condition, Subscription, Topic
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import ClaimedJob, Completion, Failure, Jobs
from constellation.nova.store.messages import Messages
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.quotas import Quotas
from constellation.nova.store.topics import Topics
from constellation.nova.store.versions import Versions
from constellation.testing.database import FreshDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

SCOPE = ("default", "default")
TO_AUDIT = Destination(type=TargetKind.FUNCTION, target="audit")
TO_RESULTS = Destination(type=TargetKind.TOPIC, target="results")


class Rig:
    """Everything as the owner, but the queue, which is nebula's."""

    def __init__(self, db: Database, nebula: Database) -> None:
        self.db, self.jobs, self.topics, self.functions = db, Jobs(nebula), Topics(db), Functions(db)
        self.accepted = Jobs(db)

    async def make(self, name: str, destinations: Destinations = NO_DESTINATIONS) -> Function:
        row = Function(
            tenant="default",
            namespace="default",
            name=name,
            id=uuid7(),
            runtime="python",
            handler="main.handler",
            async_destinations=destinations,
        )
        return await self.functions.create(row, {"main.py": b"1"})

    async def ask(self, name: str, **more: object) -> Job:
        wanted = NewJob(
            tenant="default", namespace="default", function_name=name, payload=b'{"n":1}', subject="apikey:me"
        )
        return (await self.accepted.enqueue(replace(wanted, **more))).job

    async def claim(self, function: str | None = None) -> list[ClaimedJob]:
        claims = await self.jobs.claim(owner="w", lease_s=60, limit=100)
        return [each for each in claims if function in (None, each.job.function_name)]

    async def complete(self, *claims: ClaimedJob, version: int | None = None) -> None:
        done = [
            Completion(claim=each, request_id=uuid7(), output=b'{"ok":1}', duration_ms=1.0, version=version)
            for each in claims
        ]
        assert len(await self.jobs.complete(done)) == len(claims)

    async def fail(self, claim: ClaimedJob, retry_after_s: float | None = None) -> None:
        failure = Failure(
            claim=claim, request_id=uuid7(), error=b'{"type":"E"}', duration_ms=1.0, retry_after_s=retry_after_s
        )
        assert await self.jobs.fail([failure])

    async def notices(self) -> list[tuple[str, str, str]]:
        rows = await self.db.fetch("SELECT kind, subject, detail FROM notices ORDER BY id")
        return [tuple(row.values()) for row in rows]

    async def messages(self, topic: str = "results") -> list[dict[str, object]]:
        kept = await Messages(self.db).list(await self.topics.get(*SCOPE, topic))
        return [msgspec.json.decode(each.payload) for each in kept.items]


@pytest.fixture
async def rig(database: FreshDatabase, db: Database):
    async with connect(database.dsn("nebula"), application="nebula", max_size=2) as nebula:
        yield Rig(db, nebula)


async def topic(rig: Rig, name: str = "results", function: str | None = None, outcome: str = "success") -> None:
    await rig.topics.create(Topic(tenant="default", namespace="default", id=uuid7(), name=name))
    if function is not None:
        await rig.topics.subscribe(
            Subscription(
                tenant="default",
                namespace="default",
                id=uuid7(),
                name=f"{function}-{name}",
                topic_name=name,
                function_name=function,
                filter=(Condition(attribute="outcome", equals=(outcome,)),),
            )
        )


async def test_a_result_goes_to_a_function_as_a_call_of_its_own(rig: Rig) -> None:
    await rig.make("audit")
    await rig.make("f", Destinations(on_success=TO_AUDIT))
    asked = await rig.ask("f", call_depth=1, call_chain=("first",))
    await rig.complete(*await rig.claim(), version=1)
    (told,) = [claim.job for claim in await rig.claim()]
    assert (told.function_name, told.source, told.subject) == ("audit", "destination/f", "function:f")
    assert (told.call_depth, told.call_chain) == (2, ("first", "f"))
    event = msgspec.json.decode(told.payload)
    assert (event["id"], event["outcome"], event["version"]) == (str(asked.id), "success", 1)
    assert (event["request"], event["response"], event["error"]) == ({"n": 1}, {"ok": 1}, None)
    assert (await rig.jobs.get(*SCOPE, asked.id)).status is JobStatus.SUCCEEDED


async def test_only_what_is_given_up_is_a_failure(rig: Rig) -> None:
    await rig.make("audit")
    await rig.make("f", Destinations(on_failure=TO_AUDIT))
    await rig.ask("f", max_attempts=2)
    await rig.fail(*await rig.claim(), retry_after_s=0.0)
    (again,) = await rig.claim()
    assert again.job.function_name == "f"
    await rig.fail(again, retry_after_s=0.0)
    (told,) = [claim.job for claim in await rig.claim()]
    event = msgspec.json.decode(told.payload)
    assert (told.function_name, event["outcome"], event["attempts"]) == ("audit", "failure", 2)
    assert (event["response"], event["error"]) == (None, {"type": "E"})


async def test_a_worker_that_goes_silent_for_good_is_told_too(rig: Rig) -> None:
    await rig.make("audit")
    await rig.make("f", Destinations(on_failure=TO_AUDIT))
    await rig.ask("f", max_attempts=1)
    await rig.jobs.claim(owner="gone", lease_s=-1, limit=1)
    (told,) = [claim.job for claim in await rig.claim()]
    event = msgspec.json.decode(told.payload)
    assert (event["error"]["type"], event["request_id"]) == ("lease_expired", None)


async def test_who_lost_its_claim_sends_nothing(rig: Rig) -> None:
    await rig.make("audit")
    await rig.make("f", Destinations(on_success=TO_AUDIT))
    await rig.ask("f")
    (lost,) = await rig.jobs.claim(owner="slow", lease_s=-1, limit=1)
    (held,) = await rig.claim()
    stale = Completion(claim=lost, request_id=uuid7(), output=b"1", duration_ms=1.0)
    assert not await rig.jobs.complete([stale])
    assert not await rig.claim()
    await rig.complete(held)
    assert [claim.job.function_name for claim in await rig.claim()] == ["audit"]


async def test_a_topic_gets_a_message_that_its_subscriptions_get(rig: Rig) -> None:
    await rig.make("g")
    await rig.make("f", Destinations(on_success=TO_RESULTS, on_failure=TO_RESULTS))
    await topic(rig, function="g")
    for _ in range(3):
        await rig.ask("f")
    first, second, third = await rig.claim()
    await rig.complete(first, second)
    await rig.fail(third)
    assert sorted(event["outcome"] for event in await rig.messages()) == ["failure", "success", "success"]
    delivered = await rig.claim()
    assert [claim.job.source for claim in delivered] == ["subscription/g-results"] * 2  # as its filter has it
    assert {claim.job.call_depth for claim in delivered} == {1}
    event = msgspec.json.decode(delivered[0].job.payload)
    assert event["attributes"] == {"function": "f", "outcome": "success"}
    assert (event["subject"], event["publisher"]) == ("f", "function:f")


async def test_one_batch_has_results_for_all_kinds_of_places(rig: Rig) -> None:
    await rig.make("audit")
    await rig.make("a", Destinations(on_success=TO_AUDIT))
    await rig.make("b", Destinations(on_success=TO_RESULTS))
    await rig.make("c")
    await topic(rig)
    for name in "abc":
        await rig.ask(name)
    await rig.complete(*await rig.claim())
    assert [claim.job.source for claim in await rig.claim()] == ["destination/a"]
    assert [event["function"] for event in await rig.messages()] == ["b"]


async def test_a_circle_ends_at_the_depth_of_calls_and_is_told(rig: Rig) -> None:
    await rig.make("f", Destinations(on_success=TO_RESULTS))
    await topic(rig)
    await rig.ask("f", call_depth=MAX_CALL_DEPTH - 1)
    await rig.complete(*await rig.claim())
    assert not await rig.messages()
    ((kind, subject, detail),) = await rig.notices()
    assert (kind, subject) == ("destination_failed", "f")
    assert "32 deep" in detail


async def test_what_has_no_place_to_go_is_told_and_kept(rig: Rig) -> None:
    await rig.make("f", Destinations(on_success=TO_RESULTS, on_failure=TO_AUDIT))
    asked = await rig.ask("f")
    await rig.complete(*await rig.claim())
    ((kind, _, detail),) = await rig.notices()
    assert kind == "destination_failed"
    assert str(asked.id) in detail
    assert "topic:results" in detail
    assert (await rig.jobs.get(*SCOPE, asked.id)).output == b'{"ok":1}'
    await rig.ask("f")
    await rig.fail(*await rig.claim())
    (told,) = await rig.claim()  # comet refuses it for good, and it is dead then
    assert told.job.function_name == "audit"


async def test_a_full_queue_takes_no_deliveries_of_results(rig: Rig) -> None:
    await rig.make("g")
    await rig.make("f", Destinations(on_success=TO_RESULTS))
    await topic(rig, function="g")
    await rig.ask("f")
    claims = await rig.claim()
    await Quotas(rig.db).put_limit("default", Limit(dimension=Dimension.QUEUE_DEPTH, value=0))
    await rig.complete(*claims)
    assert not await rig.claim()
    assert [notice[0] for notice in await rig.notices()] == ["destination_failed"]


async def test_each_version_has_its_own_destinations(rig: Rig) -> None:
    await rig.make("audit")
    made = await rig.make("f", Destinations(on_success=TO_AUDIT, on_failure=TO_AUDIT))
    changed = await rig.functions.update(replace(made, async_destinations=Destinations()))
    assert changed.live_version == 2
    was = (await Versions(rig.db).get(*SCOPE, "f", 1)).function
    assert was.async_destinations == made.async_destinations
    await rig.ask("f")
    await rig.complete(*await rig.claim(), version=2)
    assert not await rig.claim()
    await rig.ask("f")
    await rig.complete(*await rig.claim(), version=1)  # what an alias led it to
    await rig.ask("f", qualifier="1")
    await rig.fail(*await rig.claim("f"))
    await rig.ask("f", qualifier="1", max_attempts=1)
    await rig.jobs.claim(owner="gone", lease_s=-1, limit=1)
    assert len(await rig.jobs.claim(owner="w", lease_s=60, limit=100)) == 2
    back = await rig.functions.activate(changed, was)
    assert back.async_destinations == made.async_destinations
