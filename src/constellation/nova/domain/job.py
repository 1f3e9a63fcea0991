"""A durable invocation: accepted once, run until it succeeds or its attempts are used up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

DELIVERY = "subscription"  # how the source of a job begins that takes a message to a function


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"  # a durable one


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What is written when a job is accepted."""

    tenant: str
    namespace: str
    function_name: str
    payload: bytes  # JSON, as the caller sent it
    subject: str  # who asked; its runs carry this identity
    source: str = "api"  # or "schedule/<id>", "subscription/<name>"
    max_attempts: int = 3
    backoff_base_s: float = 1.0
    backoff_max_s: float = 60.0
    idempotency_key: str | None = None
    idempotency_ttl_s: float = 86400.0
    call_depth: int = 0
    call_chain: tuple[str, ...] = ()
    is_durable: bool = False  # its steps are on record, and it may wait between two of them
    qualifier: str = ""  # the version or alias that each run asks for; empty: the live version


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is read back."""

    tenant: str
    namespace: str
    id: UUID
    function_name: str
    payload: bytes
    status: JobStatus
    subject: str
    source: str
    attempt: int
    max_attempts: int
    backoff_base_s: float
    backoff_max_s: float
    run_at: datetime
    request_id: UUID | None
    output: bytes | None
    error: bytes | None  # JSON problem or {type, message, stack} of the last attempt
    duration_ms: float | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    call_depth: int
    call_chain: tuple[str, ...]
    is_durable: bool = False
    qualifier: str = ""


def accepted_job(job: NewJob, job_id: UUID, *, run_at: datetime, created_at: datetime) -> Job:
    """Return a job as it stands once it is accepted."""
    return Job(
        tenant=job.tenant,
        namespace=job.namespace,
        id=job_id,
        function_name=job.function_name,
        payload=job.payload,
        status=JobStatus.QUEUED,
        subject=job.subject,
        source=job.source,
        attempt=0,
        max_attempts=job.max_attempts,
        backoff_base_s=job.backoff_base_s,
        backoff_max_s=job.backoff_max_s,
        run_at=run_at,
        request_id=None,
        output=None,
        error=None,
        duration_ms=None,
        started_at=None,
        finished_at=None,
        created_at=created_at,
        call_depth=job.call_depth,
        call_chain=job.call_chain,
        is_durable=job.is_durable,
        qualifier=job.qualifier,
    )
