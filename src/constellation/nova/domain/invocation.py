"""The record of one call, as the log keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationRecord:
    """One row of `invocations`; `id` is the request id (UUIDv7)."""

    tenant: str
    namespace: str
    id: UUID
    function_id: UUID
    function_name: str
    function_version: int
    runtime: str
    node: str
    started_at: datetime
    duration_ms: float
    queued_ms: float
    cold_start: bool
    status: str  # "ok", "function_error", or the problem's code
    error: str | None  # JSON {type, message, stack} or the problem
    input_bytes: int
    output_bytes: int
    log: str  # what the handler printed, bounded
    log_truncated: bool
    source: str  # "http", "async", "schedule", "event"
