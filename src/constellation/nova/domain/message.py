"""A message of a topic, and its way to one subscription. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from constellation.base.errors import ConstellationError, InvalidRequest, PayloadTooLarge
from constellation.nova.domain.function import MAX_CALL_DEPTH
from constellation.nova.domain.job import JobStatus

MAX_PAYLOAD_BYTES = 256 << 10  # as the table's constraint
MAX_BATCH, MAX_BATCH_BYTES = 100, 1 << 20  # chosen: times the subscriptions of a topic, what one transaction writes
MAX_KEY_CHARS = 256
MAX_ATTRIBUTES, MAX_ATTRIBUTE_CHARS = 32, 1024
KEY_TTL_S = 86_400.0  # chosen: how long an idempotency key is remembered, as that of a job
_ATTRIBUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class MessageLoop(ConstellationError):
    """A message led to a message led to a message, as far as that may go."""

    code, http_status = "message_loop", 508

    def __init__(self, topic: str, *, depth: int) -> None:
        super().__init__(
            f"topic {topic!r}: the chain of calls and messages is {MAX_CALL_DEPTH} deep", extras={"depth": depth}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What is published."""

    payload: bytes  # JSON, as the publisher sent it
    key: str = ""  # what it is about
    attributes: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None  # a live one makes repetitions one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Who publishes, and what led to it."""

    subject: str
    call_depth: int = 0
    call_chain: tuple[str, ...] = ()  # functions, the first one's caller first


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it is read back."""

    id: UUID
    key: str
    payload: bytes
    attributes: Mapping[str, str]
    publisher: str
    call_depth: int
    call_chain: tuple[str, ...]
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message on its way to one function: a job, whose id it has."""

    id: UUID
    message_id: UUID
    function_name: str
    status: JobStatus
    attempt: int
    max_attempts: int
    run_at: datetime
    request_id: UUID | None
    error: bytes | None
    duration_ms: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def check_message(message: NewMessage) -> NewMessage:
    """Return a message that may be published.

    Raises:
        PayloadTooLarge: its payload is above `MAX_PAYLOAD_BYTES`.
        InvalidRequest: its key or attributes are out of range; `field` names them.
    """
    if len(message.payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(limit_bytes=MAX_PAYLOAD_BYTES)
    if len(message.key) > MAX_KEY_CHARS or not message.key.isprintable():
        raise InvalidRequest(f"a key has at most {MAX_KEY_CHARS} printable characters", field="key")
    key = message.idempotency_key
    if key is not None and not (1 <= len(key) <= MAX_KEY_CHARS and key.isprintable()):
        raise InvalidRequest(
            f"an idempotency key has 1 to {MAX_KEY_CHARS} printable characters", field="idempotency_key"
        )
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise InvalidRequest(f"a message has at most {MAX_ATTRIBUTES} attributes", field="attributes")
    for name, value in message.attributes.items():
        if _ATTRIBUTE.fullmatch(name) is None:
            raise InvalidRequest(
                f"attribute {name[:80]!r} must be 1 to 64 of letters, digits, '.', '_' and '-'", field="attributes"
            )
        if len(value) > MAX_ATTRIBUTE_CHARS or "\0" in value:
            raise InvalidRequest(
                f"an attribute has at most {MAX_ATTRIBUTE_CHARS} characters, none of them NUL",
                field=f"attributes.{name}",
            )
    return message


def check_depth(topic: str, publisher: Publisher) -> None:
    """Let a publisher through whose messages may still call something, or raise `MessageLoop`."""
    if publisher.call_depth >= MAX_CALL_DEPTH:
        raise MessageLoop(topic, depth=publisher.call_depth)


def envelope(topic: str, message: Message) -> bytes:
    """Return the event that a function gets: CloudEvents 1.0 as JSON, with the topic and attributes beside."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": message.id,
            "type": "constellation.message",
            "source": f"/topics/{topic}",
            "subject": message.key or None,
            "time": message.published_at,
            "datacontenttype": "application/json",
            "topic": topic,
            "attributes": message.attributes,
            "publisher": message.publisher,
            "data": msgspec.Raw(message.payload),
        }
    )
