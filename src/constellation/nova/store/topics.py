"""Topics and subscriptions: what they are, and in which state their deliveries wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from uuid import UUID

import asyncpg
import msgspec

from constellation.base.errors import AlreadyExists, ConstellationError, NotFound
from constellation.nova.domain.message import Message
from constellation.nova.domain.topic import MAX_SUBSCRIPTIONS, Condition, Filter, Subscription, Topic
from constellation.nova.store.aliases import refuse_unknown
from constellation.nova.store.bell import JOBS, Bell
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("topics")

BATCH = 5_000  # chosen: rows changed by one transaction


class TopicNotFound(ConstellationError):
    """There is no such topic in the caller's namespace."""

    code, http_status = "topic_not_found", 404

    def __init__(self, name: str) -> None:
        super().__init__(f"topic {name!r} does not exist here; create it first", extras={"topic": name})


class SubscriptionsFull(ConstellationError):
    """The topic has as many subscriptions as it may."""

    code, http_status = "subscriptions_full", 409

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"topic {topic!r} has {MAX_SUBSCRIPTIONS} subscriptions, as many as it may",
            extras={"limit": MAX_SUBSCRIPTIONS},
        )


class Topics:
    """The tables topics and subscriptions."""

    def __init__(self, db: Database) -> None:
        self._db, self._bell = db, Bell(db, JOBS)

    async def create(self, topic: Topic) -> Topic:
        """Write a new topic. Raises `AlreadyExists`."""
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(
                    SQL["insert_topic"],
                    topic.tenant,
                    topic.namespace,
                    topic.id,
                    topic.name,
                    topic.description,
                    topic.retention_hours,
                )
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("topic", topic.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("namespace", topic.namespace) from error
        assert row is not None
        return Topic(**row)

    async def get(self, tenant: str, namespace: str, name: str) -> Topic:
        """Return a topic. Raises `TopicNotFound`."""
        row = await self._db.fetch_row(SQL["get_topic"], tenant, namespace, name)
        if row is None:
            raise TopicNotFound(name)
        return Topic(**row)

    async def list(self, tenant: str, namespace: str, *, limit: int = 100, offset: int = 0) -> Page[Topic]:
        """Return topics by name, with the exact total."""
        rows = await self._db.fetch(SQL["list_topics"], tenant, namespace, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_topics"], tenant, namespace)
        return Page(items=tuple(Topic(**row) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def update(
        self, tenant: str, namespace: str, name: str, *, description: str | None, retention_hours: int | None
    ) -> Topic:
        """Change what is not None. Raises `TopicNotFound`."""
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(SQL["update_topic"], tenant, namespace, name, description, retention_hours)
        if row is None:
            raise TopicNotFound(name)
        return Topic(**row)

    async def delete(self, tenant: str, namespace: str, name: str) -> None:
        """Delete a topic with its messages, its subscriptions and their deliveries that have not succeeded.

        What is being delivered is cut off. Killed in the middle, it goes on where it stopped when it is asked again.

        Raises:
            TopicNotFound
        """
        topic = await self.get(tenant, namespace, name)
        found = await self.subscriptions(tenant, namespace, topic_name=name, limit=MAX_SUBSCRIPTIONS)
        for subscription in found.items:
            await self._purge(tenant, subscription.id)
        await self._repeat("purge_messages", tenant, topic.id)
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock_alone"], tenant, namespace, name)
            rows = await tx.fetch(
                SQL["list_subscriptions"], tenant, namespace, name, None, MAX_SUBSCRIPTIONS, 0
            )  # with those that came meanwhile
            for row in rows:
                await tx.execute(SQL["purge_deliveries"], tenant, row["id"], BATCH)
            await tx.execute(SQL["purge_messages"], tenant, topic.id, BATCH)
            if not await tx.execute(SQL["delete_topic"], tenant, namespace, name):
                raise TopicNotFound(name)

    async def exists(self, tenant: str, namespace: str, name: str) -> bool:
        return bool(await self._db.fetch_value(SQL["has_topic"], tenant, namespace, name))

    async def subscribe(self, subscription: Subscription) -> Subscription:
        """Write a new subscription; it gets what is published from now on.

        Raises:
            AlreadyExists: the namespace has one of this name.
            TopicNotFound, NotFound: there is no such topic, or function, or version or alias of it.
            SubscriptionsFull
        """
        new = subscription
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(SQL["lock_alone"], new.tenant, new.namespace, new.topic_name)
                await self._make_room(tx, new)
                await refuse_unknown(tx, new.tenant, new.namespace, new.function_name, new.qualifier)
                row = await tx.fetch_row(
                    SQL["insert_subscription"],
                    new.tenant,
                    new.namespace,
                    new.id,
                    new.name,
                    new.topic_name,
                    new.function_name,
                    filter_text(new.filter),
                    new.enabled,
                    new.max_attempts,
                    new.backoff_base_s,
                    new.backoff_max_s,
                    new.qualifier,
                )
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("subscription", new.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", new.function_name) from error
        assert row is not None
        return subscription_of(row)

    async def subscription(self, tenant: str, namespace: str, name: str) -> Subscription:
        """Return a subscription. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get_subscription"], tenant, namespace, name)
        if row is None:
            raise NotFound("subscription", name)
        return subscription_of(row)

    async def subscriptions(
        self,
        tenant: str,
        namespace: str,
        *,
        topic_name: str | None = None,
        function_name: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[Subscription]:
        """Return subscriptions of a scope by name, with the exact total."""
        scope = (tenant, namespace, topic_name, function_name)
        rows = await self._db.fetch(SQL["list_subscriptions"], *scope, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_subscriptions"], *scope)
        return Page(items=tuple(map(subscription_of, rows)), total=total, has_more=offset + len(rows) < total)

    async def change(
        self,
        tenant: str,
        namespace: str,
        name: str,
        *,
        function_name: str | None = None,
        qualifier: str | None = None,
        filter: Filter | None = None,
        enabled: bool | None = None,
        max_attempts: int | None = None,
        backoff_base_s: float | None = None,
        backoff_max_s: float | None = None,
    ) -> Subscription:
        """Change what is not None; deliveries that are on their way stay as they are.

        Raises:
            NotFound: there is no such subscription, or function, or version or alias of it.
        """
        try:
            async with self._db.transaction() as tx:
                if function_name is not None and qualifier is not None:
                    await refuse_unknown(tx, tenant, namespace, function_name, qualifier)
                row = await tx.fetch_row(
                    SQL["update_subscription"],
                    tenant,
                    namespace,
                    name,
                    function_name,
                    None if filter is None else filter_text(filter),
                    enabled,
                    max_attempts,
                    backoff_base_s,
                    backoff_max_s,
                    qualifier,
                )
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", function_name or "") from error
        if row is None:
            raise NotFound("subscription", name)
        return subscription_of(row)

    async def pause(self, tenant: str, namespace: str, name: str) -> Subscription:
        """Let deliveries wait: those in line, those to come, and those in hand that would be tried again. Raises `NotFound`."""
        subscription = await self._set_paused(tenant, namespace, name, is_paused=True)
        await self._turn(subscription)
        return subscription

    async def resume(self, tenant: str, namespace: str, name: str) -> Subscription:
        """Put what waited back in line. Raises `NotFound`."""
        subscription = await self._set_paused(tenant, namespace, name, is_paused=False)
        await self._turn(subscription)
        await self._bell.ring()
        return subscription

    async def unsubscribe(self, tenant: str, namespace: str, name: str) -> None:
        """Delete a subscription with its deliveries that have not succeeded. Raises `NotFound`."""
        subscription = await self.subscription(tenant, namespace, name)
        await self._purge(tenant, subscription.id)
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock_alone"], tenant, namespace, subscription.topic_name)
            await tx.execute(SQL["purge_deliveries"], tenant, subscription.id, BATCH)
            if not await tx.execute(SQL["delete_subscription"], tenant, namespace, name):
                raise NotFound("subscription", name)

    async def _make_room(self, tx: Session, new: Subscription) -> None:
        if await tx.fetch_row(SQL["get_topic"], new.tenant, new.namespace, new.topic_name) is None:
            raise TopicNotFound(new.topic_name)
        count = await tx.fetch_value(SQL["count_subscriptions"], new.tenant, new.namespace, new.topic_name, None)
        if count >= MAX_SUBSCRIPTIONS:
            raise SubscriptionsFull(new.topic_name)

    async def _set_paused(self, tenant: str, namespace: str, name: str, *, is_paused: bool) -> Subscription:
        found = await self.subscription(tenant, namespace, name)
        async with self._db.transaction() as tx:
            # Whoever publishes now is waited for: what it wrote is turned with the rest.
            await tx.fetch_value(SQL["lock_alone"], tenant, namespace, found.topic_name)
            row = await tx.fetch_row(SQL["set_paused"], tenant, namespace, name, is_paused)
        if row is None:
            raise NotFound("subscription", name)
        return subscription_of(row)

    async def _turn(self, subscription: Subscription) -> None:
        """Put what waits in the state that goes with the subscription, as long as nobody pauses or resumes it anew."""
        key, count = (subscription.tenant, subscription.id), BATCH
        states = ("queued", "paused") if subscription.is_paused else ("paused", "queued")
        while count == BATCH:
            async with self._db.transaction() as tx:
                if await tx.fetch_value(SQL["hold_pause"], *key) != subscription.is_paused:
                    return
                count = await tx.execute(SQL["turn_deliveries"], *key, *states, BATCH)

    async def _purge(self, tenant: str, subscription_id: UUID) -> None:
        await self._repeat("purge_deliveries", tenant, subscription_id)

    async def _repeat(self, query: str, *args: object) -> None:
        """Run a statement whose last argument is a bound on its rows until it finds less."""
        count = BATCH
        while count == BATCH:
            async with self._db.transaction() as tx:
                count = await tx.execute(SQL[query], *args, BATCH)


def subscription_of(row: Record) -> Subscription:
    columns = dict(row)
    return Subscription(**columns | {"filter": filter_of(columns["filter"])})


def message_of(row: Record) -> Message:
    columns = dict(row)
    return Message(
        **columns
        | {
            "attributes": msgspec.json.decode(columns["attributes"], type=dict[str, str]),
            "call_chain": tuple(columns["call_chain"]),
        }
    )


def filter_of(text: str) -> Filter:
    """Return the filter that a row has."""
    kept: Mapping[str, Mapping[str, tuple[str, ...]]] = msgspec.json.decode(
        text, type=dict[str, dict[str, tuple[str, ...]]]
    )
    return tuple(Condition(attribute=name, **kinds) for name, kinds in kept.items())


def filter_text(wanted: Filter) -> str:
    kept = {}
    for condition in wanted:
        columns = asdict(condition)
        kept[columns.pop("attribute")] = columns
    return msgspec.json.encode(kept).decode()
