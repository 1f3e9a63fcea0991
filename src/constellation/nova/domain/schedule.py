"""A cron schedule of a function."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One row of `schedules`."""

    tenant: str
    namespace: str
    id: UUID
    function_name: str
    cron: str  # five fields, "@hourly" and its like, or "@every 10m"
    time_zone: str  # IANA
    input: bytes  # JSON
    enabled: bool
    next_run_at: datetime | None  # None: it never runs again, or is disabled
    last_run_at: datetime | None
    last_job_id: UUID | None
    qualifier: str = ""  # the version or alias that it fires; an alias is looked at for each run
    version: int
    created_at: datetime
