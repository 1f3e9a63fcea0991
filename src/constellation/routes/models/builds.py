"""Bodies of the build routes."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class BuildSummary(Struct, kw_only=True, frozen=True):
    """How the code that was deployed last is built."""

    id: UUID
    state: str  # pending, compiling, success, failed or cancelled
    error: str | None


class BuildBody(Struct, kw_only=True, frozen=True):
    """One build of one version of a function's code."""

    id: UUID
    tenant: str
    namespace: str
    function: str
    function_id: UUID
    code_version: int
    runtime: str
    handler: str
    state: str  # pending, compiling, success, failed or cancelled
    error: str | None
    attempt: int  # workers that began it
    is_cached: bool  # an equal build made it before
    artifact: str | None  # SHA-256 of the tree that it made
    log_bytes: int
    log_truncated: bool
    created_at: datetime
    started_at: datetime | None  # of the last attempt
    finished_at: datetime | None


class BuildLogPart(Struct, kw_only=True, frozen=True):
    """What a build printed since the part before."""

    text: str
