"""Publishing, whoever asks: over a route or from inside a function."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from msgspec import UNSET
from prometheus_client import CollectorRegistry, Counter

from constellation.base.clock import Clock
from constellation.base.errors import DeadlineExceeded, InvalidRequest, PayloadTooLarge
from constellation.comet.executor.budget import Budget
from constellation.comet.tenants import Tenants
from constellation.native.json_check import is_json
from constellation.nova.domain.message import (
    MAX_BATCH_BYTES,
    NewMessage,
    Publisher,
    check_depth,
    check_message,
)
from constellation.nova.domain.topic import check_name
from constellation.nova.store.messages import Messages, Published
from constellation.routes.models.topics import Publish
from constellation.rpc.caller import Caller


class Publishing:
    """Checks messages, commits them, counts them."""

    def __init__(self, messages: Messages, tenants: Tenants, *, clock: Clock, registry: CollectorRegistry) -> None:
        self._messages, self._tenants, self._clock = messages, tenants, clock
        self._published = Counter(
            "constellation_messages_published",
            "Messages that were accepted, and repetitions of such",
            ("duplicate",),
            registry=registry,
        )
        self._begun = Counter(
            "constellation_deliveries_begun", "Deliveries of messages that were published here", registry=registry
        )

    async def publish(
        self, caller: Caller, topic: str, wanted: Sequence[Publish], *, budget: Budget
    ) -> Sequence[Published]:
        """Accept messages in the caller's scope; when this returns all are committed, or none is.

        Raises:
            InvalidRequest, PayloadTooLarge: a message is not as it may be.
            MessageLoop: messages and calls led to each other as far as they may.
            TenantRateLimit, QuotaExceeded: the tenant published as much as it may, or its queue has no room for deliveries.
            TopicNotFound
        """
        check_name("topic", topic)
        context, identity = caller.context, caller.identity
        publisher = Publisher(subject=identity.subject, call_depth=context.depth, call_chain=context.chain)
        check_depth(topic, publisher)
        messages = [_message(each) for each in wanted]
        if sum(len(message.payload) for message in messages) > MAX_BATCH_BYTES:
            raise PayloadTooLarge(limit_bytes=MAX_BATCH_BYTES)
        left_s = budget.left_s(self._clock.monotonic_s())
        with anyio.move_on_after(left_s):
            max_depth = await self._tenants.publish(identity.tenant, len(messages))
            published = await self._messages.publish(
                identity.tenant, identity.namespace, topic, publisher, messages, max_depth=max_depth
            )
            for each in published:
                self._published.labels(str(each.is_duplicate).lower()).inc()
                self._begun.inc(each.deliveries)
            return published
        raise DeadlineExceeded("publish", after_s=left_s)


def with_key(wanted: Publish, key: str) -> Publish:
    """Return a message with the idempotency key of its request, if that has one."""
    if not key:
        return wanted
    return Publish(payload=wanted.payload, key=wanted.key, attributes=wanted.attributes, idempotency_key=key)


def _message(wanted: Publish) -> NewMessage:
    message = NewMessage(
        payload=bytes(wanted.payload),
        key=wanted.key,
        attributes=wanted.attributes,
        idempotency_key=None if wanted.idempotency_key is UNSET else wanted.idempotency_key,
    )
    check_message(message)
    if not is_json(message.payload):
        raise InvalidRequest("the payload is not valid JSON", field="payload")
    return message
