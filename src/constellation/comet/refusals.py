"""Why a call is not run. Shedding answers with the status that the function's policy chose (429 or 503)."""

from __future__ import annotations

from constellation.base.errors import ConstellationError
from constellation.nova.domain.function import CapacityPolicy, Function
from constellation.nova.domain.quota import ABOUT, Dimension, whole_seconds


class FunctionHalted(ConstellationError):
    """The owner stopped the function."""

    code, http_status = "halted", 403

    def __init__(self, function: str) -> None:
        super().__init__(f"function {function!r} is halted", extras={"function": function})


class IngressDenied(ConstellationError):
    """The function's policy does not let the call in."""

    code, http_status = "ingress_denied", 403

    def __init__(self, function: str, *, reason: str, caller: str) -> None:
        super().__init__(f"function {function!r}: {reason}", extras={"function": function, "caller": caller})


class CompilePending(ConstellationError):
    """The function's first code is being built; there is nothing to run before that is done."""

    code, http_status, retryable = "compile_pending", 409, True

    def __init__(self, function: str, *, version: int) -> None:
        super().__init__(
            f"function {function!r}: version {version}, its first, is still being built",
            extras={"function": function, "version": version},
            retry_after_s=1,
        )


class CompileFailed(ConstellationError):
    """The function has no code that could be built."""

    code, http_status = "compile_failed", 422

    def __init__(self, function: str, *, version: int, error: str) -> None:
        super().__init__(
            f"function {function!r}: version {version} could not be built: {error}",
            extras={"function": function, "version": version, "error": error},
        )


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


class BreakerOpen(ConstellationError):
    """Too many of the function's last calls failed; until it has rested, or while probes are out, none is run."""

    code, http_status, retryable = "breaker_open", 503, True

    def __init__(self, function: str, *, left_s: float) -> None:
        super().__init__(
            f"function {function!r}: its calls failed too often; it is tried again in {max(left_s, 0.0):.1f} s",
            extras={"function": function, "left_s": max(left_s, 0.0)},
            retry_after_s=whole_seconds(left_s),
        )


class KeyRateLimit(ConstellationError):
    """The caller's credential made as many calls as it may for now."""

    code, http_status, retryable = "rate_limited", 429, True

    def __init__(self, subject: str, *, rate_per_s: float, left_s: float) -> None:
        super().__init__(
            f"{subject} may make {rate_per_s:g} calls a second",
            extras={"rate_per_s": rate_per_s, "left_s": max(left_s, 0.0)},
            retry_after_s=whole_seconds(left_s),
        )


class TenantRateLimit(ConstellationError):
    """All callers of a tenant together did as much as its limits let them, for now."""

    code, http_status, retryable = "tenant_rate_limited", 429, True

    def __init__(self, dimension: Dimension, *, left_s: float) -> None:
        super().__init__(
            f"the tenant did as much as it may for now ({ABOUT[dimension]})",
            extras={"dimension": dimension.value, "left_s": max(left_s, 0.0)},
            retry_after_s=whole_seconds(left_s),
        )


class TenantInflightLimit(ConstellationError):
    """As many calls of the tenant's functions are in hand as its limits let in."""

    code, http_status, retryable = "tenant_inflight_limit", 429, True

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"{limit} calls of the tenant are in hand already ({ABOUT[Dimension.CONCURRENT_INVOCATIONS]})",
            extras={"dimension": Dimension.CONCURRENT_INVOCATIONS.value, "limit": limit},
            retry_after_s=1,
        )


class CometDraining(ConstellationError):
    """Comet is going down; another one, or this one after its restart, takes the call."""

    code, http_status, retryable = "draining", 503, True

    def __init__(self) -> None:
        super().__init__("comet is shutting down and takes no new calls", retry_after_s=1)


def refuse_unbuilt(function: Function) -> None:
    """Let a function with code that runs through.

    Raises:
        CompilePending, CompileFailed: none was built yet.
    """
    pending = function.pending
    if function.is_runnable or pending is None:
        return
    if pending.error is None:
        raise CompilePending(function.name, version=pending.version)
    raise CompileFailed(function.name, version=pending.version, error=pending.error)
