"""The operations on topics, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from constellation.client.call import Call, call, page_call
from constellation.routes.models import topics as t
from constellation.routes.models.functions import Deleted
from constellation.routes.models.invocations import Redriven
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def create_topic(topic: t.TopicCreate) -> Call[t.TopicBody]:
    """Create a topic."""
    return call("create_topic", t.TopicBody, body=topic)


def list_topics(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[t.TopicBody]]:
    """Topics of the namespace by name."""
    return page_call("list_topics", t.TopicBody, page_size=page_size)


def get_topic(name: str) -> Call[t.TopicBody]:
    """One topic."""
    return call("get_topic", t.TopicBody, params={"name": name})


def update_topic(name: str, changes: t.TopicUpdate) -> Call[t.TopicBody]:
    """Change a topic."""
    return call("update_topic", t.TopicBody, params={"name": name}, body=changes)


def delete_topic(name: str) -> Call[Deleted]:
    """Delete a topic with its messages and subscriptions."""
    return call("delete_topic", Deleted, params={"name": name})


def publish(
    topic: str,
    payload: object,
    *,
    key: str | None = None,
    attributes: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Call[t.PublishedBody]:
    """Publish a message; it is committed when this returns. A repeated idempotency key publishes nothing new."""
    facts = {"key": key, "attributes": attributes, "idempotency_key": idempotency_key}
    body = {"payload": payload} | {name: fact for name, fact in facts.items() if fact is not None}
    return call("publish", t.PublishedBody, params={"name": topic}, body=body)


def publish_batch(topic: str, messages: Sequence[Mapping[str, Any]]) -> Call[t.PublishedBatch]:
    """Publish up to 100 messages {payload, key, attributes, idempotency_key}; all are committed, or none is."""
    return call("publish_batch", t.PublishedBatch, params={"name": topic}, body={"messages": messages})


def list_messages(topic: str, *, key: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[t.MessageBody]]:
    """Messages of a topic that are kept, newest first."""
    return page_call("list_messages", t.MessageBody, page_size=page_size, params={"name": topic}, query={"key": key})


def create_subscription(topic: str, subscription: t.SubscriptionCreate) -> Call[t.SubscriptionBody]:
    """Call a function with each message of a topic from now on."""
    return call("create_subscription", t.SubscriptionBody, params={"name": topic}, body=subscription)


def list_topic_subscriptions(
    topic: str, *, function: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[t.SubscriptionBody]]:
    """Subscriptions of a topic by name."""
    params, query = {"name": topic}, {"function": function}
    return page_call("list_topic_subscriptions", t.SubscriptionBody, page_size=page_size, params=params, query=query)


def list_subscriptions(
    *, function: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[t.SubscriptionBody]]:
    """Subscriptions of the namespace by name."""
    return page_call("list_subscriptions", t.SubscriptionBody, page_size=page_size, query={"function": function})


def get_subscription(name: str) -> Call[t.SubscriptionDetail]:
    """One subscription, and how its deliveries stand."""
    return call("get_subscription", t.SubscriptionDetail, params={"name": name})


def update_subscription(name: str, changes: t.SubscriptionUpdate) -> Call[t.SubscriptionBody]:
    """Change a subscription; deliveries that are on their way stay as they are."""
    return call("update_subscription", t.SubscriptionBody, params={"name": name}, body=changes)


def delete_subscription(name: str) -> Call[Deleted]:
    """Delete a subscription with its deliveries that have not succeeded."""
    return call("delete_subscription", Deleted, params={"name": name})


def pause_subscription(name: str) -> Call[t.SubscriptionBody]:
    """Begin no delivery until it is resumed; new ones wait."""
    return call("pause_subscription", t.SubscriptionBody, params={"name": name})


def resume_subscription(name: str) -> Call[t.SubscriptionBody]:
    """Let deliveries go on."""
    return call("resume_subscription", t.SubscriptionBody, params={"name": name})


def list_deliveries(
    subscription: str, *, status: str | None = None, message: UUID | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[t.DeliveryBody]]:
    """Deliveries of a subscription, newest first."""
    query = {"status": status, "message": None if message is None else str(message)}
    return page_call("list_deliveries", t.DeliveryBody, page_size=page_size, params={"name": subscription}, query=query)


def redrive_subscription(name: str) -> Call[Redriven]:
    """Begin every dead delivery of a subscription again."""
    return call("redrive_subscription", Redriven, params={"name": name})


def replay_subscription(
    name: str, since: datetime, *, until: datetime | None = None, after: UUID | None = None, limit: int = 1000
) -> Call[t.ReplayedBody]:
    """Deliver a page of what was published in a time once more; go on with its `next` as `after`."""
    facts = {"since": since, "until": until, "after": after, "limit": limit}
    body = {name: fact for name, fact in facts.items() if fact is not None}
    return call("replay_subscription", t.ReplayedBody, params={"name": name}, body=body)
