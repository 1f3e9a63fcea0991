"""Topics on a real server: what is published reaches whom it should, once accepted never lost, never twice by its key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import pytest

from constellation.base.errors import AlreadyExists, NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.alias import Alias, shares_of
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import JobStatus
from constellation.nova.domain.message import NewMessage, Publisher
from constellation.nova.domain.topic import MAX_SUBSCRIPTIONS, Condition, Filter, Subscription, Topic
from constellation.nova.store import topics as topics_module
from constellation.nova.store.aliases import Aliases
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import ClaimedJob, Completion, Failure, Jobs
from constellation.nova.store.messages import Messages, Published
from constellation.nova.store.pool import Database
from constellation.nova.store.retention import Retention
from constellation.nova.store.tenancy import Tenancy
from constellation.nova.store.topics import SubscriptionsFull, TopicNotFound, Topics

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

SCOPE = ("default", "default")
ME = Publisher(subject="apikey:me")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def ahead() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def topic(name: str = "orders", **more: object) -> Topic:
    return Topic(tenant="default", namespace="default", id=uuid7(), name=name, **more)


def subscription(name: str = "s", *, filter: Filter = (), **more: object) -> Subscription:
    facts = {"topic_name": "orders", "function_name": "f"} | more
    return Subscription(tenant="default", namespace="default", id=uuid7(), name=name, filter=filter, **facts)


def message(payload: bytes = b"1", **more: object) -> NewMessage:
    return NewMessage(payload=payload, **more)


class Rig:
    def __init__(self, db: Database) -> None:
        self.topics, self.messages, self.jobs = Topics(db), Messages(db), Jobs(db)

    async def publish(self, *messages: NewMessage, topic: str = "orders", by: Publisher = ME) -> list[Published]:
        return list(await self.messages.publish(*SCOPE, topic, by, messages or (message(),)))

    async def claim(self, limit: int = 100) -> list[ClaimedJob]:
        return list(await self.jobs.claim(owner="w", lease_s=60, limit=limit))

    async def complete(self, *claims: ClaimedJob) -> None:
        await self.jobs.complete(
            [Completion(claim=claim, request_id=uuid7(), output=b"1", duration_ms=1.0) for claim in claims]
        )

    async def fail(self, claim: ClaimedJob, retry_after_s: float | None) -> None:
        await self.jobs.fail(
            [Failure(claim=claim, request_id=None, error=b"{}", duration_ms=None, retry_after_s=retry_after_s)]
        )


@pytest.fixture
async def rig(db: Database) -> Rig:
    for name in ("f", "g"):
        row = Function(
            tenant="default", namespace="default", name=name, id=uuid7(), runtime="python", handler="main.handler"
        )
        await Functions(db).create(row, {"main.py": b"1"})
    rig = Rig(db)
    await rig.topics.create(topic())
    return rig


async def test_a_message_becomes_a_job_of_each_subscription_that_takes_it(rig: Rig) -> None:
    await rig.topics.subscribe(subscription("all", max_attempts=7, backoff_base_s=0.5))
    await rig.topics.subscribe(
        subscription("eu", function_name="g", filter=(Condition(attribute="region", prefixes=("eu-",)),))
    )
    await rig.topics.subscribe(subscription("off", enabled=False))
    (first,) = await rig.publish(
        message(b'{"n": 1}', key="k", attributes={"region": "eu-west"}),
        by=Publisher(subject="function:a", call_depth=2, call_chain=("x", "a")),
    )
    (second,) = await rig.publish(message(b"2", attributes={"region": "us"}))
    assert (first.deliveries, second.deliveries) == (2, 1)
    claims = await rig.claim()
    assert sorted(claim.job.source for claim in claims) == ["subscription/all", "subscription/all", "subscription/eu"]
    (eu,) = (claim.job for claim in claims if claim.job.function_name == "g")
    event = msgspec.json.decode(eu.payload)
    assert (event["id"], event["topic"], event["subject"]) == (str(first.id), "orders", "k")
    assert (event["data"], event["attributes"], event["publisher"]) == ({"n": 1}, {"region": "eu-west"}, "function:a")
    assert (eu.subject, eu.call_depth, eu.call_chain) == ("subscription:eu", 2, ())
    every = next(claim.job for claim in claims if claim.job.source == "subscription/all")
    assert (every.max_attempts, every.backoff_base_s) == (7, 0.5)
    kept = await rig.messages.list(await rig.topics.get(*SCOPE, "orders"))
    assert [(each.id, each.call_chain) for each in kept.items] == [(second.id, ()), (first.id, ("x", "a"))]
    only = await rig.messages.list(await rig.topics.get(*SCOPE, "orders"), key="k")
    assert [each.id for each in only.items] == [first.id]


async def test_a_subscription_may_name_a_version_or_an_alias(rig: Rig, db: Database) -> None:
    f = await Functions(db).get(*SCOPE, "f")
    await Aliases(db).put("default", f.id, Alias(name="prod", shares=shares_of({1: 100})))
    for name, qualifier in (("live", ""), ("first", "1"), ("named", "prod")):
        made = await rig.topics.subscribe(subscription(name, qualifier=qualifier))
        assert made.target == (f"f:{qualifier}" if qualifier else "f")
    await rig.publish()
    assert {claim.job.source: claim.job.qualifier for claim in await rig.claim()} == {
        "subscription/live": "",
        "subscription/first": "1",
        "subscription/named": "prod",
    }
    for unknown in ("2", "stage"):
        with pytest.raises(NotFound):
            await rig.topics.subscribe(subscription("other", qualifier=unknown))
        with pytest.raises(NotFound):
            await rig.topics.change(*SCOPE, "live", function_name="f", qualifier=unknown)
    with pytest.raises(NotFound):
        await rig.topics.change(*SCOPE, "named", function_name="g", qualifier="prod")  # g has none of that name
    paused = await rig.topics.change(*SCOPE, "named", enabled=False)
    assert paused.target == "f:prod"
    assert (await rig.topics.change(*SCOPE, "first", function_name="g", qualifier="")).target == "g"


async def test_what_nobody_takes_is_kept(rig: Rig) -> None:
    (published,) = await rig.publish()
    assert (published.deliveries, published.is_duplicate) == (0, False)
    with pytest.raises(TopicNotFound):
        await rig.publish(topic="other")


async def test_a_key_makes_repetitions_one(rig: Rig, db: Database) -> None:
    await rig.topics.subscribe(subscription())
    (first,) = await rig.publish(message(idempotency_key="k"))
    again, other, twin = await rig.publish(
        message(idempotency_key="k"), message(idempotency_key="l"), message(idempotency_key="l")
    )
    assert (again.id, again.is_duplicate, again.deliveries) == (first.id, True, 0)
    assert (other.is_duplicate, other.deliveries) == (False, 1)
    assert (twin.id, twin.is_duplicate) == (other.id, True)
    assert len(await rig.claim()) == 2
    async with db.transaction() as tx:
        await tx.execute("UPDATE message_keys SET expires_at = now() - interval '1 second' WHERE key = 'k'")
    await Retention(db).keep()
    (later,) = await rig.publish(message(idempotency_key="k"))
    assert not later.is_duplicate
    assert (await rig.publish(message(idempotency_key="l")))[0].is_duplicate


async def test_publishers_of_one_key_at_once_make_one_message(rig: Rig) -> None:
    await rig.topics.subscribe(subscription())
    published: list[Published] = []

    async def publish(keys: str) -> None:
        published.extend(await rig.publish(*(message(idempotency_key=key) for key in keys)))

    async with anyio.create_task_group() as tg:
        for turn in range(8):
            tg.start_soon(publish, "abc" if turn % 2 else "cba")
    assert len({each.id for each in published}) == 3
    assert sum(not each.is_duplicate for each in published) == 3
    assert len(await rig.claim()) == 3


async def test_a_paused_subscription_lets_everything_wait(rig: Rig) -> None:
    await rig.topics.subscribe(subscription(max_attempts=2))
    await rig.publish(message(b"1"), message(b"2"))
    (running,) = await rig.claim(limit=1)
    assert (await rig.topics.pause(*SCOPE, "s")).is_paused
    await rig.publish(message(b"3"))
    assert await rig.claim() == []
    await rig.fail(running, 0.0)  # what is tried again waits with the others
    assert await rig.claim() == []
    found = await rig.topics.subscription(*SCOPE, "s")
    assert (await rig.messages.standing(found)).counts == {JobStatus.PAUSED: 3}
    await rig.topics.resume(*SCOPE, "s")
    claims = await rig.claim()
    assert sorted(claim.job.attempt for claim in claims) == [1, 1, 2]
    assert (await rig.messages.standing(found)).counts == {JobStatus.RUNNING: 3}


async def test_whoever_pauses_or_resumes_last_has_it_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_module, "BATCH", 3)  # many transactions, between which others come
    await rig.topics.subscribe(subscription())
    await rig.publish(*[message()] * 40)
    found = await rig.topics.subscription(*SCOPE, "s")

    async def turn(act: Callable[[str, str, str], Awaitable[object]]) -> None:
        for _ in range(4):
            await act(*SCOPE, "s")

    async with anyio.create_task_group() as tg:
        for act in (rig.topics.pause, rig.topics.resume, rig.topics.pause, rig.topics.resume):
            tg.start_soon(turn, act)
    is_paused = (await rig.topics.subscription(*SCOPE, "s")).is_paused
    counts = (await rig.messages.standing(found)).counts
    assert counts == {JobStatus.PAUSED if is_paused else JobStatus.QUEUED: 40}


async def test_a_dead_delivery_that_is_redriven_waits_with_its_subscription(rig: Rig) -> None:
    await rig.topics.subscribe(subscription(max_attempts=1))
    await rig.publish()
    (claim,) = await rig.claim()
    await rig.fail(claim, None)
    await rig.topics.pause(*SCOPE, "s")
    assert await rig.jobs.redrive(*SCOPE) == 1
    assert await rig.claim() == []
    await rig.topics.resume(*SCOPE, "s")
    assert len(await rig.claim()) == 1


async def test_nothing_published_around_a_resumption_is_left_waiting(rig: Rig) -> None:
    await rig.topics.subscribe(subscription())

    async def publish() -> None:
        for _ in range(20):
            await rig.publish()

    async with anyio.create_task_group() as tg:
        for _ in range(3):
            tg.start_soon(publish)
        for _ in range(4):
            await rig.topics.pause(*SCOPE, "s")
            await rig.topics.resume(*SCOPE, "s")
    assert len(await rig.claim()) == 60


async def test_deliveries_are_listed_with_their_state_and_redriven(rig: Rig) -> None:
    await rig.topics.subscribe(subscription("one", max_attempts=1))
    await rig.topics.subscribe(subscription("two"))
    (published,) = await rig.publish()
    await rig.publish()
    one = await rig.topics.subscription(*SCOPE, "one")
    claims = [claim for claim in await rig.claim() if claim.job.source == "subscription/one"]
    await rig.complete(claims[0])
    await rig.fail(claims[1], 1.0)
    listed = await rig.messages.deliveries(one)
    assert sorted((each.status, each.attempt) for each in listed.items) == [
        (JobStatus.DEAD, 1),
        (JobStatus.SUCCEEDED, 1),
    ]
    (dead,) = (await rig.messages.deliveries(one, status=JobStatus.DEAD)).items
    assert dead.error == b"{}"
    (found,) = (await rig.messages.deliveries(one, message_id=published.id)).items
    assert found.message_id == published.id
    first = await rig.messages.deliveries(one, limit=1)
    assert (first.total, first.has_more) == (2, True)
    assert await rig.messages.redrive(one) == 1
    (again,) = await rig.claim()
    assert (again.job.id, again.job.attempt) == (dead.id, 1)


async def test_a_time_is_replayed_page_by_page(rig: Rig) -> None:
    published = await rig.publish(*(message(b"%d" % n, attributes={"even": str(n % 2 == 0)}) for n in range(5)))
    own = await rig.topics.get(*SCOPE, "orders")
    new = await rig.topics.subscribe(subscription(filter=(Condition(attribute="even", equals=("True",)),)))
    first = await rig.messages.replay(own, new, since=LONG_AGO, until=ahead(), limit=3)
    assert (first.deliveries, first.seen, first.last) == (2, 3, published[2].id)
    second = await rig.messages.replay(own, new, since=LONG_AGO, until=ahead(), after=first.last, limit=3)
    assert (second.deliveries, second.seen, second.last) == (1, 2, None)
    claims = await rig.claim()
    await rig.complete(*claims)
    assert sorted(msgspec.json.decode(claim.job.payload)["data"] for claim in claims) == [0, 2, 4]
    again = await rig.messages.replay(own, new, since=LONG_AGO, until=ahead())  # what was delivered is so once more
    assert again.deliveries == 3
    none = await rig.messages.replay(own, new, since=LONG_AGO, until=LONG_AGO + timedelta(days=1))
    assert (none.deliveries, none.last) == (0, None)


async def test_what_is_deleted_takes_its_deliveries_along(rig: Rig, db: Database) -> None:
    await rig.topics.subscribe(subscription("one"))
    await rig.topics.subscribe(subscription("two", function_name="g"))
    await rig.publish()
    await rig.topics.unsubscribe(*SCOPE, "one")
    with pytest.raises(NotFound):
        await rig.topics.subscription(*SCOPE, "one")
    assert (await rig.topics.subscriptions(*SCOPE)).total == 1
    await rig.publish(message(idempotency_key="k"))
    await rig.topics.delete(*SCOPE, "orders")
    assert await rig.claim() == []
    for table in ("topics", "subscriptions", "messages", "message_keys", "jobs"):
        assert await db.fetch_value(f"SELECT count(*) FROM {table}") == 0
    with pytest.raises(TopicNotFound):
        await rig.topics.delete(*SCOPE, "orders")


async def test_a_subscription_goes_with_its_function(rig: Rig, db: Database) -> None:
    await rig.topics.subscribe(subscription())
    await rig.publish()
    await Functions(db).delete(*SCOPE, "f")
    assert (await rig.topics.subscriptions(*SCOPE)).total == 0
    assert (await rig.publish())[0].deliveries == 0


async def test_names_are_taken_once_a_namespace_and_bounds_hold(rig: Rig, db: Database) -> None:
    with pytest.raises(AlreadyExists):
        await rig.topics.create(topic())
    await Tenancy(db).create_namespace("default", "other")
    other = Topic(tenant="default", namespace="other", id=uuid7(), name="orders")
    await rig.topics.create(other)
    await rig.messages.publish("default", "other", "orders", ME, [message()])
    assert (await rig.messages.list(await rig.topics.get(*SCOPE, "orders"))).total == 0
    await Tenancy(db).delete_namespace("default", "other")
    assert await db.fetch_value("SELECT count(*) FROM messages") == 0
    with pytest.raises(NotFound):
        await rig.topics.subscribe(subscription(function_name="absent"))
    with pytest.raises(TopicNotFound):
        await rig.topics.subscribe(subscription(topic_name="absent"))
    for number in range(MAX_SUBSCRIPTIONS):
        await rig.topics.subscribe(subscription(f"s{number}"))
    with pytest.raises(AlreadyExists):
        await rig.topics.subscribe(subscription("s0", topic_name=(await rig.topics.create(topic("second"))).name))
    with pytest.raises(SubscriptionsFull):
        await rig.topics.subscribe(subscription("more"))
    assert (await rig.publish())[0].deliveries == MAX_SUBSCRIPTIONS


async def test_what_is_changed_keeps_the_rest(rig: Rig) -> None:
    wanted = (Condition(attribute="a", equals=("1", "2"), prefixes=("x",)),)
    made = await rig.topics.subscribe(subscription(filter=wanted))
    changed = await rig.topics.change(*SCOPE, "s", function_name="g", enabled=False, max_attempts=9)
    assert (changed.function_name, changed.enabled, changed.max_attempts) == ("g", False, 9)
    assert (changed.filter, changed.backoff_max_s, changed.version) == (wanted, made.backoff_max_s, 2)
    assert (await rig.topics.change(*SCOPE, "s", filter=())).filter == ()
    updated = await rig.topics.update(*SCOPE, "orders", description=None, retention_hours=1)
    assert (updated.description, updated.retention_hours) == ("", 1)


async def test_messages_leave_when_their_topic_keeps_them_no_longer(rig: Rig, db: Database) -> None:
    await rig.topics.update(*SCOPE, "orders", description=None, retention_hours=1)
    await rig.publish()
    async with db.transaction() as tx:
        await tx.execute(
            "INSERT INTO messages (tenant, namespace, topic_id, id, payload, publisher) "
            "SELECT tenant, namespace, topic_id, uuid7_floor(now() - interval '2 hours'), payload, 'old' FROM messages"
        )
    await Retention(db).keep()
    kept = await rig.messages.list(await rig.topics.get(*SCOPE, "orders"))
    assert [each.publisher for each in kept.items] == ["apikey:me"]


async def test_how_far_deliveries_are_behind_is_told(rig: Rig, db: Database) -> None:
    assert await rig.messages.waiting() == ({}, 0.0)
    await rig.topics.subscribe(subscription())
    await rig.publish()
    async with db.transaction() as tx:
        await tx.execute("UPDATE jobs SET run_at = now() - interval '1 minute'")
    counts, lag_s = await rig.messages.waiting()
    assert counts == {JobStatus.QUEUED: 1}
    assert lag_s >= 60
