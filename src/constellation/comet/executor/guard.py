"""The guard chain: may this call run now? Pure rules over the function's row and the counts at this instant."""

from __future__ import annotations

from constellation.base.errors import Overloaded, PayloadTooLarge, TenantSuspended
from constellation.comet.refusals import FunctionHalted, InflightLimit, Recursion
from constellation.nova.domain.function import MAX_ASYNC_PAYLOAD_BYTES, MAX_CALL_DEPTH, Function
from constellation.rpc.metadata import CallContext


def check_call(
    function: Function, context: CallContext, *, is_suspended: bool, payload_bytes: int, inflight: int
) -> None:
    """Let a call through to the pool, or raise the first refusal of the chain.

    Args:
        is_suspended: of the function's tenant.
        inflight: calls of this function in hand, without this one.

    Raises:
        TenantSuspended, FunctionHalted, Recursion, PayloadTooLarge, InflightLimit
    """
    check_function(function, context, is_suspended=is_suspended)
    if payload_bytes > function.max_payload_bytes:
        raise PayloadTooLarge(limit_bytes=function.max_payload_bytes)
    if 0 < function.capacity.max_inflight <= inflight:
        raise InflightLimit(function.name, function.capacity)


def check_job(function: Function, context: CallContext, *, is_suspended: bool, payload_bytes: int) -> None:
    """Let a durable call be accepted: what its run would surely be refused for is refused now.

    Raises:
        TenantSuspended, FunctionHalted, Recursion, PayloadTooLarge
    """
    check_function(function, context, is_suspended=is_suspended)
    limit = min(function.max_payload_bytes, MAX_ASYNC_PAYLOAD_BYTES)
    if payload_bytes > limit:
        raise PayloadTooLarge(limit_bytes=limit)


def check_function(function: Function, context: CallContext, *, is_suspended: bool) -> None:
    """The part of the chain that does not depend on the payload."""
    if is_suspended:
        raise TenantSuspended(function.tenant)
    if function.halted:
        raise FunctionHalted(function.name)
    if context.depth >= MAX_CALL_DEPTH:
        raise Recursion(function.name, depth=context.depth, reason=f"the chain of calls is {context.depth} deep")
    if function.name in context.chain:
        raise Recursion(function.name, depth=context.depth, reason="it is in the chain of calls already")


def check_node(*, inflight: int, limit: int) -> None:
    """Bound the calls that one comet has in hand, whatever function they are for; raise `Overloaded`."""
    if inflight >= limit:
        raise Overloaded("comet", limit=limit)
