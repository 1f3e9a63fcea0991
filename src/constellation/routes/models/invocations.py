"""Bodies of calls, async invocations, and the invocation log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType


class FunctionError(Struct, kw_only=True, frozen=True):
    type: str
    message: str
    stack: str = ""


class InvokeBody(Struct, kw_only=True, frozen=True):
    """The answer of a call. `error` is set when the handler raised; then `output` is null."""

    request_id: str
    output: Any
    error: FunctionError | None
    duration_ms: float
    cold_start: bool
    version: str


class AsyncInvoke(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A durable call: accepted once, tried until it succeeds or `max_attempts` are used up."""

    payload: Raw | UnsetType = UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    backoff_base_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 1000
    backoff_max_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 60_000
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    idempotency_ttl_s: Annotated[int, Meta(ge=1, le=604_800)] = 86_400


class AsyncInvocationBody(Struct, kw_only=True, frozen=True):
    id: UUID
    tenant: str
    namespace: str
    function: str
    status: str  # queued, running, paused, succeeded, dead
    source: str
    qualifier: str  # the version or alias that each run asks for; empty: the live version
    attempt: int
    max_attempts: int
    run_at: datetime | None
    request_id: UUID | None
    payload: Any
    output: Any
    error: Any
    duration_ms: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RetryAsync(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Redrive of a dead job; its attempts start again from zero."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET


class Purged(Struct, kw_only=True, frozen=True):
    deleted: int


class Redriven(Struct, kw_only=True, frozen=True):
    retried: int


class InvocationBody(Struct, kw_only=True, frozen=True):
    """One call as the log keeps it."""

    id: UUID
    function: str
    function_version: int
    runtime: str
    node: str
    started_at: datetime
    duration_ms: float
    queued_ms: float
    cold_start: bool
    status: str
    error: Any
    input_bytes: int
    output_bytes: int
    source: str


class LogBody(Struct, kw_only=True, frozen=True):
    """What one call printed, and how it ended."""

    id: UUID
    function: str
    started_at: datetime
    duration_ms: float
    status: str
    error: Any
    log: str
    log_truncated: bool


class FunctionStatsBody(Struct, kw_only=True, frozen=True):
    function: str
    idle: int
    busy: int
    booting: int
    inflight: int
    queued: int


class StatsBody(Struct, kw_only=True, frozen=True):
    """The pool of the comet that answers, as the caller's namespace may see it."""

    node: str
    instances: int
    uptime_s: float
    functions: list[FunctionStatsBody]


class BackendBody(Struct, kw_only=True, frozen=True):
    name: str
    available: bool
    reason: str
    is_default: bool
    limits: dict[str, str]
    preload_reason: str = ""  # why modules of `preload` are not imported ahead, when they are not
    egress_reason: str = ""  # why instances reach no network, whatever their functions say
    missing_runtimes: dict[str, str] = {}  # what the others lack here
    sandboxes: tuple[str, ...] = ()  # what interactive sandboxes can there; none: there are none


class BackendsBody(Struct, kw_only=True, frozen=True):
    backends: list[BackendBody]
