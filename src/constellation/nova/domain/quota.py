"""What a tenant may use: the dimensions, a limit in each, and the error of who is at one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import ceil

from constellation.base.errors import ConstellationError, InvalidRequest

DEFAULT_TIER = "standard"  # of new tenants; that of the default tenant has no limits
MAX_VALUE = 1e15  # chosen: whole numbers up to there are exact in a float
MAX_BURST = 1_000_000


class Dimension(StrEnum):
    """What is limited."""

    INVOCATIONS_PER_S = "invocations_per_s"
    KEY_INVOCATIONS_PER_S = "key_invocations_per_s"
    INVOCATIONS_PER_DAY = "invocations_per_day"
    INVOCATIONS_PER_MONTH = "invocations_per_month"
    CONCURRENT_INVOCATIONS = "concurrent_invocations"
    PUBLISHES_PER_S = "publishes_per_s"
    QUEUE_DEPTH = "queue_depth"
    FUNCTIONS = "functions"
    MEMORY_MB = "memory_mb"
    VCPU_MILLI = "vcpu_milli"
    DATABASE_MB = "database_mb"


RATES = frozenset({Dimension.INVOCATIONS_PER_S, Dimension.KEY_INVOCATIONS_PER_S, Dimension.PUBLISHES_PER_S})
PERIODS = (Dimension.INVOCATIONS_PER_DAY, Dimension.INVOCATIONS_PER_MONTH)
# A rate of 0 would let nothing through ever again, and one call at a time is the least there is: suspend the tenant then.
_ABOVE_ZERO = RATES | {Dimension.CONCURRENT_INVOCATIONS}
ABOUT: Mapping[Dimension, str] = {
    Dimension.INVOCATIONS_PER_S: "calls of its functions a second, on each comet",
    Dimension.KEY_INVOCATIONS_PER_S: "calls a second by each of its API keys, on each comet; a key's own rate may be lower",
    Dimension.INVOCATIONS_PER_DAY: "calls of its functions in a calendar day (UTC)",
    Dimension.INVOCATIONS_PER_MONTH: "calls of its functions in a calendar month (UTC)",
    Dimension.CONCURRENT_INVOCATIONS: "calls of its functions at a time, on each comet",
    Dimension.PUBLISHES_PER_S: "messages a second, on each comet",
    Dimension.QUEUE_DEPTH: "durable calls and deliveries that wait or run",
    Dimension.FUNCTIONS: "functions in all its namespaces",
    Dimension.MEMORY_MB: "memory of all its functions' instances and sandboxes, in MiB, on each comet",
    Dimension.VCPU_MILLI: "CPU of all its functions' instances and running sandboxes, in thousandths of a core, on each comet",
    Dimension.DATABASE_MB: "size of each of its databases on the platform's own server, in MiB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit in one dimension."""

    dimension: Dimension
    value: float | None  # None: none
    burst: int = 0  # of a rate: at once after a quiet time; 0: one second's worth
    is_own: bool = False  # of the tenant, not of its tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Limits that many tenants have."""

    name: str
    description: str
    limits: tuple[Limit, ...]
    created_at: datetime
    updated_at: datetime


class QuotaExceeded(ConstellationError):
    """The tenant uses as much as it may."""

    code, http_status, retryable = "quota_exceeded", 429, True

    def __init__(
        self,
        dimension: Dimension,
        *,
        used: float | None = None,
        limit: float | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        facts = {"dimension": dimension.value, "used": used, "limit": limit}
        most = "" if limit is None else f" of {limit:g}"
        wanted = "" if used is None else f"; this would make it {used:g}"
        super().__init__(
            f"the tenant is at its quota{most} ({ABOUT[dimension]}){wanted}",
            extras={name: value for name, value in facts.items() if value is not None},
            retry_after_s=retry_after_s,
        )


def check_dimension(text: str) -> Dimension:
    """Return the dimension of a name; dashes do for underscores."""
    try:
        return Dimension(text.replace("-", "_"))
    except ValueError:
        raise InvalidRequest(
            f"dimension {text[:80]!r} must be one of {', '.join(Dimension)}", field="dimension"
        ) from None


def check_limit(limit: Limit) -> Limit:
    """Return a limit that may be set. Raises `InvalidRequest`."""
    name, value = limit.dimension, limit.value
    if value is not None and not 0 <= value <= MAX_VALUE:
        raise InvalidRequest(f"{name} must be from 0 to {MAX_VALUE:g}", field="limit")
    if value == 0 and name in _ABOVE_ZERO:
        raise InvalidRequest(f"{name} must be above 0; suspend the tenant to stop its calls", field="limit")
    if value is not None and name not in RATES and value != int(value):
        raise InvalidRequest(f"{name} must be a whole number", field="limit")
    if limit.burst and (name not in RATES or value is None):
        raise InvalidRequest(f"burst goes with a limit of {' or '.join(sorted(RATES))}", field="burst")
    if not 0 <= limit.burst <= MAX_BURST:
        raise InvalidRequest(f"burst must be from 0 to {MAX_BURST}", field="burst")
    return limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls of a tenant that were let in."""

    in_day: int = 0
    in_month: int = 0

    def of(self, period: Dimension) -> int:
        """Return those of one of `PERIODS`."""
        return self.in_day if period is Dimension.INVOCATIONS_PER_DAY else self.in_month


def period_end(period: Dimension, now: datetime) -> datetime:
    """Return when the day or month (UTC) of an instant is over. `period`: one of `PERIODS`."""
    return month_end(now) if period is Dimension.INVOCATIONS_PER_MONTH else day_end(now)


def day_end(now: datetime) -> datetime:
    """Return when the calendar day (UTC) of an instant is over."""
    now = now.astimezone(UTC)
    return datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)


def month_end(now: datetime) -> datetime:
    """Return when the calendar month (UTC) of an instant is over."""
    now = now.astimezone(UTC)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return datetime(year, month, 1, tzinfo=UTC)


def whole_seconds(left_s: float) -> int:
    """Return a wait as `Retry-After` states it: whole seconds, rounded up, at least one."""
    return max(ceil(left_s), 1)
