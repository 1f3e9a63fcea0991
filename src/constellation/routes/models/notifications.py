"""Bodies of notifications."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class NotificationBody(Struct, kw_only=True, frozen=True):
    id: UUID
    namespace: str  # empty: of the tenant as a whole, or the platform
    kind: str  # build_failed, canary_rolled_back, breaker_opened, call_dead, delivery_dead, schedule_failed, ...
    severity: str  # info, warning or error
    title: str
    subject: str  # the function, key or whatever it is about
    detail: str  # of the last time
    count: int  # how often it happened
    first_at: datetime
    last_at: datetime
    is_read: bool  # by the caller, since it happened last
    read_at: datetime | None
    seq: int  # moves each time it happens; for `after` of the stream


class UnreadBody(Struct, kw_only=True, frozen=True):
    unread: int


class MarkedBody(Struct, kw_only=True, frozen=True):
    updated: int
