"""The fake's rules of topics: who subscribes, and what was published. Nothing is delivered."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from constellation.base.errors import AlreadyExists, NotFound
from constellation.base.ids import uuid7
from constellation.nova.store.topics import TopicNotFound
from constellation.routes.models import functions as f
from constellation.routes.models import topics as t
from constellation.testing.state import Asked, State, decoded


class Topics(State):
    """Topics, subscriptions and messages of each scope."""

    def create_topic(self, asked: Asked) -> t.TopicBody:
        wanted: t.TopicCreate = asked.body
        key = (*asked.scope, wanted.name)
        if key in self.topics:
            raise AlreadyExists("topic", wanted.name)
        now = datetime.now(UTC)
        self.topics[key] = t.TopicBody(
            **msgspec.structs.asdict(wanted), tenant=key[0], namespace=key[1], created_at=now, updated_at=now
        )
        return self.topics[key]

    def list_topics(self, asked: Asked) -> list[t.TopicBody]:
        return [topic for key, topic in sorted(self.topics.items()) if key[:2] == asked.scope]

    def get_topic(self, asked: Asked) -> t.TopicBody:
        try:
            return self.topics[(*asked.scope, asked.name)]
        except KeyError:
            raise TopicNotFound(asked.name) from None

    def update_topic(self, asked: Asked) -> t.TopicBody:
        found, given = self.get_topic(asked), msgspec.structs.asdict(asked.body)
        facts = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        self.topics[(*asked.scope, asked.name)] = msgspec.structs.replace(found, **facts)
        return self.topics[(*asked.scope, asked.name)]

    def delete_topic(self, asked: Asked) -> f.Deleted:
        for each in self.list_topic_subscriptions(asked):
            del self.subscriptions[(*asked.scope, each.name)]
        del self.topics[(*asked.scope, asked.name)]
        return f.Deleted(status="deleted", name=asked.name)

    def create_subscription(self, asked: Asked) -> t.SubscriptionBody:
        topic, wanted = self.get_topic(asked), asked.body
        key = (*asked.scope, wanted.name)
        if (*asked.scope, wanted.function.partition(":")[0]) not in self.functions:
            raise NotFound("function", wanted.function)
        if key in self.subscriptions:
            raise AlreadyExists("subscription", wanted.name)
        now = datetime.now(UTC)
        self.subscriptions[key] = t.SubscriptionBody(
            **msgspec.structs.asdict(wanted),
            tenant=key[0],
            namespace=key[1],
            topic=topic.name,
            paused=False,
            created_at=now,
            updated_at=now,
        )
        return self.subscriptions[key]

    def list_subscriptions(self, asked: Asked) -> list[t.SubscriptionBody]:
        wanted = asked.query.get("function")
        found = [each for key, each in sorted(self.subscriptions.items()) if key[:2] == asked.scope]
        return [each for each in found if wanted in (None, each.function.partition(":")[0])]

    def list_topic_subscriptions(self, asked: Asked) -> list[t.SubscriptionBody]:
        topic = self.get_topic(asked).name
        return [each for each in self.list_subscriptions(asked) if each.topic == topic]

    def get_subscription(self, asked: Asked) -> t.SubscriptionDetail:
        found = self._subscription(asked)
        return t.SubscriptionDetail(
            **msgspec.structs.asdict(found), queued=0, running=0, waiting=0, dead=0, oldest_at=None
        )

    def update_subscription(self, asked: Asked) -> t.SubscriptionBody:
        given = msgspec.structs.asdict(asked.body)
        return self._change_subscription(
            asked, {name: value for name, value in given.items() if value is not msgspec.UNSET}
        )

    def pause_subscription(self, asked: Asked) -> t.SubscriptionBody:
        return self._change_subscription(asked, {"paused": True})

    def resume_subscription(self, asked: Asked) -> t.SubscriptionBody:
        return self._change_subscription(asked, {"paused": False})

    def delete_subscription(self, asked: Asked) -> f.Deleted:
        self._subscription(asked)
        del self.subscriptions[(*asked.scope, asked.name)]
        return f.Deleted(status="deleted", name=asked.name)

    def publish(self, asked: Asked) -> t.PublishedBody:
        topic, wanted = self.get_topic(asked), asked.body
        message = t.MessageBody(
            id=uuid7(),
            topic=topic.name,
            key=wanted.key,
            attributes=wanted.attributes,
            payload=decoded(wanted.payload),
            publisher="test",
            call_depth=0,
            call_chain=[],
            published_at=datetime.now(UTC),
        )
        self.messages.insert(0, (asked.scope, message))
        count = len([each for each in self.list_topic_subscriptions(asked) if each.enabled and not each.filter])
        return t.PublishedBody(id=message.id, topic=topic.name, deliveries=count, duplicate=False)

    def list_messages(self, asked: Asked) -> list[t.MessageBody]:
        topic, key = self.get_topic(asked).name, asked.query.get("key")
        own = [message for scope, message in self.messages if scope == asked.scope and message.topic == topic]
        return [message for message in own if key in (None, message.key)]

    def _subscription(self, asked: Asked) -> t.SubscriptionBody:
        try:
            return self.subscriptions[(*asked.scope, asked.name)]
        except KeyError:
            raise NotFound("subscription", asked.name) from None

    def _change_subscription(self, asked: Asked, facts: dict[str, object]) -> t.SubscriptionBody:
        changed = msgspec.structs.replace(self._subscription(asked), **facts)
        self.subscriptions[(*asked.scope, asked.name)] = changed
        return changed
