"""Messages: published, listed, delivered again."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET, Raw

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest
from constellation.comet.dataplane.jobs import raw
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.dataplane.topics import subscription_in, topic_in
from constellation.comet.publishing import Publishing, with_key
from constellation.nova.domain.job import JobStatus
from constellation.nova.domain.message import Delivery, Message
from constellation.nova.store.messages import Messages, Published
from constellation.nova.store.topics import Topics
from constellation.routes.models.invocations import Redriven
from constellation.routes.models.paging import Page
from constellation.routes.models.topics import (
    DeliveryBody,
    MessageBody,
    Publish,
    PublishBatch,
    PublishedBatch,
    PublishedBody,
    Replay,
    ReplayedBody,
)
from constellation.routes.reading import page_of


class MessageRoutes:
    """Operations on the messages of the caller's namespace."""

    def __init__(self, messages: Messages, topics: Topics, publishing: Publishing, *, clock: Clock) -> None:
        self._messages, self._topics, self._publishing, self._clock = messages, topics, publishing, clock

    async def publish(self, request: DataRequest) -> Answer:
        wanted: Publish = request.json(Publish)
        wanted = with_key(wanted, request.idempotency_key(wanted.idempotency_key))
        topic = request.params["name"]
        (published,) = await self._publishing.publish(request.caller, topic, [wanted], budget=request.budget)
        return Answer(body=_published(topic, published), status=200 if published.is_duplicate else None)

    async def publish_batch(self, request: DataRequest) -> PublishedBatch:
        wanted: PublishBatch = request.json(PublishBatch)
        topic = request.params["name"]
        published = await self._publishing.publish(request.caller, topic, wanted.messages, budget=request.budget)
        return PublishedBatch(messages=[_published(topic, each) for each in published])

    async def list_messages(self, request: DataRequest) -> Page[MessageBody]:
        topic, window = await topic_in(request, self._topics), request.window
        found = await self._messages.list(topic, key=request.query.get("key"), limit=window.limit, offset=window.offset)
        return page_of(found, window, lambda message: _message(topic.name, message))

    async def list_deliveries(self, request: DataRequest) -> Page[DeliveryBody]:
        subscription, window = await subscription_in(request, self._topics), request.window
        found = await self._messages.deliveries(
            subscription,
            status=request.query_choice("status", JobStatus),
            message_id=request.query_id("message"),
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, lambda delivery: _delivery(subscription.name, delivery))

    async def redrive_subscription(self, request: DataRequest) -> Redriven:
        return Redriven(retried=await self._messages.redrive(await subscription_in(request, self._topics)))

    async def replay_subscription(self, request: DataRequest) -> ReplayedBody:
        wanted: Replay = request.json(Replay)
        subscription = await subscription_in(request, self._topics)
        topic = await self._topics.get(request.tenant, request.namespace, subscription.topic_name)
        replayed = await self._messages.replay(
            topic,
            subscription,
            since=_instant(wanted.since, field="since"),
            until=self._clock.now() if wanted.until is UNSET else _instant(wanted.until, field="until"),
            after=None if wanted.after is UNSET else wanted.after,
            limit=wanted.limit,
        )
        return ReplayedBody(replayed=replayed.deliveries, seen=replayed.seen, next=replayed.last)


def _instant(given: datetime, *, field: str) -> datetime:
    if given.tzinfo is None:
        raise InvalidRequest(f"{field} needs its offset from UTC, such as Z", field=field)
    if not 1970 <= given.year <= 9000:  # what an id can hold, zones aside
        raise InvalidRequest(f"{field} is out of range", field=field)
    return given.astimezone(UTC)


def _published(topic: str, published: Published) -> PublishedBody:
    return PublishedBody(
        id=published.id, topic=topic, deliveries=published.deliveries, duplicate=published.is_duplicate
    )


def _message(topic: str, message: Message) -> MessageBody:
    return MessageBody(
        id=message.id,
        topic=topic,
        key=message.key,
        attributes=dict(message.attributes),
        payload=Raw(message.payload),
        publisher=message.publisher,
        call_depth=message.call_depth,
        call_chain=list(message.call_chain),
        published_at=message.published_at,
    )


def _delivery(subscription: str, delivery: Delivery) -> DeliveryBody:
    return DeliveryBody(
        id=delivery.id,
        message_id=delivery.message_id,
        subscription=subscription,
        function=delivery.function_name,
        status=delivery.status.value,
        attempt=delivery.attempt,
        max_attempts=delivery.max_attempts,
        run_at=delivery.run_at if delivery.status in (JobStatus.QUEUED, JobStatus.PAUSED) else None,
        request_id=delivery.request_id,
        error=raw(delivery.error),
        duration_ms=delivery.duration_ms,
        created_at=delivery.created_at,
        started_at=delivery.started_at,
        finished_at=delivery.finished_at,
    )
