"""From the table's verdict to the error that is answered: the one place where a refusal gets its words."""

from __future__ import annotations

from constellation.base.errors import ConstellationError, NotFound, Overloaded, PayloadTooLarge, TenantSuspended
from constellation.comet.backend.contract import CallTimeout
from constellation.comet.refusals import (
    BreakerOpen,
    CometDraining,
    FunctionHalted,
    InflightLimit,
    KeyRateLimit,
    QueueFull,
    QueueWaitTimeout,
    Recursion,
    TenantInflightLimit,
    TenantRateLimit,
)
from constellation.native.table_values import Detail, Status, Verdict
from constellation.nova.domain.function import Function
from constellation.nova.domain.quota import Dimension, QuotaExceeded, whole_seconds

_QUOTAS = {
    Detail.DAY: Dimension.INVOCATIONS_PER_DAY,
    Detail.MEMORY: Dimension.MEMORY_MB,
    Detail.CPU: Dimension.VCPU_MILLI,
}


def node_refusal(verdict: Verdict) -> ConstellationError:
    """Return why the node takes no more calls."""
    return CometDraining() if verdict.code == Status.DRAINING else Overloaded("comet", limit=verdict.limit)


def refusal(
    verdict: Verdict, function: Function, *, subject: str = "", rate_per_s: float = 0.0, budget_s: float = 0.0
) -> ConstellationError:
    """Return the error of a verdict on a call of `function`.

    Args:
        subject, rate_per_s: of the caller, for a verdict on its key.
        budget_s: what the caller had given the call, for one that ran out of it.
    """
    name, limit = function.name, verdict.limit
    match verdict.code:
        case Status.HALTED:
            return FunctionHalted(name)
        case Status.TENANT_SUSPENDED:
            return TenantSuspended(function.tenant)
        case Status.RECURSION if verdict.detail == Detail.DEPTH:
            return Recursion(name, depth=limit, reason=f"the chain of calls is {limit} deep")
        case Status.RECURSION:
            return Recursion(name, depth=limit, reason="it is in the chain of calls already")
        case Status.PAYLOAD_TOO_LARGE:
            return PayloadTooLarge(limit_bytes=limit)
        case Status.RATE_LIMITED:
            return KeyRateLimit(subject, rate_per_s=rate_per_s, left_s=limit / 1e9)
        case Status.QUOTA_EXCEEDED:
            spent = _QUOTAS.get(Detail(verdict.detail), Dimension.INVOCATIONS_PER_MONTH)
            return QuotaExceeded(spent, retry_after_s=whole_seconds(limit / 1e9))
        case Status.TENANT_RATE_LIMITED:
            return TenantRateLimit(Dimension.INVOCATIONS_PER_S, left_s=limit / 1e9)
        case Status.TENANT_INFLIGHT_LIMIT:
            return TenantInflightLimit(limit=limit)
        case Status.INFLIGHT_LIMIT:
            return InflightLimit(name, function.capacity)
        case Status.BREAKER_OPEN:
            return BreakerOpen(name, left_s=limit / 1e9)
        case Status.QUEUE_FULL:
            return QueueFull(name, function.capacity)
        case Status.QUEUE_WAIT_TIMEOUT:
            return QueueWaitTimeout(name, function.capacity)
        case Status.TIMEOUT:
            return CallTimeout(name, after_s=budget_s, phase="init" if verdict.detail == Detail.INIT else "wait")
        case Status.NOT_FOUND:
            return NotFound("function", name)
        case _:
            return Overloaded("comet", limit=limit)
