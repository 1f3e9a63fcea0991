"""Why a call is not run. Shedding answers with the status that the function's policy chose (429 or 503)."""

from __future__ import annotations

from constellation.base.errors import ConstellationError
from constellation.nova.domain.function import CapacityPolicy


class FunctionHalted(ConstellationError):
    """The owner stopped the function."""

    code, http_status = "halted", 403

    def __init__(self, function: str) -> None:
        super().__init__(f"function {function!r} is halted", extras={"function": function})


class Recursion(ConstellationError):
    """The function would call itself, or the chain of calls is too long."""

    code, http_status = "recursion", 508

    def __init__(self, function: str, *, depth: int, reason: str) -> None:
        super().__init__(f"function {function!r}: {reason}", extras={"depth": depth})


class InflightLimit(ConstellationError):
    """As many calls of the function are in hand as its policy lets in."""

    code, http_status, retryable = "inflight_limit", 429, True

    def __init__(self, function: str, policy: CapacityPolicy) -> None:
        super().__init__(
            f"function {function!r}: {policy.max_inflight} calls are in hand already",
            extras={"limit": policy.max_inflight},
            retry_after_s=policy.retry_after_s,
        )
        self.http_status = policy.shed_status_code


class QueueFull(ConstellationError):
    """The line for an instance is as long as the function's policy lets it be."""

    code, http_status, retryable = "queue_full", 429, True

    def __init__(self, function: str, policy: CapacityPolicy) -> None:
        super().__init__(
            f"function {function!r}: {policy.max_queue_depth} calls are in line already",
            extras={"limit": policy.max_queue_depth},
            retry_after_s=policy.retry_after_s,
        )
        self.http_status = policy.shed_status_code


class QueueWaitTimeout(ConstellationError):
    """No instance came free within the time that the function's policy lets calls wait."""

    code, http_status, retryable = "queue_wait_timeout", 429, True

    def __init__(self, function: str, policy: CapacityPolicy) -> None:
        super().__init__(
            f"function {function!r}: no instance came free within {policy.max_queue_wait_s:g} s",
            extras={"limit_s": policy.max_queue_wait_s, "phase": "wait"},
            retry_after_s=policy.retry_after_s,
        )
        self.http_status = policy.shed_status_code


class CometDraining(ConstellationError):
    """Comet is going down; another one, or this one after its restart, takes the call."""

    code, http_status, retryable = "draining", 503, True

    def __init__(self) -> None:
        super().__init__("comet is shutting down and takes no new calls", retry_after_s=1)
