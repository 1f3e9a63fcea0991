"""The values that pass through the door of the C table: its enums, rows, verdicts and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NewType

from constellation.native import _core

_lib = _core.lib

FunctionHandle = NewType("FunctionHandle", int)
MemberHandle = NewType("MemberHandle", int)
CallHandle = NewType("CallHandle", int)
TenantHandle = NewType("TenantHandle", int)

NEVER_NS = 2**64 - 1
REFUSAL_BYTES_MAX: int = _lib.CT_REFUSAL_BYTES_MAX
CALL_DEPTH_MAX: int = _lib.CT_CALL_DEPTH_MAX


class Status(IntEnum):
    """`enum ct_status`: how a call ended, or why it was refused; its name is the problem's code."""

    OK = _lib.CT_STATUS_OK
    FUNCTION_ERROR = _lib.CT_STATUS_FUNCTION_ERROR
    CANCELLED = _lib.CT_STATUS_CANCELLED
    TIMEOUT = _lib.CT_STATUS_TIMEOUT
    INSTANCE_DIED = _lib.CT_STATUS_INSTANCE_DIED
    OUTPUT_INVALID = _lib.CT_STATUS_OUTPUT_INVALID
    HANDLER_LOAD_FAILED = _lib.CT_STATUS_HANDLER_LOAD_FAILED
    SANDBOX_START_FAILED = _lib.CT_STATUS_SANDBOX_START_FAILED
    RUNTIME_UNAVAILABLE = _lib.CT_STATUS_RUNTIME_UNAVAILABLE
    DRAINING = _lib.CT_STATUS_DRAINING
    OVERLOADED = _lib.CT_STATUS_OVERLOADED
    NOT_FOUND = _lib.CT_STATUS_NOT_FOUND
    HALTED = _lib.CT_STATUS_HALTED
    TENANT_SUSPENDED = _lib.CT_STATUS_TENANT_SUSPENDED
    RECURSION = _lib.CT_STATUS_RECURSION
    PAYLOAD_TOO_LARGE = _lib.CT_STATUS_PAYLOAD_TOO_LARGE
    RATE_LIMITED = _lib.CT_STATUS_RATE_LIMITED
    INFLIGHT_LIMIT = _lib.CT_STATUS_INFLIGHT_LIMIT
    BREAKER_OPEN = _lib.CT_STATUS_BREAKER_OPEN
    QUEUE_FULL = _lib.CT_STATUS_QUEUE_FULL
    QUEUE_WAIT_TIMEOUT = _lib.CT_STATUS_QUEUE_WAIT_TIMEOUT
    INVALID_REQUEST = _lib.CT_STATUS_INVALID_REQUEST
    FORBIDDEN = _lib.CT_STATUS_FORBIDDEN
    UNAUTHENTICATED = _lib.CT_STATUS_UNAUTHENTICATED
    QUOTA_EXCEEDED = _lib.CT_STATUS_QUOTA_EXCEEDED
    TENANT_INFLIGHT_LIMIT = _lib.CT_STATUS_TENANT_INFLIGHT_LIMIT
    TENANT_RATE_LIMITED = _lib.CT_STATUS_TENANT_RATE_LIMITED
    OTHER = _lib.CT_STATUS_OTHER


class Detail(IntEnum):
    """`enum ct_detail`: which of a refusal's wordings."""

    NONE = _lib.CT_DETAIL_NONE
    DEPTH = _lib.CT_DETAIL_DEPTH
    CYCLE = _lib.CT_DETAIL_CYCLE
    INIT = _lib.CT_DETAIL_INIT
    WAIT = _lib.CT_DETAIL_WAIT
    BOOT = _lib.CT_DETAIL_BOOT
    DAY = _lib.CT_DETAIL_DAY
    MEMORY = _lib.CT_DETAIL_MEMORY
    CPU = _lib.CT_DETAIL_CPU


class State(IntEnum):
    """`enum ct_member_state`."""

    BOOTING = _lib.CT_MEMBER_BOOTING
    IDLE = _lib.CT_MEMBER_IDLE
    BUSY = _lib.CT_MEMBER_BUSY
    DRAINING = _lib.CT_MEMBER_DRAINING
    DEAD = _lib.CT_MEMBER_DEAD


class Breaker(IntEnum):
    """`enum ct_breaker_state`."""

    CLOSED = _lib.CT_BREAKER_CLOSED
    OPEN = _lib.CT_BREAKER_OPEN
    HALF_OPEN = _lib.CT_BREAKER_HALF_OPEN


class Taker(IntEnum):
    """`enum ct_taker`: who owns a call."""

    PYTHON = _lib.CT_TAKER_PYTHON
    LANE = _lib.CT_TAKER_LANE


class EffectKind(IntEnum):
    """`enum ct_effect_kind`: what is to be done."""

    BOOT = _lib.CT_EFFECT_BOOT
    RETIRE = _lib.CT_EFFECT_RETIRE
    GRANT = _lib.CT_EFFECT_GRANT
    REFUSE = _lib.CT_EFFECT_REFUSE
    DROP = _lib.CT_EFFECT_DROP
    DRAINED = _lib.CT_EFFECT_DRAINED


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """The bounds of one node."""

    max_instances: int
    max_boots: int  # at a time
    max_calls: int  # in hand
    idle_ttl_s: float
    recheck_s: float = 0.25  # a waiter past its time looks again whether the boot that was to serve it goes on
    max_functions: int = 20_480
    max_buckets: int = 16_384
    max_identities: int = 16_384
    max_records: int = 16_384
    max_meters: int = 1001  # series; one of them is shared by all functions without their own
    bucket_bounds_s: Sequence[float] = ()  # of the histograms, ascending
    hash_seed: int = 0  # results do not depend on it


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRow:
    """What the table knows of a function."""

    tenant: str
    namespace: str
    name: str
    is_halted: bool = False
    is_suspended: bool = False
    is_kept: bool = True  # found by its name; else it goes when nothing is left of it
    is_isolated: bool = False  # an instance serves no second call
    is_pinned: bool = False  # not found by its name: aliases lead to it
    is_guarded: bool = False  # who may call it is for Python to say
    version: int = 0
    max_payload_bytes: int
    timeout_s: float = 30.0
    min_replicas: int = 0
    max_replicas: int = 10
    instance_concurrency: int = 1
    max_inflight: int = 0
    max_queue_depth: int = 1000
    max_queue_wait_s: float = 30.0
    shed_status: int = 429
    retry_after_s: int = 1
    breaker_error_percent: int = 0
    breaker_min_samples: int = 20
    breaker_window_s: float = 10.0
    breaker_open_s: float = 5.0
    breaker_probes: int = 1
    meter: int = 0
    memory_mb: int = 0  # of one instance
    cpu_millis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """What all functions of a tenant may in all. 0: any number; a burst of 0: one second's worth."""

    calls_per_s: float = 0.0
    calls_burst: int = 0
    publishes_per_s: float = 0.0
    publishes_burst: int = 0
    max_inflight: int = 0
    calls_until: int | None = None  # no call is let in once that many were, as its stats count them
    is_quota_daily: bool = False  # a refusal says so
    max_memory_mb: int = 0  # of all its instances and what it holds beside them
    max_cpu_millis: int = 0
    quota_ends_ns: int = 0  # when there will be more


class TenantStats(NamedTuple):
    """What a tenant did since the table got to know it."""

    tenant: TenantHandle
    calls: int  # let in
    inflight: int
    functions: int  # that the table has of it
    memory_mb: int  # of its instances, until they are gone, and what it holds beside them
    cpu_millis: int


class Ask(NamedTuple):
    """The facts of one call that the guard chain looks at; a tuple because each call makes one."""

    payload_bytes: int
    tenant: str
    subject: str
    rate_per_s: float = 0.0
    burst: int = 0
    depth: int = 0
    chain: tuple[str, ...] = ()
    taker: int = 0  # enum Taker


class Verdict(NamedTuple):
    """A refusal and the facts of its wording."""

    code: int
    detail: int = 0
    http_status: int = 0
    retry_after_s: int = 0
    limit: int = 0


class Grant(NamedTuple):
    """A lease."""

    member: MemberHandle
    waited_ns: int
    is_cold: bool


class Effect(NamedTuple):
    """Something to be done; which fields mean something is told by its kind."""

    kind: EffectKind
    function: FunctionHandle
    member: MemberHandle
    call: CallHandle
    grant: Grant | None
    verdict: Verdict | None


class FunctionStats(NamedTuple):
    """A function's instances by state, and its calls."""

    function: FunctionHandle
    booting: int
    idle: int
    busy: int
    draining: int
    dead: int
    leases: int
    waiting: int
    current: int
    breaker: Breaker


class NodeStats(NamedTuple):
    """The node's instances by state, and its calls."""

    instances: dict[State, int]
    total: int
    waiting: int
    leases: int
    inflight: int


class Meter(NamedTuple):
    """Counts of one series; `buckets` as upper bounds have them, not cumulative, the unbounded one last."""

    statuses: tuple[int, ...]
    buckets: tuple[int, ...]
    duration_ns: int
    cold_starts: int


class Totals(NamedTuple):
    """Counts of the node."""

    shed: tuple[int, ...]
    wait_buckets: tuple[int, ...]
    wait_ns: int
    calls: int
    cold_starts: int


class Identity(NamedTuple):
    """What a verified token stands for."""

    tenant: str
    namespace: str
    subject: str
    may_invoke: bool
    expires_at_s: int
    rate_per_s: float = 0.0
    burst: int = 0
    rule: bytes = b""  # which functions it may invoke; empty: all


class Record(NamedTuple):
    """One call that the lane ran."""

    request_id: bytes
    function: FunctionHandle
    version: int
    started_at_us: int
    duration_ns: int
    queued_ns: int
    input_bytes: int
    output_bytes: int
    status: int
    is_cold: bool
    is_log_truncated: bool
    log: bytes
    error: bytes
    source: bytes
