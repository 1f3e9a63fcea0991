"""Pure rules of a schedule: what one run is called, and when the next one is."""

from __future__ import annotations

from datetime import UTC, datetime

from constellation.nova.domain.cron import next_run
from constellation.nova.domain.schedule import Schedule


def run_source(schedule: Schedule) -> str:
    """Return where the schedule's jobs say they come from."""
    return f"schedule/{schedule.id}"


def run_key(schedule: Schedule, due: datetime) -> str:
    """Return the idempotency key of the run at `due`: however often it is submitted, there is one job."""
    return f"{run_source(schedule)}/{due.astimezone(UTC).isoformat()}"


def following_run(schedule: Schedule, *, due: datetime, now: datetime) -> datetime | None:
    """Return the run after the one at `due`, or None when it was the last.

    Runs that went by while nobody looked are made up by the one at `due` alone: the next lies in the future.
    """
    run = next_run(schedule.cron, schedule.time_zone, due)
    if run is None or run > now:
        return run
    return next_run(schedule.cron, schedule.time_zone, now)
