"""The table in C against its plain model: the same verdicts, the same effects in the same order, for any history."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constellation.comet.pool.rows import row_of
from constellation.comet.pool.wording import refusal
from constellation.native.table import Table
from constellation.native.table_values import (
    Ask,
    EffectKind,
    FunctionRow,
    State,
    Status,
    TableOptions,
    Taker,
    TenantRow,
    Verdict,
)
from constellation.nova.domain.function import CapacityPolicy, Function, Mode
from constellation.rpc.problems import headers_of
from constellation.testing.table_model import TableModel
from constellation.testing.table_parts import ModelMember

SECOND_NS = 1_000_000_000
STATUSES = [
    Status.OK,
    Status.FUNCTION_ERROR,
    Status.TIMEOUT,
    Status.CANCELLED,
    Status.INSTANCE_DIED,
    Status.OUTPUT_INVALID,
    Status.INVALID_REQUEST,
]
# What a client sees of each refusal: the HTTP status and Retry-After; the rest is as the function's policy says.
STATUS_AND_RETRY = {
    Status.OVERLOADED: (503, 1),
    Status.NOT_FOUND: (404, None),
    Status.HALTED: (403, None),
    Status.TENANT_SUSPENDED: (403, None),
    Status.RECURSION: (508, None),
    Status.PAYLOAD_TOO_LARGE: (413, None),
    Status.RATE_LIMITED: (429, None),
    Status.QUOTA_EXCEEDED: (429, None),
    Status.TENANT_INFLIGHT_LIMIT: (429, 1),
    Status.TENANT_RATE_LIMITED: (429, None),
    Status.BREAKER_OPEN: (503, None),
    Status.TIMEOUT: (504, None),
}
EVENTS = {
    "call": 30,
    "job": 2,
    "end": 22,
    "overdue": 6,
    "return": 2,
    "booted": 14,
    "boot_failed": 3,
    "died": 3,
    "gone": 9,
    "policy": 3,
    "deploy": 2,
    "replace": 1,
    "prewarm": 2,
    "sweep": 4,
    "wait": 4,
    "tenant": 2,
    "publish": 2,
    "hold": 3,
}


class Both:
    """One history, lived by the table and by the model."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.options = TableOptions(
            max_instances=rng.choice((2, 4, 8)),
            max_boots=rng.choice((1, 2, 4)),
            max_calls=24,
            idle_ttl_s=5.0,
            max_functions=64,
            hash_seed=rng.getrandbits(64),
        )
        self.table, self.model = Table(self.options), TableModel(self.options)
        self.now_ns = SECOND_NS
        self.rows: dict[int, Function] = {}
        self.functions: list[tuple] = []  # (handle, the model's) by place; replaced, not removed
        self.by_number: dict[int, int] = {}
        self.members: dict[int, ModelMember] = {}  # by handle
        self.calls: dict[int, object] = {}  # by handle
        self.verdicts: set[int] = set()
        self.tenants: dict[str, int] = {}  # handles of those that were told of
        self.holds: list[tuple[int, str, int, int]] = []  # beside instances: handle, tenant, memory, CPU
        for place in range(3):
            self.functions.append(self.put(place))
        self.table.open(is_open=True, now_ns=self.now_ns)
        self.model.open(self.now_ns)
        self.compare()

    def function(self, place: int) -> Function:
        rng = self.rng
        return Function(
            tenant=f"t{place % 2}",
            namespace="n",
            name=f"f{place}",
            id=UUID(int=place + 1),
            runtime="python",
            handler="main.handler",
            memory_mb=rng.choice((100, 100, 250)),
            cpu_millis=rng.choice((500, 1000)),
            halted=rng.random() < 0.05,
            max_payload_bytes=rng.choice((10, 1000)),
            live_version=rng.randrange(5),
            min_replicas=rng.choice((0, 0, 1, 2)),
            max_replicas=rng.choice((1, 2, 5)),
            instance_concurrency=rng.choice((1, 1, 3)),
            mode=rng.choice((Mode.PROCESS, Mode.PROCESS, Mode.ISOLATED)),
            capacity=CapacityPolicy(
                max_inflight=rng.choice((0, 0, 4)),
                max_queue_depth=rng.choice((1, 1000)),
                max_queue_wait_s=rng.choice((0.5, 30.0)),
                shed_status_code=rng.choice((429, 503)),
                retry_after_s=rng.choice((1, 7)),
                breaker_error_percent=rng.choice((0, 20, 50)),
                breaker_min_samples=rng.choice((1, 4)),
                breaker_window_s=rng.choice((1.0, 10.0)),
                breaker_open_s=rng.choice((0.5, 3.0)),
                breaker_probes=rng.choice((1, 2)),
            ),
        )

    def row(self, place: int, function: Function) -> FunctionRow:
        self.rows[place] = function
        return row_of(function, is_suspended=self.rng.random() < 0.05, is_kept=True, meter=0)

    def words(self, place: int, got: Verdict, ask: Ask) -> None:
        """The refusal as a client sees it, whoever owns the call: code, status and headers are as the policy says."""
        self.verdicts.add(got.code)
        row = self.rows[place]
        error = refusal(got, row, subject=ask.subject, rate_per_s=ask.rate_per_s, budget_s=1.0)
        status, after_s = STATUS_AND_RETRY.get(got.code, (row.capacity.shed_status_code, row.capacity.retry_after_s))
        if got.code in (Status.RATE_LIMITED, Status.TENANT_RATE_LIMITED, Status.QUOTA_EXCEEDED, Status.BREAKER_OPEN):
            after_s = max(1, math.ceil(got.limit / 1e9))
        assert (error.code, error.http_status) == (Status(got.code).name.lower(), status)
        assert headers_of(error) == ({} if after_s is None else {"retry-after": str(after_s)})

    def put(self, place: int) -> tuple:
        row = self.row(place, self.function(place))
        handle = self.table.put_function(row, now_ns=self.now_ns)
        made = self.model.put_function(row, self.now_ns)
        self.by_number[made.number] = handle
        return handle, made

    def ask(self) -> Ask:
        rng = self.rng
        return Ask(
            payload_bytes=rng.choice((0, 10, 11, 1001)) if rng.random() < 0.2 else 2,
            tenant="t",
            subject=rng.choice(("a", "b")),
            rate_per_s=rng.choice((0.0, 0.0, 0.7, 3.0, 1e9)),
            burst=rng.choice((0, 1, 5)),
            depth=rng.choice((0, 31, 32)) if rng.random() < 0.2 else 0,
            chain=rng.choice(((), ("f9",), ("x", "f1"), ("f0", ""), ("", "f2"))) if rng.random() < 0.3 else (),
        )

    def any_call(self, *states: str) -> tuple | None:
        found = [(handle, call) for handle, call in self.calls.items() if not states or call.state in states]
        return self.rng.choice(found) if found else None

    def any_member(self, *states: State) -> tuple | None:
        found = [(handle, member) for handle, member in self.members.items() if not states or member.state in states]
        return self.rng.choice(found) if found else None

    def step(self) -> None:
        self.now_ns += self.rng.randrange(SECOND_NS // 3)
        [event] = self.rng.choices(list(EVENTS), weights=list(EVENTS.values()))
        getattr(self, f"on_{event}")()
        self.compare()

    def on_call(self) -> None:
        place = self.rng.randrange(len(self.functions))
        handle, function = self.functions[place]
        ask = self.ask()
        got = self.table.admit(handle, ask, now_ns=self.now_ns)
        expected = self.model.admit(function, ask, self.now_ns)
        if isinstance(got, Verdict):
            assert got == expected
            self.words(place, got, ask)
            return
        assert not isinstance(expected, Verdict), (got, expected)
        self.calls[got] = expected
        self.lease(got, expected)

    def lease(self, handle: int, call) -> None:
        deadline_ns = self.now_ns + self.rng.choice((1, 20)) * SECOND_NS
        got = self.table.lease(handle, deadline_ns=deadline_ns, now_ns=self.now_ns)
        expected = self.model.lease(call, deadline_ns, self.now_ns)
        if isinstance(got, int):
            assert self.members[got] is expected
        else:
            assert got == expected
            if got is not None:
                self.words_of(call, got)
                self.end(handle, got.code, is_broken=False)

    def words_of(self, call, got: Verdict) -> None:
        for place, (_, function) in enumerate(self.functions):
            if function is call.function:
                self.words(place, got, Ask(0, "t", "a"))

    def on_job(self) -> None:
        handle, function = self.rng.choice(self.functions)
        ask = self.ask()
        got = self.table.check_job(handle, ask, max_payload_bytes=100, now_ns=self.now_ns)
        assert got == self.model.check_job(function, ask, 100, self.now_ns)

    def end(self, handle: int, status: int, *, is_broken: bool) -> None:
        self.table.end(handle, status, is_broken=is_broken, now_ns=self.now_ns)
        self.model.end(self.calls.pop(handle), status, self.now_ns, is_broken=is_broken)

    def on_end(self) -> None:
        found = self.any_call("leased") if self.rng.random() < 0.8 else self.any_call()
        if found:
            self.end(found[0], self.rng.choice(STATUSES), is_broken=self.rng.random() < 0.15)

    def on_overdue(self) -> None:
        if found := self.any_call("waiting"):
            handle, call = found
            got = self.table.overdue(handle, now_ns=self.now_ns)
            assert got == self.model.overdue(call, self.now_ns)
            if isinstance(got, Verdict):
                self.words_of(call, got)
                self.end(handle, got.code, is_broken=False)

    def on_return(self) -> None:
        if found := self.any_call("leased"):
            handle, call = found
            got = self.table.give_back(handle, now_ns=self.now_ns)
            assert got == self.model.give_back(call, self.now_ns)
            if not got:
                self.compare()
                self.lease(handle, call)

    def on_booted(self) -> None:
        if found := self.any_member(State.BOOTING):
            assert self.table.booted(found[0], now_ns=self.now_ns) == self.model.booted(found[1], self.now_ns)

    def on_boot_failed(self) -> None:
        if found := self.any_member(State.BOOTING):
            self.table.boot_failed(found[0], Status.HANDLER_LOAD_FAILED, now_ns=self.now_ns)
            self.model.boot_failed(found[1], Status.HANDLER_LOAD_FAILED, self.now_ns)

    def on_died(self) -> None:
        if found := self.any_member():
            self.table.died(found[0], now_ns=self.now_ns)
            self.model.died(found[1])

    def on_gone(self) -> None:
        found = self.any_member(State.DEAD) if self.rng.random() < 0.9 else self.any_member()
        if found:
            self.table.gone(found[0], now_ns=self.now_ns)
            self.model.gone(found[1])
            del self.members[found[0]]

    def on_policy(self) -> None:
        self.update(is_same=True)

    def on_deploy(self) -> None:
        self.update(is_same=False)

    def update(self, *, is_same: bool) -> None:
        place = self.rng.randrange(len(self.functions))
        handle, function = self.functions[place]
        changed = self.function(place)
        if is_same:
            mode = Mode.ISOLATED if function.row.is_isolated else Mode.PROCESS
            changed = replace(changed, instance_concurrency=function.row.instance_concurrency, mode=mode)
        row = self.row(place, changed)
        self.table.update_function(handle, row, is_same_sandbox=is_same, now_ns=self.now_ns)
        self.model.update_function(function, row, self.now_ns, is_same=is_same)

    def on_replace(self) -> None:
        place = self.rng.randrange(len(self.functions))
        handle, function = self.functions[place]
        self.table.remove_function(handle, now_ns=self.now_ns)
        self.model.remove_function(function)
        assert self.table.find_function(function.row.tenant, "n", f"f{place}") is None
        self.functions[place] = self.put(place)
        assert self.table.find_function(function.row.tenant, "n", f"f{place}") == self.functions[place][0]

    def on_prewarm(self) -> None:
        handle, function = self.rng.choice(self.functions)
        target = self.rng.randrange(0, 6)
        self.table.prewarm(handle, target)
        self.model.prewarm(function, target)

    def on_sweep(self) -> None:
        self.table.sweep(now_ns=self.now_ns)
        self.model.sweep(self.now_ns)

    def on_wait(self) -> None:
        self.now_ns += self.rng.randrange(1, 8) * SECOND_NS

    def on_tenant(self) -> None:
        rng = self.rng
        name = rng.choice(("t0", "t1"))
        model = self.model.tenants[name]
        if name in self.tenants and rng.random() < 0.2:
            self.table.drop_tenant(self.tenants.pop(name))
            self.model.put_tenant(name, None)
            return
        row = TenantRow(
            calls_per_s=rng.choice((0.0, 0.0, 0.9, 20.0)),
            calls_burst=rng.choice((0, 3)),
            publishes_per_s=rng.choice((0.0, 0.5, 7.0)),
            publishes_burst=rng.choice((0, 4)),
            max_inflight=rng.choice((0, 0, 2, 6)),
            calls_until=rng.choice((None, None, model.calls, model.calls + 3)),
            max_memory_mb=rng.choice((0, 0, 100, 300, 700)),
            max_cpu_millis=rng.choice((0, 0, 2000, 5000)),
            is_quota_daily=rng.random() < 0.5,
            quota_ends_ns=self.now_ns + rng.randrange(3 * SECOND_NS),
        )
        self.tenants[name] = self.table.put_tenant(name, row)
        self.model.put_tenant(name, row)

    def on_publish(self) -> None:
        if self.tenants:
            name, handle = self.rng.choice(sorted(self.tenants.items()))
            messages = self.rng.choice((1, 2, 6))
            got = self.table.publish_wait_ns(handle, messages, now_ns=self.now_ns)
            assert got == self.model.tenants[name].publish(messages, self.now_ns)

    def on_hold(self) -> None:
        if self.holds and self.rng.random() < 0.5:
            handle, name, memory_mb, cpu_millis = self.holds.pop(self.rng.randrange(len(self.holds)))
            self.table.unhold(handle, memory_mb=memory_mb, cpu_millis=cpu_millis)
            self.model.unhold(name, memory_mb, cpu_millis)
        elif self.tenants:
            name, handle = self.rng.choice(sorted(self.tenants.items()))
            memory_mb, cpu_millis = self.rng.choice((0, 50, 200)), self.rng.choice((0, 500, 1000))
            is_there = self.rng.random() < 0.3
            got = self.table.hold(handle, memory_mb=memory_mb, cpu_millis=cpu_millis, is_there=is_there)
            assert got == self.model.hold(name, memory_mb, cpu_millis, is_there=is_there)
            if not isinstance(got, Verdict):
                self.holds.append((handle, name, memory_mb, cpu_millis))
                assert self.table.hold_waits(handle, memory_mb=memory_mb, cpu_millis=cpu_millis) is got

    def compare_tenants(self) -> None:
        for name, handle in self.tenants.items():
            model = self.model.tenants[name]
            calls = [call for _, call in self.calls.items() if call.function.row.tenant == name]
            held = self.model.sums(name, self.model.of(name))
            stats = self.table.tenant_stats(handle)
            assert (stats.calls, stats.inflight) == (model.calls, len(calls))
            assert (stats.memory_mb, stats.cpu_millis) == held
        listed = {stats.tenant: stats.calls for stats in self.table.called_tenants()}
        models = self.model.tenants
        grown = {
            handle: models[name].calls
            for name, handle in self.tenants.items()
            if models[name].calls > models[name].listed
        }
        assert listed == grown
        for name in self.tenants:
            models[name].listed = models[name].calls

    def compare(self) -> None:
        self.compare_tenants()
        assert self.table.check() == 0
        numbers = {call.number: handle for handle, call in self.calls.items()}
        handles = {member.number: handle for handle, member in self.members.items()}
        lanes = {call.number for call in self.calls.values() if call.taker == Taker.LANE}
        expected = {taker: [] for taker in Taker}
        for effect in self.model.effects:
            is_lanes = effect[0] in ("grant", "refuse") and effect[1] in lanes
            expected[Taker.LANE if is_lanes else Taker.PYTHON].append(effect)
        self.model.effects.clear()
        for taker in Taker:
            self.compare_effects(taker, expected[taker], numbers, handles)
        for handle, function in self.functions:
            got = self.table.stats(handle)
            assert got.leases == function.leases
            assert got.waiting == len(function.line)
            assert got.current == function.current
            assert got.breaker is function.breaker.state
        for handle, member in self.members.items():
            assert self.table.member_state(handle) is member.state

    def compare_effects(self, taker: Taker, expected: list, numbers: dict, handles: dict) -> None:
        while (effect := self.table.next_effect(taker)) is not None:
            assert expected, effect
            kind, number, *facts = expected.pop(0)
            assert effect.kind is EffectKind[kind.upper()], (effect, kind)
            match effect.kind:
                case EffectKind.BOOT:
                    [member] = [m for m in self.model.members if m.number == number]
                    assert self.by_number[member.function.number] == effect.function
                    self.members[effect.member] = member
                    handles[number] = effect.member
                case EffectKind.RETIRE:
                    assert handles[number] == effect.member
                case EffectKind.GRANT:
                    assert numbers[number] == effect.call
                    assert effect.grant is not None
                    granted = (effect.member, effect.grant.is_cold, effect.grant.waited_ns)
                    assert granted == (handles[facts[0]], facts[1], facts[2])
                case EffectKind.REFUSE:
                    assert numbers[number] == effect.call
                    assert effect.verdict == Verdict(*facts)
                case EffectKind.DROP:
                    assert self.by_number.pop(number) == effect.function
                    self.model.functions = [f for f in self.model.functions if f.number != number]
        assert not expected


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_table_does_what_its_model_does(seed):
    both = Both(random.Random(seed))
    for _ in range(200):
        both.step()


def test_every_refusal_of_the_chain_is_met():
    met: set[int] = set()
    for seed in range(60):
        both = Both(random.Random(seed))
        for _ in range(200):
            both.step()
        met |= both.verdicts
    chain = range(Status.HALTED, Status.QUEUE_FULL)
    assert {Status(code) for code in chain} - met == set()
    assert Status.QUEUE_WAIT_TIMEOUT in met
    assert {Status.QUOTA_EXCEEDED, Status.TENANT_INFLIGHT_LIMIT, Status.TENANT_RATE_LIMITED} <= met


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 600, 300))
def test_long_histories(first):
    for seed in range(first, first + 300):
        both = Both(random.Random(seed))
        for _ in range(60):
            both.step()
