"""When a schedule runs next, and what a run is called."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from constellation.corona.scheduler.plan import following_run, run_key
from constellation.nova.domain.schedule import Schedule


def _schedule(cron: str, zone: str = "UTC") -> Schedule:
    return Schedule(
        tenant="t",
        namespace="n",
        id=UUID(int=7),
        function_name="f",
        cron=cron,
        time_zone=zone,
        input=b"null",
        enabled=True,
        next_run_at=None,
        last_run_at=None,
        last_job_id=None,
        version=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_run_has_one_name_whatever_zone_its_instant_is_written_in():
    name = run_key(_schedule("0 8 * * *"), _at("2026-03-01T08:00:00+01:00"))
    assert name == run_key(_schedule("0 8 * * *"), _at("2026-03-01T07:00:00+00:00"))
    assert name == "schedule/00000000-0000-0000-0000-000000000007/2026-03-01T07:00:00+00:00"
    assert len(name) <= 256


@pytest.mark.parametrize(
    ("cron", "zone", "due", "now", "expected"),
    [
        ("*/5 * * * *", "UTC", "2026-03-01T12:00Z", "2026-03-01T12:00:02Z", "2026-03-01T12:05Z"),
        # Eleven runs went by: the one at `due` stands for all.
        ("*/5 * * * *", "UTC", "2026-03-01T12:00Z", "2026-03-01T12:57Z", "2026-03-01T13:00Z"),
        ("@every 10m", "UTC", "2026-03-01T12:00Z", "2026-03-01T12:00:09Z", "2026-03-01T12:10Z"),
        ("@every 10m", "UTC", "2026-03-01T12:00Z", "2026-03-01T15:01Z", "2026-03-01T15:11Z"),
        # The store's clock is ahead of ours: the due instant is still not run twice.
        ("*/5 * * * *", "UTC", "2026-03-01T12:00Z", "2026-03-01T11:59:58Z", "2026-03-01T12:05Z"),
        # Berlin sets clocks forward on 29 March: 02:30 does not exist and runs right after the gap.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T01:30Z", "2026-03-28T01:30:01Z", "2026-03-29T01:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00Z", "2026-03-29T01:00:01Z", "2026-03-30T00:30Z"),
        # and back on 25 October: 02:30 comes twice and runs once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T00:30Z", "2026-10-24T00:30:01Z", "2026-10-25T00:30Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30Z", "2026-10-25T00:30:01Z", "2026-10-26T01:30Z"),
        # Every half hour follows real time through both.
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30Z", "2026-10-25T00:30:01Z", "2026-10-25T01:00Z"),
        ("*/30 * * * *", "America/New_York", "2026-03-08T06:30Z", "2026-03-08T06:30:01Z", "2026-03-08T07:00Z"),
        # A zone that is not on whole hours.
        ("0 9 * * 1", "Asia/Kathmandu", "2026-03-02T03:15Z", "2026-03-02T03:16Z", "2026-03-09T03:15Z"),
    ],
)
def test_following_run(cron, zone, due, now, expected):
    assert following_run(_schedule(cron, zone), due=_at(due), now=_at(now)) == _at(expected)
