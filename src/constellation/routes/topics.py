"""Routes of topics: what is published, who gets it, and what became of it."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import topics as t
from constellation.routes.models.functions import Deleted
from constellation.routes.models.invocations import Redriven
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, Route, comet

P = Permission
_TOPIC, _SUBSCRIPTION = "/topics/{name}", "/subscriptions/{name}"
_BATCH_BYTES = 2 << 20  # a batch of 1 MiB of payloads, and its JSON around them
_FUNCTION = Query(name="function", about="only those of this function")

TOPICS: tuple[Route, ...] = (
    comet("create_topic", "POST", "/topics", P.TOPIC_MANAGE, "Create a topic", status=201, request=t.TopicCreate,
          response=t.TopicBody),
    comet("list_topics", "GET", "/topics", P.TOPIC_READ, "Topics by name", response=Page[t.TopicBody], query=PAGING),
    comet("get_topic", "GET", _TOPIC, P.TOPIC_READ, "One topic", response=t.TopicBody),
    comet("update_topic", "PATCH", _TOPIC, P.TOPIC_MANAGE, "Change a topic", request=t.TopicUpdate,
          response=t.TopicBody),
    comet("delete_topic", "DELETE", _TOPIC, P.TOPIC_MANAGE, "Delete a topic with its messages and subscriptions",
          response=Deleted),
    comet("publish", "POST", _TOPIC + "/publish", P.TOPIC_PUBLISH, "Publish a message; 201 once it is committed",
          status=201, request=t.Publish, response=t.PublishedBody, max_body_bytes=_BATCH_BYTES, takes_key=True),
    comet("publish_batch", "POST", _TOPIC + "/publish-batch", P.TOPIC_PUBLISH,
          "Publish up to 100 messages, all or none", status=201, request=t.PublishBatch, response=t.PublishedBatch,
          max_body_bytes=_BATCH_BYTES),
    comet("list_messages", "GET", _TOPIC + "/messages", P.TOPIC_READ, "Messages that are kept, newest first",
          response=Page[t.MessageBody], query=(*PAGING, Query(name="key", about="only those with this key"))),
    comet("create_subscription", "POST", _TOPIC + "/subscriptions", P.TOPIC_MANAGE,
          "Call a function with each message of a topic", status=201, request=t.SubscriptionCreate,
          response=t.SubscriptionBody),
    comet("list_topic_subscriptions", "GET", _TOPIC + "/subscriptions", P.TOPIC_READ, "Subscriptions of a topic by name",
          response=Page[t.SubscriptionBody], query=(*PAGING, _FUNCTION)),
    comet("list_subscriptions", "GET", "/subscriptions", P.TOPIC_READ, "Subscriptions of the namespace by name",
          response=Page[t.SubscriptionBody], query=(*PAGING, _FUNCTION)),
    comet("get_subscription", "GET", _SUBSCRIPTION, P.TOPIC_READ, "One subscription, and how its deliveries stand",
          response=t.SubscriptionDetail),
    comet("update_subscription", "PATCH", _SUBSCRIPTION, P.TOPIC_MANAGE, "Change a subscription",
          request=t.SubscriptionUpdate, response=t.SubscriptionBody),
    comet("delete_subscription", "DELETE", _SUBSCRIPTION, P.TOPIC_MANAGE,
          "Delete a subscription with its deliveries that have not succeeded", response=Deleted),
    comet("pause_subscription", "POST", _SUBSCRIPTION + "/pause", P.TOPIC_MANAGE,
          "Begin no delivery of a subscription until it is resumed; new ones wait", response=t.SubscriptionBody),
    comet("resume_subscription", "POST", _SUBSCRIPTION + "/resume", P.TOPIC_MANAGE, "Let deliveries go on",
          response=t.SubscriptionBody),
    comet("list_deliveries", "GET", _SUBSCRIPTION + "/deliveries", P.TOPIC_READ,
          "Deliveries of a subscription, newest first", response=Page[t.DeliveryBody],
          query=(*PAGING, Query(name="status"), Query(name="message", about="only those of this message"))),
    comet("redrive_subscription", "POST", _SUBSCRIPTION + "/deliveries/retry-all", P.TOPIC_MANAGE,
          "Begin every dead delivery of a subscription again", response=Redriven),
    comet("replay_subscription", "POST", _SUBSCRIPTION + "/replay", P.TOPIC_MANAGE,
          "Deliver what was published in a time to a subscription once more, page by page", request=t.Replay,
          response=t.ReplayedBody),
)  # fmt: skip
