"""What a failed call says about trying again: the one rule that whoever repeats calls goes by."""

from __future__ import annotations

from enum import Enum, auto

from constellation.base.errors import ConstellationError, Unavailable


class Fault(Enum):
    """How a call failed, from the view of somebody who may repeat it."""

    UNDELIVERED = auto()  # nothing reached the other side, for a reason that has nothing to do with the call
    REFUSED = auto()  # the other side answered that it did not begin, and may begin later
    HELD = auto()  # the tenant may not have it run now, however long that is; it did not begin
    FAILED = auto()  # it may have begun; another try may succeed
    PERMANENT = auto()  # the same call fails every time


# Stated before any instance is touched: who we are is not accepted (keys are just being replaced), or no room.
_REFUSING_STATUS = frozenset({401, 429})
# The shed codes stand here because a function's policy may answer them with 503; nothing runs before it is built.
_REFUSING_CODES = frozenset(
    {
        "overloaded",
        "draining",
        "inflight_limit",
        "queue_full",
        "queue_wait_timeout",
        "breaker_open",
        "compile_pending",
    }
)

# What a tenant may not, or not now, is no fault of the call: it waits until the tenant may.
_HOLDING_CODES = frozenset({"tenant_suspended", "tenant_rate_limited", "tenant_inflight_limit", "quota_exceeded"})


def fault_of(error: ConstellationError) -> Fault:
    """Return how `error` bears on another try of the same call."""
    if isinstance(error, Unavailable) and not error.may_have_begun:
        return Fault.UNDELIVERED
    if error.code in _HOLDING_CODES:
        return Fault.HELD
    if error.http_status in _REFUSING_STATUS or error.code in _REFUSING_CODES:
        return Fault.REFUSED
    if error.retryable:
        return Fault.FAILED
    # 501 and 508 (a call chain that is too deep) are as lasting as any 4xx; every other 5xx may be a moment's trouble.
    is_lasting = error.http_status < 500 or error.http_status in (501, 508)
    return Fault.PERMANENT if is_lasting else Fault.FAILED
