"""Messages: kept and put on their way in one transaction, delivered as jobs, delivered again on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from constellation.base.ids import uuid7
from constellation.nova.domain.job import JobStatus
from constellation.nova.domain.message import KEY_TTL_S, Delivery, Message, NewMessage, Publisher, envelope
from constellation.nova.domain.topic import Subscription, Topic
from constellation.nova.store import waits
from constellation.nova.store.bell import JOBS, Bell
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Session
from constellation.nova.store.queries import load
from constellation.nova.store.quotas import refuse_full
from constellation.nova.store.topics import SQL as TOPICS
from constellation.nova.store.topics import TopicNotFound, message_of, subscription_of

SQL = load("messages")

REPLAY_BYTES = 8 << 20  # chosen: payloads that one transaction of a replay copies
REDRIVE_BATCH = 1000  # chosen: as of the queue
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The answer to an accepted message."""

    id: UUID
    deliveries: int  # that were begun now
    is_duplicate: bool  # True: its idempotency key was bound to this message before


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One page of a replay."""

    deliveries: int
    seen: int  # messages, those that the filter leaves out included
    last: UUID | None  # the message to go on behind; None: it was the last page


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the deliveries of a subscription stand."""

    counts: Mapping[JobStatus, int]  # the live ones
    oldest_at: datetime | None  # of those that are not over: its lag


class Messages:
    """The tables messages and message_keys, and of jobs the deliveries."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, JOBS)

    async def publish(
        self,
        tenant: str,
        namespace: str,
        topic_name: str,
        publisher: Publisher,
        messages: Sequence[NewMessage],
        *,
        max_depth: int | None = None,
    ) -> tuple[Published, ...]:
        """Accept messages and begin their deliveries; when this returns all are committed, or none is.

        A live idempotency key answers with the message that it is bound to, and delivers nothing.

        Args:
            max_depth: how many jobs, deliveries among them, the tenant may have; None: any number.

        Raises:
            TopicNotFound
            QuotaExceeded: there is no room for the deliveries.
        """
        async with self._db.transaction() as tx:
            # In a statement of its own: the next sees the subscriptions of whoever changed them before.
            await tx.fetch_value(SQL["lock_shared"], tenant, namespace, topic_name)
            row = await tx.fetch_row(TOPICS["get_topic"], tenant, namespace, topic_name)
            if row is None:
                raise TopicNotFound(topic_name)
            topic = Topic(**row)
            ids = sorted(uuid7() for _ in messages)  # those of one millisecond have no order by themselves
            bound = await self._bind(tx, topic, messages, ids)
            new = [
                (message, message_id) for message, message_id, owner in zip(messages, ids, bound, strict=True)
                if message_id == owner
            ]  # fmt: skip
            kept = await keep(tx, topic, publisher, new)
            subscriptions = await subscribed(tx, topic) if kept else ()
            counts = await deliver(tx, topic, kept, subscriptions)
            await refuse_full(tx, tenant, sum(counts.values()), max_depth=max_depth, are_in=True)
            has_woken = bool(kept) and await waits.answer(tx, topic, kept)
        if has_woken or any(counts.values()):
            await self._bell.ring()
        return tuple(
            Published(id=owner, deliveries=counts.get(message_id, 0), is_duplicate=owner != message_id)
            for message_id, owner in zip(ids, bound, strict=True)
        )

    async def list(self, topic: Topic, *, key: str | None = None, limit: int = 100, offset: int = 0) -> Page[Message]:
        """Return messages that are kept, newest first, counted up to `COUNT_LIMIT`."""
        rows = await self._db.fetch(SQL["list"], topic.tenant, topic.id, key, limit + 1, offset)
        total: int = await self._db.fetch_value(SQL["count"], topic.tenant, topic.id, key, COUNT_LIMIT + 1)
        return Page(
            items=tuple(map(message_of, rows[:limit])),
            total=min(total, COUNT_LIMIT),
            total_is_exact=total <= COUNT_LIMIT,
            has_more=len(rows) > limit,
        )

    async def replay(
        self,
        topic: Topic,
        subscription: Subscription,
        *,
        since: datetime,
        until: datetime,
        after: UUID | None = None,
        limit: int = REDRIVE_BATCH,
    ) -> Replayed:
        """Deliver a page of messages to a subscription once more, the oldest first; what its filter leaves out is not."""
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock_shared"], topic.tenant, topic.namespace, topic.name)
            window = (topic.tenant, topic.id, after or _FIRST, since, until, limit, REPLAY_BYTES)
            page = [message_of(row) for row in await tx.fetch(SQL["window"], *window)]
            counts = await deliver(tx, topic, page, (subscription,))
        count = sum(counts.values())
        if count:
            await self._bell.ring()
        is_last = len(page) < limit and sum(len(message.payload) for message in page) < REPLAY_BYTES
        return Replayed(deliveries=count, seen=len(page), last=None if is_last or not page else page[-1].id)

    async def deliveries(
        self,
        subscription: Subscription,
        *,
        status: JobStatus | None = None,
        message_id: UUID | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[Delivery]:
        """Return deliveries of a subscription, newest first, counted up to `COUNT_LIMIT`."""
        wanted = (subscription.tenant, subscription.id, status, message_id)
        rows = await self._db.fetch(SQL["deliveries"], *wanted, limit + 1, offset)
        total: int = await self._db.fetch_value(SQL["count_deliveries"], *wanted, COUNT_LIMIT + 1)
        return Page(
            items=tuple(Delivery(**dict(row) | {"status": JobStatus(row["status"])}) for row in rows[:limit]),
            total=min(total, COUNT_LIMIT),
            total_is_exact=total <= COUNT_LIMIT,
            has_more=len(rows) > limit,
        )

    async def standing(self, subscription: Subscription) -> Standing:
        """Return how many deliveries wait, run or are dead."""
        rows = await self._db.fetch(SQL["standing"], subscription.tenant, subscription.id)
        return Standing(
            counts={JobStatus(row["status"]): row["count"] for row in rows},
            oldest_at=min((row["oldest_at"] for row in rows if row["oldest_at"] is not None), default=None),
        )

    async def redrive(self, subscription: Subscription) -> int:
        """Put all dead deliveries of a subscription back in line; return how many."""
        total = 0
        while True:
            async with self._db.transaction() as tx:
                count = await tx.execute(SQL["redrive"], subscription.tenant, subscription.id, REDRIVE_BATCH)
            total += count
            if count:
                await self._bell.ring()
            if count < REDRIVE_BATCH:
                return total

    async def waiting(self) -> tuple[Mapping[JobStatus, int], float]:
        """Over all tenants: how many deliveries stand in each live status, and how many seconds the oldest is late."""
        rows = await self._db.fetch(SQL["waiting"])
        counts = {JobStatus(row["status"]): row["count"] for row in rows}
        return counts, max((row["lag_s"] for row in rows if row["lag_s"] is not None), default=0.0)

    async def _bind(
        self, tx: Session, topic: Topic, messages: Sequence[NewMessage], ids: Sequence[UUID]
    ) -> Sequence[UUID]:
        """Return whose message each is: its own, or the one that had its idempotency key before."""
        first: dict[str, UUID] = {}
        for message, message_id in zip(messages, ids, strict=True):
            if message.idempotency_key is not None:
                first.setdefault(message.idempotency_key, message_id)
        if first:
            rows = await tx.fetch(
                SQL["take_keys"], topic.tenant, topic.id, list(first), list(first.values()), KEY_TTL_S
            )
            others = list(first.keys() - {row["key"] for row in rows})
            if others:
                rows = await tx.fetch(SQL["get_keys"], topic.tenant, topic.id, others)
                first |= {row["key"]: row["message_id"] for row in rows}
        return [
            message_id if message.idempotency_key is None else first[message.idempotency_key]
            for message, message_id in zip(messages, ids, strict=True)
        ]


async def keep(
    tx: Session, topic: Topic, publisher: Publisher, new: Sequence[tuple[NewMessage, UUID]]
) -> Sequence[Message]:
    """Write messages of a topic, each under its id."""
    if not new:
        return ()
    rows = await tx.fetch(
        SQL["insert_messages"],
        topic.tenant,
        topic.namespace,
        topic.id,
        publisher.subject,
        publisher.call_depth,
        list(publisher.call_chain),
        [message_id for _, message_id in new],
        [message.key for message, _ in new],
        [message.payload for message, _ in new],
        [msgspec.json.encode(message.attributes).decode() for message, _ in new],
    )
    published_at: datetime = rows[0]["published_at"]  # of all: the instant of the transaction
    return [
        Message(
            id=message_id,
            key=message.key,
            payload=message.payload,
            attributes=message.attributes,
            publisher=publisher.subject,
            call_depth=publisher.call_depth,
            call_chain=publisher.call_chain,
            published_at=published_at,
        )
        for message, message_id in new
    ]


async def subscribed(tx: Session, topic: Topic) -> Sequence[Subscription]:
    """Return the subscriptions of a topic that get its messages; its lock is held."""
    rows = await tx.fetch(SQL["subscriptions_of"], topic.tenant, topic.namespace, topic.name)
    return [subscription_of(row) for row in rows]


async def deliver(
    tx: Session, topic: Topic, messages: Sequence[Message], subscriptions: Sequence[Subscription]
) -> Mapping[UUID, int]:
    """Accept a job for each message and subscription that takes it; return how many by message."""
    pairs = [
        (place, subscription.id)
        for place, message in enumerate(messages, start=1)
        for subscription in subscriptions
        if subscription.takes(message.attributes)
    ]
    if not pairs:
        return {}
    await tx.execute(
        SQL["insert_deliveries"],
        topic.tenant,
        topic.namespace,
        [message.id for message in messages],
        [envelope(topic.name, message) for message in messages],
        [message.call_depth for message in messages],
        [uuid7() for _ in pairs],
        [place for place, _ in pairs],
        [subscription_id for _, subscription_id in pairs],
    )
    counts: dict[UUID, int] = {}
    for place, _ in pairs:
        message_id = messages[place - 1].id
        counts[message_id] = counts.get(message_id, 0) + 1
    return counts
