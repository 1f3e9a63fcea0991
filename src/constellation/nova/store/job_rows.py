"""Jobs as rows, and rows as jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from constellation.nova.domain.job import Job, JobStatus, NewJob, accepted_job
from constellation.nova.store.pool import Record


def columns_of(jobs: Sequence[NewJob], ids: Sequence[UUID], delay_s: float) -> tuple[list[object], ...]:
    """Return the arrays that `insert` takes."""
    return (
        [job.tenant for job in jobs],
        [job.namespace for job in jobs],
        list(ids),
        [job.function_name for job in jobs],
        [job.payload for job in jobs],
        [job.subject for job in jobs],
        [job.source for job in jobs],
        [job.max_attempts for job in jobs],
        [job.backoff_base_s for job in jobs],
        [job.backoff_max_s for job in jobs],
        [delay_s] * len(jobs),
        [job.call_depth for job in jobs],
        [",".join(job.call_chain) for job in jobs],  # names hold no comma; arrays of arrays must be rectangular
        [job.is_durable for job in jobs],
        [job.qualifier for job in jobs],
    )


def accepted(job: NewJob, row: Record) -> Job:
    """Return a job as it stands once the row of `insert` is written."""
    return accepted_job(job, row["id"], run_at=row["run_at"], created_at=row["created_at"])


def job_of(row: Record) -> Job:
    """Return the job that a row is."""
    run_at: datetime = row["run_at"]
    return Job(
        tenant=row["tenant"],
        namespace=row["namespace"],
        id=row["id"],
        function_name=row["function_name"],
        payload=row["payload"],
        status=JobStatus(row["status"]),
        subject=row["subject"],
        source=row["source"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        backoff_base_s=row["backoff_base_s"],
        backoff_max_s=row["backoff_max_s"],
        run_at=run_at,
        request_id=row["request_id"],
        output=row.get("output"),  # a claimed job has none
        error=row["error"],
        duration_ms=row["duration_ms"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        created_at=row["created_at"],
        call_depth=row["call_depth"],
        call_chain=tuple(row["call_chain"]),
        is_durable=row["is_durable"],
        qualifier=row["qualifier"],
    )
