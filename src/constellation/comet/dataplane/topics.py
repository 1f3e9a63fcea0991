"""Topics and subscriptions of the caller's namespace."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from constellation.base.ids import uuid7
from constellation.comet.dataplane.request import DataRequest
from constellation.comet.filters import filter_of
from constellation.nova.domain.alias import target_of
from constellation.nova.domain.job import JobStatus
from constellation.nova.domain.names import check_function_name
from constellation.nova.domain.topic import Condition, Subscription, Topic, check_name
from constellation.nova.store.messages import Messages
from constellation.nova.store.topics import Topics
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.topics import (
    Prefix,
    SubscriptionBody,
    SubscriptionCreate,
    SubscriptionDetail,
    SubscriptionUpdate,
    TopicBody,
    TopicCreate,
    TopicUpdate,
)
from constellation.routes.reading import page_of

T = TypeVar("T")


class TopicRoutes:
    """Operations on topics and on who gets their messages."""

    def __init__(self, topics: Topics, messages: Messages) -> None:
        self._topics, self._messages = topics, messages

    async def create_topic(self, request: DataRequest) -> TopicBody:
        wanted: TopicCreate = request.json(TopicCreate)
        topic = Topic(
            tenant=request.tenant,
            namespace=request.namespace,
            id=uuid7(),
            name=check_name("topic", wanted.name),
            description=wanted.description,
            retention_hours=wanted.retention_hours,
        )
        return _topic(await self._topics.create(topic))

    async def list_topics(self, request: DataRequest) -> Page[TopicBody]:
        window = request.window
        found = await self._topics.list(request.tenant, request.namespace, limit=window.limit, offset=window.offset)
        return page_of(found, window, _topic)

    async def get_topic(self, request: DataRequest) -> TopicBody:
        return _topic(await topic_in(request, self._topics))

    async def update_topic(self, request: DataRequest) -> TopicBody:
        wanted: TopicUpdate = request.json(TopicUpdate)
        changed = await self._topics.update(
            request.tenant,
            request.namespace,
            request.params["name"],
            description=_given(wanted.description),
            retention_hours=_given(wanted.retention_hours),
        )
        return _topic(changed)

    async def delete_topic(self, request: DataRequest) -> Deleted:
        name = request.params["name"]
        await self._topics.delete(request.tenant, request.namespace, name)
        return Deleted(status="deleted", name=name)

    async def create_subscription(self, request: DataRequest) -> SubscriptionBody:
        wanted: SubscriptionCreate = request.json(SubscriptionCreate)
        function, qualifier = target_of(wanted.function)
        subscription = Subscription(
            tenant=request.tenant,
            namespace=request.namespace,
            id=uuid7(),
            name=check_name("subscription", wanted.name),
            topic_name=request.params["name"],
            function_name=check_function_name(function),
            qualifier=qualifier,
            filter=filter_of(wanted.filter),
            enabled=wanted.enabled,
            max_attempts=wanted.max_attempts,
            backoff_base_s=wanted.backoff_base_ms / 1000,
            backoff_max_s=wanted.backoff_max_ms / 1000,
        )
        return _subscription(await self._topics.subscribe(subscription))

    async def list_topic_subscriptions(self, request: DataRequest) -> Page[SubscriptionBody]:
        return await self._list(request, (await topic_in(request, self._topics)).name)

    async def list_subscriptions(self, request: DataRequest) -> Page[SubscriptionBody]:
        return await self._list(request, None)

    async def get_subscription(self, request: DataRequest) -> SubscriptionDetail:
        subscription = await subscription_in(request, self._topics)
        standing = await self._messages.standing(subscription)
        return SubscriptionDetail(
            **msgspec.structs.asdict(_subscription(subscription)),
            queued=standing.counts.get(JobStatus.QUEUED, 0),
            running=standing.counts.get(JobStatus.RUNNING, 0),
            waiting=standing.counts.get(JobStatus.PAUSED, 0),
            dead=standing.counts.get(JobStatus.DEAD, 0),
            oldest_at=standing.oldest_at,
        )

    async def update_subscription(self, request: DataRequest) -> SubscriptionBody:
        wanted: SubscriptionUpdate = request.json(SubscriptionUpdate)
        function, qualifier = (None, None) if wanted.function is UNSET else target_of(wanted.function)
        base_ms, max_ms = _given(wanted.backoff_base_ms), _given(wanted.backoff_max_ms)
        changed = await self._topics.change(
            request.tenant,
            request.namespace,
            request.params["name"],
            function_name=None if function is None else check_function_name(function),
            qualifier=qualifier,
            filter=None if wanted.filter is UNSET else filter_of(wanted.filter),
            enabled=_given(wanted.enabled),
            max_attempts=_given(wanted.max_attempts),
            backoff_base_s=None if base_ms is None else base_ms / 1000,
            backoff_max_s=None if max_ms is None else max_ms / 1000,
        )
        return _subscription(changed)

    async def delete_subscription(self, request: DataRequest) -> Deleted:
        name = request.params["name"]
        await self._topics.unsubscribe(request.tenant, request.namespace, name)
        return Deleted(status="deleted", name=name)

    async def pause_subscription(self, request: DataRequest) -> SubscriptionBody:
        name = request.params["name"]
        return _subscription(await self._topics.pause(request.tenant, request.namespace, name))

    async def resume_subscription(self, request: DataRequest) -> SubscriptionBody:
        name = request.params["name"]
        return _subscription(await self._topics.resume(request.tenant, request.namespace, name))

    async def _list(self, request: DataRequest, topic: str | None) -> Page[SubscriptionBody]:
        window = request.window
        found = await self._topics.subscriptions(
            request.tenant,
            request.namespace,
            topic_name=topic,
            function_name=request.query_function(),
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, _subscription)


async def topic_in(request: DataRequest, topics: Topics) -> Topic:
    """Return the topic in the path. Raises `TopicNotFound`."""
    return await topics.get(request.tenant, request.namespace, request.params["name"])


async def subscription_in(request: DataRequest, topics: Topics) -> Subscription:
    """Return the subscription in the path. Raises `NotFound`."""
    return await topics.subscription(request.tenant, request.namespace, request.params["name"])


def _given(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def _shown(condition: Condition) -> str | Prefix | list[str | Prefix]:
    alternatives: list[str | Prefix] = [*condition.equals, *(Prefix(prefix=text) for text in condition.prefixes)]
    return alternatives[0] if len(alternatives) == 1 else alternatives


def _topic(topic: Topic) -> TopicBody:
    return TopicBody(
        name=topic.name,
        tenant=topic.tenant,
        namespace=topic.namespace,
        description=topic.description,
        retention_hours=topic.retention_hours,
        created_at=topic.created_at,
        updated_at=topic.updated_at,
    )


def _subscription(subscription: Subscription) -> SubscriptionBody:
    return SubscriptionBody(
        name=subscription.name,
        tenant=subscription.tenant,
        namespace=subscription.namespace,
        topic=subscription.topic_name,
        function=subscription.target,
        filter={condition.attribute: _shown(condition) for condition in subscription.filter},
        enabled=subscription.enabled,
        paused=subscription.is_paused,
        max_attempts=subscription.max_attempts,
        backoff_base_ms=round(subscription.backoff_base_s * 1000),
        backoff_max_ms=round(subscription.backoff_max_s * 1000),
        created_at=subscription.created_at,
        updated_at=subscription.updated_at,
    )
