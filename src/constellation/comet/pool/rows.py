"""What the table is told of a function, and whether a change needs new sandboxes. Pure."""

from __future__ import annotations

from constellation.native.table_values import FunctionRow
from constellation.nova.domain.function import Function, Mode


def same_sandbox(a: Function, b: Function) -> bool:
    """Can an instance of `a` serve calls of `b`? Policies may differ; what the sandbox is made of may not."""
    return (
        a.id == b.id
        and a.code_version == b.code_version
        and a.code_hash == b.code_hash
        and a.runtime == b.runtime
        and a.handler == b.handler
        and a.memory_mb == b.memory_mb
        and a.cpu_millis == b.cpu_millis
        and a.max_pids == b.max_pids
        and a.instance_concurrency == b.instance_concurrency
        and a.mode == b.mode
        and a.env == b.env
        and a.preload == b.preload
        and a.layers == b.layers
        and a.mounts == b.mounts
        and a.backend == b.backend
        and a.network == b.network
    )


def version_of(made: Function, now: Function) -> int:
    """Return the version that an instance of `made` runs: one that can serve the newer row is of that."""
    return now.live_version if made is now or same_sandbox(made, now) else made.live_version


def row_of(function: Function, *, is_suspended: bool, is_kept: bool, meter: int) -> FunctionRow:
    """Compile the static part of a function's policy into the table's row.

    Args:
        is_suspended: of its tenant.
        is_kept: the row is kept fresh, so calls may find the function by its name.
        meter: the series that counts its calls.
    """
    policy = function.capacity
    # Nothing is kept warm of a suspended tenant, nor of a version beside the live one that is not served any more.
    is_served = not is_suspended and (is_kept or not function.pin)
    return FunctionRow(
        tenant=function.tenant,
        namespace=function.namespace,
        name=function.name,
        is_halted=function.halted,
        is_suspended=is_suspended,
        is_kept=is_kept and function.is_runnable,  # who finds nothing asks Python, which knows why
        is_isolated=function.mode is Mode.ISOLATED,
        is_pinned=function.pin > 0,
        is_guarded=function.ingress.is_restricting,
        version=function.live_version,
        max_payload_bytes=function.max_payload_bytes,
        timeout_s=function.timeout_s,
        min_replicas=function.min_replicas if is_served and function.is_runnable else 0,
        max_replicas=function.max_replicas,
        instance_concurrency=function.instance_concurrency,
        max_inflight=policy.max_inflight,
        max_queue_depth=policy.max_queue_depth,
        max_queue_wait_s=policy.max_queue_wait_s,
        shed_status=policy.shed_status_code,
        retry_after_s=policy.retry_after_s,
        breaker_error_percent=policy.breaker_error_percent,
        breaker_min_samples=policy.breaker_min_samples,
        breaker_window_s=policy.breaker_window_s,
        breaker_open_s=policy.breaker_open_s,
        breaker_probes=policy.breaker_probes,
        meter=meter,
        memory_mb=function.memory_mb,
        cpu_millis=function.cpu_millis,
    )
