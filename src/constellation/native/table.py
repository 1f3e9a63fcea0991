"""Whatever counts or queues, once for both paths: functions, calls, instances, buckets, breakers.

Handles are plain integers; one of something that is no more raises `OSError` (ESTALE). Times are nanoseconds of one
clock that never goes back, passed in by the caller. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from constellation.native import _core
from constellation.native.errors import checked
from constellation.native.table_values import (
    Ask,
    Breaker,
    CallHandle,
    Effect,
    EffectKind,
    FunctionHandle,
    FunctionRow,
    FunctionStats,
    Grant,
    MemberHandle,
    NodeStats,
    State,
    Status,
    TableOptions,
    Taker,
    Verdict,
)
from constellation.native.tenants import TenantLedger

_lib, _ffi = _core.lib, _core.ffi

_KINDS = {int(kind): kind for kind in EffectKind}  # calling the enum costs more than the rest of an effect
_GRANTED: int = _lib.CT_LEASE_GRANTED
_LISTED = 256  # functions a C call


class Table(TenantLedger):
    """One `ct_table`. Closed by `close`, or with the object."""

    def __init__(self, options: TableOptions) -> None:
        bounds = [_ns(bound) for bound in options.bucket_bounds_s]
        bounds_c = _ffi.new("uint64_t[]", bounds)
        made = _lib.ct_table_new(
            _ffi.new(
                "ct_table_options *",
                {
                    "hash_seed": options.hash_seed,
                    "idle_ttl_ns": _ns(options.idle_ttl_s),
                    "recheck_ns": _ns(options.recheck_s),
                    "max_functions": options.max_functions,
                    "max_instances": options.max_instances,
                    "max_boots": options.max_boots,
                    "max_calls": options.max_calls,
                    "max_buckets": options.max_buckets,
                    "max_identities": options.max_identities,
                    "max_records": options.max_records,
                    "max_meters": options.max_meters,
                    "bucket_count": len(bounds),
                    "bucket_ns": bounds_c,
                },
            )
        )
        if made == _ffi.NULL:
            raise ValueError("a bound of the table is out of range, or there is no memory for it")
        super().__init__(_ffi.gc(made, _lib.ct_table_free), len(bounds) + 1)
        self.options = options
        self._names = {status.name.lower(): int(status) for status in Status}
        self._next_status: int = _lib.CT_STATUS_FIRST_FREE
        for name, number in self._names.items():
            self._name_status(number, name)
        # One of each: every call fills them anew, and nobody keeps them.
        self._ask: Any = _ffi.new("ct_ask *")
        self._is_ask_plain = True  # neither chain nor rate stand in it
        self._verdict: Any = _ffi.new("ct_verdict *")
        self._grant: Any = _ffi.new("ct_grant *")
        self._effect: Any = _ffi.new("ct_effect *")
        self._number: Any = _ffi.new("uint64_t *")

    @property
    def pointer(self) -> Any:
        """For other wrappers of this package; it never leaves it."""
        return self._table

    def close(self) -> None:
        """Free it; nothing else may be called after."""
        _ffi.release(self._table)

    # Statuses.

    def status(self, code: str) -> int:
        """Return the number of a problem's code; the first of an unknown one gets the next free number."""
        number = self._names.get(code)
        if number is None:
            number = Status.OTHER.value
            if self._next_status < Status.OTHER:
                number, self._next_status = self._next_status, self._next_status + 1
                self._name_status(number, code)
            self._names[code] = number
        return number

    def status_names(self) -> dict[int, str]:
        """Return every number's code."""
        return {number: name for name, number in reversed(self._names.items())} | {int(Status.OTHER): "other"}

    # Functions.

    def open(self, *, is_open: bool, now_ns: int) -> None:
        """Let boots begin, or no more."""
        _lib.ct_table_open(self._table, is_open, now_ns)

    def put_function(self, row: FunctionRow, *, now_ns: int) -> FunctionHandle:
        """Make a function.

        Raises:
            TableFull, LengthOverLimit, ValueOutOfRange
        """
        names = [_ffi.from_buffer("uint8_t[]", text.encode()) for text in (row.tenant, row.namespace, row.name)]
        checked("function", _lib.ct_function_put(self._table, _row(row, names), now_ns, self._number))
        return FunctionHandle(self._number[0])

    def update_function(
        self, function: FunctionHandle, row: FunctionRow, *, is_same_sandbox: bool, now_ns: int
    ) -> None:
        """Serve calls by the changed row from now on; instances that no longer fit finish their calls and go."""
        checked("function", _lib.ct_function_update(self._table, function, _row(row, None), is_same_sandbox, now_ns))

    def remove_function(self, function: FunctionHandle, *, now_ns: int) -> None:
        """It is deleted: its line is refused, and nothing is started for it any more."""
        checked("function", _lib.ct_function_remove(self._table, function, now_ns))

    def prewarm(self, function: FunctionHandle, target: int) -> None:
        """Boot until it has `target` instances or as many as it may; as many at once as there is room for."""
        checked("function", _lib.ct_function_prewarm(self._table, function, target))

    def find_function(self, tenant: str, namespace: str, name: str) -> FunctionHandle | None:
        """Return the function that is kept under a name."""
        a, b, c = tenant.encode(), namespace.encode(), name.encode()
        found = _lib.ct_function_find(
            self._table,
            _ffi.from_buffer("uint8_t[]", a),
            len(a),
            _ffi.from_buffer("uint8_t[]", b),
            len(b),
            _ffi.from_buffer("uint8_t[]", c),
            len(c),
        )
        return FunctionHandle(found) if found else None

    def put_alias(
        self, function: FunctionHandle, name: str, shares: Sequence[tuple[FunctionHandle, int]], *, is_sticky: bool
    ) -> None:
        """Have a name of a function stand for some versions by weight; none: it has no such name any more.

        Raises:
            StaleHandle, LengthOverLimit, ValueOutOfRange
        """
        text = name.encode()
        given = _ffi.new("ct_share[]", [{"function": version, "weight": weight} for version, weight in shares])
        result = _lib.ct_alias_put(
            self._table, function, _ffi.from_buffer("uint8_t[]", text), len(text), given, len(shares), is_sticky
        )
        checked("alias", result)

    def pick(self, function: FunctionHandle, name: str, *, key: bytes, number: int) -> FunctionHandle | None:
        """Return the version that a call under a name gets, by its key where the name is sticky, else by `number`.

        None: the function has no such name, or the version is not served any more.
        """
        text = name.encode()
        found = _lib.ct_alias_pick(
            self._table,
            function,
            _ffi.from_buffer("uint8_t[]", text),
            len(text),
            _ffi.from_buffer("uint8_t[]", key),
            len(key),
            number,
        )
        return FunctionHandle(found) if found else None

    def set_refusal(
        self, function: FunctionHandle, code: int, *, detail: int = 0, grpc_status: int, message: bytes, problem: bytes
    ) -> None:
        """Say what the lane answers when it refuses a call with this code and detail; empty texts take it back."""
        checked(
            "refusal",
            _lib.ct_function_set_refusal(
                self._table,
                function,
                code,
                detail,
                grpc_status,
                _ffi.from_buffer("uint8_t[]", message),
                len(message),
                _ffi.from_buffer("uint8_t[]", problem),
                len(problem),
            ),
        )

    def stats(self, function: FunctionHandle) -> FunctionStats:
        """Return one function's counts."""
        out = _ffi.new("ct_function_stats *")
        checked("function", _lib.ct_function_stats_get(self._table, function, out))
        return _stats(out)

    def all_stats(self) -> Iterator[FunctionStats]:
        """Yield the counts of every function with instances, calls or replicas to keep warm."""
        cursor, found = _ffi.new("uint64_t *"), _ffi.new("ct_function_stats[]", _LISTED)
        while count := _lib.ct_function_stats_list(self._table, cursor, found, _LISTED):
            for place in range(count):
                yield _stats(found[place])

    def node_stats(self) -> NodeStats:
        """Return the node's counts."""
        out = _ffi.new("ct_node_stats *")
        _lib.ct_node_stats_get(self._table, out)
        instances = {state: out.instances[state.value] for state in State}
        return NodeStats(instances, out.total, out.waiting, out.leases, out.inflight)

    # Calls.

    def enter(self) -> Verdict | None:
        """Count a call of this node in, or say why not."""
        return self._said() if _lib.ct_node_enter(self._table, self._verdict) else None

    def leave(self) -> None:
        """Count it out."""
        _lib.ct_node_leave(self._table)

    def drain(self) -> None:
        """Let no new calls in; an effect follows when the last one left, unless there is none."""
        _lib.ct_node_drain(self._table)

    def admit(self, function: FunctionHandle, ask: Ask, *, now_ns: int) -> CallHandle | Verdict:
        """Pass a call through the guard chain; a handle is given back with `end`."""
        kept = self._fill(ask)
        refused = _lib.ct_admit(self._table, function, self._ask, now_ns, self._number, self._verdict)
        del kept
        if refused:
            checked("call", refused)
            return self._said()
        call: CallHandle = self._number[0]
        return call

    def check_job(self, function: FunctionHandle, ask: Ask, *, max_payload_bytes: int, now_ns: int) -> Verdict | None:
        """Pass a call that is run later through its part of the chain."""
        kept = self._fill(ask)
        refused = checked(
            "job", _lib.ct_check_job(self._table, function, self._ask, max_payload_bytes, now_ns, self._verdict)
        )
        del kept
        return self._said() if refused else None

    def lease(self, call: CallHandle, *, deadline_ns: int, now_ns: int) -> MemberHandle | Verdict | None:
        """Take a warm instance; None: it is in line, and an effect follows."""
        result = _lib.ct_lease(self._table, call, deadline_ns, now_ns, self._grant, self._verdict)
        if result == _GRANTED:
            member: MemberHandle = self._grant.member
            return member
        checked("lease", result)
        return self._said() if result == _lib.CT_LEASE_REFUSED else None

    def overdue(self, call: CallHandle, *, now_ns: int) -> Verdict | int:
        """Look at a waiter whose time may be over: why it is refused, or when to look again."""
        refused = checked("call", _lib.ct_call_overdue(self._table, call, now_ns, self._number, self._verdict))
        return self._said() if refused else int(self._number[0])

    def give_back(self, call: CallHandle, *, now_ns: int) -> bool:
        """Return a lease whose instance was dead before it got the call; True: the call is in line again."""
        return checked("call", _lib.ct_call_return(self._table, call, now_ns)) == 1

    def end(self, call: CallHandle, status: int, *, is_broken: bool, now_ns: int) -> None:
        """End a call, in whatever state it is."""
        result = _lib.ct_call_end(self._table, call, status, is_broken, now_ns)
        if result:
            checked("call", result)

    def shed(self, code: str) -> None:
        """Count what was refused before the table saw it."""
        _lib.ct_shed(self._table, self.status(code))

    # Instances.

    def booted(self, member: MemberHandle, *, now_ns: int) -> bool:
        """Put an instance on the shelf; False when it came too late and is to be destroyed."""
        return checked("instance", _lib.ct_member_booted(self._table, member, now_ns)) == 0

    def boot_failed(self, member: MemberHandle, status: int, *, now_ns: int) -> None:
        """Have the oldest waiter refused with this status."""
        checked("instance", _lib.ct_member_boot_failed(self._table, member, status, now_ns))

    def died(self, member: MemberHandle, *, now_ns: int) -> None:
        """Take an instance out of use."""
        checked("instance", _lib.ct_member_died(self._table, member, now_ns))

    def gone(self, member: MemberHandle, *, now_ns: int) -> None:
        """Forget an instance whose sandbox is no more."""
        checked("instance", _lib.ct_member_gone(self._table, member, now_ns))

    def set_link(self, member: MemberHandle, link: int) -> None:
        """Keep a word for whoever holds the instance's channel."""
        checked("instance", _lib.ct_member_set_link(self._table, member, link))

    def member_state(self, member: MemberHandle) -> State:
        """Return where an instance is in its life."""
        out = _ffi.new("ct_member_facts *")
        checked("instance", _lib.ct_member_get(self._table, member, out))
        return State(out.state)

    def sweep(self, *, now_ns: int) -> None:
        """Expire idle instances and keep warm what is to be."""
        _lib.ct_sweep(self._table, now_ns)

    def next_effect(self, taker: Taker = Taker.PYTHON) -> Effect | None:
        """Take what is to be done next."""
        if not _lib.ct_effect_next(self._table, taker, self._effect):
            return None
        effect = self._effect
        kind = _KINDS[effect.kind]
        grant = verdict = None
        if kind is EffectKind.GRANT:
            given = effect.grant
            grant = Grant(given.member, given.waited_ns, bool(given.is_cold))
        elif kind is EffectKind.REFUSE:
            said = effect.verdict
            verdict = Verdict(said.code, said.detail, said.http_status, said.retry_after_s, said.limit)
        return Effect(kind, effect.function, effect.member, effect.call, grant, verdict)

    def check(self) -> int:
        """Return 0 when every invariant holds, else a negative number that names one; reads everything."""
        return int(_lib.ct_table_check(self._table))

    # Inside.

    def _name_status(self, number: int, name: str) -> None:
        word = name.encode()
        checked("status", _lib.ct_status_name(self._table, number, _ffi.from_buffer("uint8_t[]", word), len(word)))

    def _said(self) -> Verdict:
        said = self._verdict
        return Verdict(said.code, said.detail, said.http_status, said.retry_after_s, said.limit)

    def _fill(self, ask: Ask) -> tuple[Any, ...] | None:
        """Write a call's facts into `_ask`; what is returned holds the bytes that it points to."""
        to = self._ask
        to.payload_bytes, to.depth, to.taker = ask.payload_bytes, ask.depth, ask.taker
        if not ask.chain and ask.rate_per_s <= 0:
            if not self._is_ask_plain:
                to.rate_per_s, to.chain_len, self._is_ask_plain = 0.0, 0, True
            return None
        self._is_ask_plain = False
        chain, tenant, subject = ",".join(ask.chain).encode(), ask.tenant.encode(), ask.subject.encode()
        kept = tuple(_ffi.from_buffer("uint8_t[]", text) for text in (chain, tenant, subject))
        to.chain, to.chain_len = kept[0], len(chain)
        to.tenant, to.tenant_len = kept[1], len(tenant)
        to.subject, to.subject_len = kept[2], len(subject)
        to.rate_per_s, to.burst = ask.rate_per_s, ask.burst
        return kept


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _row(row: FunctionRow, names: Sequence[Any] | None) -> Any:
    flags = (
        row.is_halted * _lib.CT_FUNCTION_HALTED
        | row.is_suspended * _lib.CT_FUNCTION_SUSPENDED
        | row.is_kept * _lib.CT_FUNCTION_KEPT
        | row.is_isolated * _lib.CT_FUNCTION_ISOLATED
        | row.is_pinned * _lib.CT_FUNCTION_PINNED
        | row.is_guarded * _lib.CT_FUNCTION_GUARDED
    )
    fields = {
        "flags": flags,
        "version": row.version,
        "max_payload_bytes": row.max_payload_bytes,
        "timeout_ns": _ns(row.timeout_s),
        "max_queue_wait_ns": _ns(row.max_queue_wait_s),
        "min_replicas": row.min_replicas,
        "max_replicas": row.max_replicas,
        "instance_concurrency": row.instance_concurrency,
        "max_inflight": row.max_inflight,
        "max_queue_depth": row.max_queue_depth,
        "shed_status": row.shed_status,
        "retry_after_s": row.retry_after_s,
        "breaker": {
            "window_ns": _ns(row.breaker_window_s),
            "open_ns": _ns(row.breaker_open_s),
            "error_percent": row.breaker_error_percent,
            "min_samples": row.breaker_min_samples,
            "probes": row.breaker_probes,
        },
        "meter": row.meter,
        "memory_mb": row.memory_mb,
        "cpu_millis": row.cpu_millis,
    }
    if names is not None:
        for field, data in zip(("tenant", "space", "name"), names, strict=True):
            fields[field], fields[f"{field}_len"] = data, len(data)
    return _ffi.new("ct_function_row *", fields)


def _stats(out: Any) -> FunctionStats:
    return FunctionStats(
        FunctionHandle(out.function),
        out.booting,
        out.idle,
        out.busy,
        out.draining,
        out.dead,
        out.leases,
        out.waiting,
        out.current,
        Breaker(out.breaker),
    )
