from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.cron import check_cron, next_run

NEW_YORK = "America/New_York"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def runs(cron: str, zone: str, after: str, count: int) -> list[str]:
    moment, found = at(after), []
    for _ in range(count):
        following = next_run(cron, zone, moment)
        assert following is not None
        moment = following
        found.append(moment.strftime("%Y-%m-%dT%H:%MZ"))
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("*/15 * * * *", "UTC", "2025-03-01T10:07:00+00:00", "2025-03-01T10:15:00+00:00"),
        ("0 9 * * MON-FRI", "Europe/Berlin", "2025-07-04T12:00:00+00:00", "2025-07-07T07:00:00+00:00"),
        ("@hourly", "Asia/Kolkata", "2025-01-01T00:00:00+00:00", "2025-01-01T00:30:00+00:00"),
        ("@daily", "Asia/Tokyo", "2025-01-01T00:00:00+00:00", "2025-01-01T15:00:00+00:00"),
        ("@weekly", "UTC", "2025-01-01T00:00:00+00:00", "2025-01-05T00:00:00+00:00"),
        ("@monthly", "UTC", "2025-01-31T00:00:00+00:00", "2025-02-01T00:00:00+00:00"),
        ("@yearly", "UTC", "2025-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"),
        ("0 0 29 2 *", "UTC", "2025-01-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("0 0 L * *", "UTC", "2025-02-01T00:00:00+00:00", "2025-02-28T00:00:00+00:00"),
        ("@every 10m", "UTC", "2025-01-01T00:03:07+00:00", "2025-01-01T00:13:07+00:00"),
        ("@every 1h30m", NEW_YORK, "2025-03-09T06:30:00+00:00", "2025-03-09T08:00:00+00:00"),
    ],
)
def test_next_run_is_the_first_one_later(cron: str, zone: str, after: str, expected: str) -> None:
    assert next_run(cron, zone, at(after)) == at(expected)


def test_a_run_is_never_the_instant_it_is_asked_from() -> None:
    assert next_run("0 12 * * *", "UTC", at("2025-01-01T12:00:00+00:00")) == at("2025-01-02T12:00:00+00:00")
    assert next_run("0 12 * * *", "UTC", at("2025-01-01T11:59:59.999+00:00")) == at("2025-01-01T12:00:00+00:00")


def test_a_time_that_the_clocks_skip_runs_right_after_the_change() -> None:
    # On 9 March 2025 New York goes from 02:00 EST to 03:00 EDT.
    assert runs("30 2 * * *", NEW_YORK, "2025-03-08T12:00:00+00:00", 2) == ["2025-03-09T07:00Z", "2025-03-10T06:30Z"]


def test_two_skipped_times_run_once() -> None:
    assert runs("0,30 2 * * *", NEW_YORK, "2025-03-08T12:00:00+00:00", 2) == ["2025-03-09T07:00Z", "2025-03-10T06:00Z"]


def test_a_time_that_the_clocks_repeat_runs_once() -> None:
    # On 2 November 2025 New York goes from 02:00 EDT back to 01:00 EST.
    assert runs("30 1 * * *", NEW_YORK, "2025-11-01T12:00:00+00:00", 2) == ["2025-11-02T05:30Z", "2025-11-03T06:30Z"]


def test_asked_in_the_repeated_hour_a_run_lies_still_ahead() -> None:
    asked = at("2025-11-02T06:10:00+00:00")  # 01:10 for the second time
    assert next_run("50 1 * * *", NEW_YORK, asked) == at("2025-11-03T06:50:00+00:00")


def test_hourly_follows_real_time_through_both_changes() -> None:
    assert runs("@hourly", NEW_YORK, "2025-03-09T05:30:00+00:00", 3) == [
        "2025-03-09T06:00Z",
        "2025-03-09T07:00Z",
        "2025-03-09T08:00Z",
    ]
    assert runs("@hourly", NEW_YORK, "2025-11-02T04:30:00+00:00", 3) == [
        "2025-11-02T05:00Z",
        "2025-11-02T06:00Z",
        "2025-11-02T07:00Z",
    ]


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "a b c d e",
        "5-1 * * * *",
        "0 0 31 2 *",
        "@reboot",
        "@every",
        "@every 10",
        "@every 0s",
        "@every 100ms",
        "@every 9999d",
        "@every -5m",
        "@everyday 10m",
        "1,, * * * *",
        "* * * * MON#6",
        "\u0661 * * * *",
    ],
)
def test_a_bad_expression_is_refused_and_named(cron: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_cron(cron, "UTC")
    assert refused.value.field == "cron"


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "America", "localtime", "right/UTC", "a" * 5000]
)
def test_a_bad_zone_is_refused_and_named(zone: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_cron("@daily", zone)
    assert refused.value.field == "time_zone"


_FIELD = st.sampled_from(["*", "*/7", "0", "1", "3-5", "2,4"])


@settings(max_examples=150, deadline=None)
@given(
    fields=st.lists(_FIELD, min_size=5, max_size=5),
    zone=st.sampled_from(["UTC", NEW_YORK, "Europe/Berlin", "Asia/Kolkata", "Africa/Cairo", "Pacific/Apia"]),
    minutes=st.integers(min_value=0, max_value=2 * 365 * 24 * 60),
)
def test_each_run_is_later_than_the_one_before(fields: list[str], zone: str, minutes: int) -> None:
    cron = " ".join(["1" if place in (2, 3) and text == "0" else text for place, text in enumerate(fields)])
    check_cron(cron, zone)
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    for _ in range(3):
        following = next_run(cron, zone, moment)
        assert following is not None
        assert following > moment
        assert following.tzinfo is UTC
        moment = following
