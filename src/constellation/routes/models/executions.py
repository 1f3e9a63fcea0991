"""Bodies of durable executions, and of what functions keep."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from constellation.routes.models.paging import Page


class DurableInvoke(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An execution whose steps are recorded: a run that fails is tried again from its last step on, `max_attempts` times
    without getting on.
    """

    payload: Raw | UnsetType = UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    backoff_base_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 1000
    backoff_max_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 60_000
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    idempotency_ttl_s: Annotated[int, Meta(ge=1, le=604_800)] = 86_400


class ExecutionBody(Struct, kw_only=True, frozen=True):
    id: UUID
    tenant: str
    namespace: str
    function: str
    status: str  # queued, running, suspended, succeeded, failed, cancelled
    source: str
    attempt: int  # of the step that it is at
    max_attempts: int
    resumes_at: datetime | None  # when it is run again, if no event comes before
    version: str  # that it began with, and stays with
    payload: Any
    output: Any
    error: Any
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class StepBody(Struct, kw_only=True, frozen=True):
    seq: int
    kind: str  # run, sleep, event, message
    name: str
    status: str  # waiting, succeeded, failed
    output: Any
    error: Any
    due_at: datetime | None
    started_at: datetime
    finished_at: datetime | None


class ExecutionDetail(ExecutionBody, kw_only=True, frozen=True):
    """An execution and a page of its steps, in order."""

    steps: Page[StepBody]


class EventSent(Struct, kw_only=True, frozen=True):
    id: UUID


class StateKeyBody(Struct, kw_only=True, frozen=True):
    key: str
    version: int
    size_bytes: int
    expires_at: datetime | None
    updated_at: datetime


class StateValueBody(StateKeyBody, kw_only=True, frozen=True):
    value: Any


class StatePut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`if_version`: the version that the key must have; 0: it must not be there."""

    value: Raw
    ttl_s: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    if_version: Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)] | UnsetType = UNSET


class StateWritten(Struct, kw_only=True, frozen=True):
    version: int
