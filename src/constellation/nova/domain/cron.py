"""When a schedule runs next: five cron fields, "@hourly" and its like, or "@every 10m", in an IANA time zone.

Around a change of the clocks the rule is Debian cron's: a job at a fixed time that the change skips runs right after
it, one that the change repeats runs once; jobs with "*" in the minute or hour follow real time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from constellation.base.errors import InvalidRequest
from constellation.base.units import format_duration, parse_duration

SHORTEST_EVERY_S = 1.0  # chosen: below it a queue of one's own is the better tool
LONGEST_EVERY_S = 366 * 86400.0

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every"
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
# They lie among the zones on some systems and are none: names of the host's own choice, or zones with leap seconds.
_NO_ZONES = ("localtime", "posixrules", "Factory", "posix/", "right/")


def check_cron(cron: str, time_zone: str) -> None:
    """Let a schedule's expression and zone through.

    Raises:
        InvalidRequest: with `field` "cron" or "time_zone", saying what is wrong.
    """
    _zone(time_zone)
    text = cron.strip()
    if _is_every(text):
        _every(text)
        return
    fields = _fields(text)
    try:
        CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise InvalidRequest(f"cron {cron!r}: {str(error).lower()}", field="cron") from error


def next_run(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """Return the first run later than `after`, in UTC, or None when there is none within 50 years.

    "@every" counts from `after`: pass the instant of the last run, or of the schedule's creation.

    Args:
        cron: as `check_cron` accepts it.
        time_zone: IANA name; "@every" does not depend on it.
        after: an aware instant.

    Raises:
        InvalidRequest: as `check_cron`.
    """
    text = cron.strip()
    zone = _zone(time_zone)
    if _is_every(text):
        return after.astimezone(UTC) + _every(text)
    floor = after.astimezone(UTC)
    try:
        runs = CronSim(_fields(text), floor.astimezone(zone))
    except CronSimError as error:
        raise InvalidRequest(f"cron {cron!r}: {str(error).lower()}", field="cron") from error
    for run in runs:
        # In the hour that is repeated the library answers with the first pass, which may be over already.
        instant = run.astimezone(UTC)
        if instant > floor:
            return instant
    return None


def _is_every(text: str) -> bool:
    return text.split(maxsplit=1)[:1] == [_EVERY]


def _every(text: str) -> timedelta:
    try:
        seconds = parse_duration(text.removeprefix(_EVERY))
    except ValueError as error:
        raise InvalidRequest(f"cron {text!r}: {error}", field="cron") from error
    if not SHORTEST_EVERY_S <= seconds <= LONGEST_EVERY_S:
        low, high = format_duration(SHORTEST_EVERY_S), format_duration(LONGEST_EVERY_S)
        raise InvalidRequest(f"cron {text!r}: the interval must lie between {low} and {high}", field="cron")
    return timedelta(seconds=seconds)


def _fields(text: str) -> str:
    if text.startswith("@"):
        fields = _NAMED.get(text.lower())
        if fields is None:
            names = ", ".join((*_NAMED, f"{_EVERY} DURATION"))
            raise InvalidRequest(f"cron {text!r}: the names are {names}", field="cron")
        return fields
    count = len(text.split())
    if count != 5:
        raise InvalidRequest(
            f"cron {text!r} has {count} fields; write five: minute hour day-of-month month day-of-week", field="cron"
        )
    return text


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    if _ZONE.fullmatch(name) and not name.startswith(_NO_ZONES):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise _unknown_zone(name) from error
    raise _unknown_zone(name)


def _unknown_zone(name: str) -> InvalidRequest:
    return InvalidRequest(f"{name[:80]!r} is not an IANA time zone such as Europe/Berlin", field="time_zone")
