"""Bodies of schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Cron = Annotated[str, Meta(min_length=1, max_length=128)]
Qualifier = Annotated[str, Meta(max_length=64)]  # a version's number or an alias; empty: the live version
Zone = Annotated[str, Meta(min_length=1, max_length=64)]


class ScheduleCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Fire a function by the clock: five cron fields, "@hourly" and its like, or "@every 10m"."""

    cron: Cron
    time_zone: Zone = "UTC"
    input: Raw | UnsetType = UNSET
    enabled: bool = True
    qualifier: Qualifier = ""


class ScheduleUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    cron: Cron | UnsetType = UNSET
    time_zone: Zone | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    qualifier: Qualifier | UnsetType = UNSET


class ScheduleBody(Struct, kw_only=True, frozen=True):
    id: UUID
    tenant: str
    namespace: str
    function: str
    cron: str
    time_zone: str
    input: Any
    enabled: bool
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_invocation_id: UUID | None
    qualifier: str  # empty: it fires the live version
    created_at: datetime
