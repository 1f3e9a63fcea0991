"""From a request for a durable call to the job that is written. Pure."""

from __future__ import annotations

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import NewJob
from constellation.rpc.caller import Caller
from constellation.rpc.invoker import AsyncOptions

MAX_ATTEMPTS = 100
MAX_BACKOFF_BASE_MS, MAX_BACKOFF_MS = 3_600_000, 86_400_000
MAX_KEY_CHARS, MAX_KEY_TTL_S = 256, 604_800
MAX_SOURCE_CHARS = 128


def new_job(
    caller: Caller, function: Function, payload: bytes, options: AsyncOptions, *, is_durable: bool = False
) -> NewJob:
    """Return the job of a durable call; its runs carry the depth and the chain of the call that asks for it.

    Each run of a job asks for what its call asked for, so an alias may lead it elsewhere by then. An execution stays with
    the version that it begins with: a run of other code would take other steps than those on record. Which that is the
    transaction that begins it says: what is known here may be a second old.

    Raises:
        InvalidRequest: an option is out of range; `field` names it.
    """
    _check("max_attempts", options.max_attempts, MAX_ATTEMPTS)
    _check("backoff_base_ms", options.backoff_base_ms, MAX_BACKOFF_BASE_MS)
    _check("backoff_max_ms", options.backoff_max_ms, MAX_BACKOFF_MS)
    _check("idempotency_ttl_s", options.idempotency_ttl_s, MAX_KEY_TTL_S)
    if len(options.idempotency_key) > MAX_KEY_CHARS or "\0" in options.idempotency_key:
        raise InvalidRequest(f"at most {MAX_KEY_CHARS} characters, none of them NUL", field="idempotency_key")
    if len(options.source) > MAX_SOURCE_CHARS or not options.source.isprintable():
        raise InvalidRequest(f"at most {MAX_SOURCE_CHARS} printable characters", field="source")
    return NewJob(
        tenant=function.tenant,
        namespace=function.namespace,
        function_name=function.name,
        payload=payload,
        subject=caller.identity.subject,
        source=options.source or "api",
        max_attempts=options.max_attempts,
        backoff_base_s=options.backoff_base_ms / 1000,
        backoff_max_s=options.backoff_max_ms / 1000,
        idempotency_key=options.idempotency_key or None,
        idempotency_ttl_s=float(options.idempotency_ttl_s),
        call_depth=caller.context.depth,
        call_chain=caller.context.chain,
        is_durable=is_durable,
        qualifier=caller.context.qualifier,
    )


def _check(field: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InvalidRequest(f"{field} must be 1 to {most}, not {value}", field=field)
