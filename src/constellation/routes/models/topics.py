"""Bodies of topics, subscriptions, messages and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Target = Annotated[str, Meta(min_length=1, max_length=193)]  # NAME, NAME:VERSION or NAME:ALIAS
Text = Annotated[str, Meta(max_length=1024)]
Hours = Annotated[int, Meta(ge=1, le=720)]
Attempts = Annotated[int, Meta(ge=1, le=100)]
BackoffBase = Annotated[int, Meta(ge=1, le=3_600_000)]
BackoffMax = Annotated[int, Meta(ge=1, le=86_400_000)]


class TopicCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: Name
    description: Text = ""
    retention_hours: Hours = 168


class TopicUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    description: Text | UnsetType = UNSET
    retention_hours: Hours | UnsetType = UNSET


class TopicBody(Struct, kw_only=True, frozen=True):
    name: str
    tenant: str
    namespace: str
    description: str
    retention_hours: int
    created_at: datetime | None
    updated_at: datetime | None


class Prefix(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Texts that begin with this one."""

    prefix: Annotated[str, Meta(min_length=1, max_length=1024)]


Conditions = dict[str, str | Prefix | list[str | Prefix]]


class SubscriptionCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Call a function with the messages of a topic, those whose attributes the filter takes: a text is equal, a prefix
    begins so, a list has one that does; every attribute of the filter must be there. The function may be NAME:VERSION or
    NAME:ALIAS; an alias is looked at for each delivery.
    """

    name: Name
    function: Target
    filter: Conditions = {}
    enabled: bool = True
    max_attempts: Attempts = 3
    backoff_base_ms: BackoffBase = 1000
    backoff_max_ms: BackoffMax = 60_000


class SubscriptionUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    function: Target | UnsetType = UNSET
    filter: Conditions | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    max_attempts: Attempts | UnsetType = UNSET
    backoff_base_ms: BackoffBase | UnsetType = UNSET
    backoff_max_ms: BackoffMax | UnsetType = UNSET


class SubscriptionBody(Struct, kw_only=True, frozen=True):
    name: str
    tenant: str
    namespace: str
    topic: str
    function: str  # NAME, NAME:VERSION or NAME:ALIAS
    filter: Conditions
    enabled: bool
    paused: bool
    max_attempts: int
    backoff_base_ms: int
    backoff_max_ms: int
    created_at: datetime | None
    updated_at: datetime | None


class SubscriptionDetail(SubscriptionBody, kw_only=True, frozen=True):
    """A subscription and how its deliveries stand."""

    queued: int
    running: int
    waiting: int  # because it is paused
    dead: int
    oldest_at: datetime | None  # when the oldest delivery that is not over was begun


class Publish(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A message: JSON of at most 256 KiB, what it is about, and texts that filters look at."""

    payload: Raw
    key: Annotated[str, Meta(max_length=256)] = ""
    attributes: dict[str, str] = {}
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET


class PublishBatch(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """All are accepted, or none is."""

    messages: Annotated[list[Publish], Meta(min_length=1, max_length=100)]


class PublishedBody(Struct, kw_only=True, frozen=True):
    """A message that is committed. `duplicate`: its idempotency key was there before, and nothing new is delivered."""

    id: UUID
    topic: str
    deliveries: int
    duplicate: bool


class PublishedBatch(Struct, kw_only=True, frozen=True):
    messages: list[PublishedBody]


class MessageBody(Struct, kw_only=True, frozen=True):
    id: UUID
    topic: str
    key: str
    attributes: dict[str, str]
    payload: Any
    publisher: str
    call_depth: int
    call_chain: list[str]
    published_at: datetime


class DeliveryBody(Struct, kw_only=True, frozen=True):
    """A message on its way to a function; its id is that of an async invocation."""

    id: UUID
    message_id: UUID
    subscription: str
    function: str
    status: str  # queued, running, paused, succeeded, dead
    attempt: int
    max_attempts: int
    run_at: datetime | None
    request_id: UUID | None
    error: Any
    duration_ms: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Replay(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Deliver what was published from an instant on once more. Large replays come in pages: go on with `after`."""

    since: datetime
    until: datetime | UnsetType = UNSET  # now when absent
    after: UUID | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


class ReplayedBody(Struct, kw_only=True, frozen=True):
    replayed: int
    seen: int  # messages, those that the filter leaves out included
    next: UUID | None  # the `after` of the next page; null: it was the last
