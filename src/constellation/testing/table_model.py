"""What the table in C must do, said plainly: every count is recomputed from lists, whatever it costs.

The model is for tests that drive both and demand the same answers and the same effects, in the same order. Its members
are numbered by their boots, its functions and calls by their making.
"""

from __future__ import annotations

from collections import defaultdict

from constellation.native.table_values import (
    CALL_DEPTH_MAX,
    Ask,
    Breaker,
    Detail,
    FunctionRow,
    State,
    Status,
    TableOptions,
    Verdict,
)
from constellation.testing.table_parts import FAILURES, ModelCall, ModelFunction, ModelMember, later
from constellation.testing.table_room import RoomModel, least_recently_used
from constellation.testing.table_tenants import ModelTenant, rate_of

BREAKER_PARTS = 10
CHAIN_NAMES = 64


def ns(seconds: float) -> int:
    """Return whole nanoseconds."""
    return round(seconds * 1e9)


Effect = tuple[str, int] | tuple[str, int, int, bool, int] | tuple[str, int, int, int]


class TableModel(RoomModel):
    """The same operations as `native.table.Table`, without handles."""

    def __init__(self, options: TableOptions) -> None:
        self.options = options
        self.functions: list[ModelFunction] = []  # that exist, in the order in which they became active
        self.asking: list[ModelFunction] = []
        self.active: list[ModelFunction] = []
        self.effects: list[Effect] = []
        self.buckets: dict[tuple[str, str], int] = {}
        self.tenants: defaultdict[str, ModelTenant] = defaultdict(ModelTenant)  # never forgotten
        self.is_open = False
        self._functions = self._members = self._calls = self._tickets = 0

    # Functions.

    def open(self, now_ns: int) -> None:
        self.is_open = True
        self.pump()
        self._keep_warm(now_ns)

    def put_function(self, row: FunctionRow, now_ns: int) -> ModelFunction:
        self._functions += 1
        function = ModelFunction(self._functions, row)
        self.functions.append(function)
        self._settle(function)
        self._keep_warm(now_ns)
        return function

    def update_function(self, function: ModelFunction, row: FunctionRow, now_ns: int, *, is_same: bool) -> None:
        old, function.row = function.row, row
        if not is_same or row.breaker_error_percent == 0 or ns(row.breaker_window_s) != ns(old.breaker_window_s):
            function.breaker.become(Breaker.CLOSED)
        for member in function.members:
            member.version = row.version if is_same and member.is_current else member.version
        if not is_same:
            self._renew(function)
        self._settle(function)
        self.pump(function)
        self._keep_warm(now_ns)

    def remove_function(self, function: ModelFunction) -> None:
        function.is_removed = True
        self._renew(function)
        while function.line:
            self._refuse(function.line[0], Status.NOT_FOUND)
        self._settle(function)
        self.pump()

    def prewarm(self, function: ModelFunction, target: int) -> None:
        if self.is_open and not function.row.is_halted:
            self._boot_ahead(function, min(target - function.current, function.head_room))
        self._settle(function)

    # Calls.

    def admit(self, function: ModelFunction, ask: Ask, now_ns: int) -> ModelCall | Verdict:
        row = function.row
        if len([call for each in self.functions for call in each.calls]) >= self.options.max_calls:
            return Verdict(Status.OVERLOADED, retry_after_s=1, limit=self.options.max_calls)
        verdict = self._check(function, ask, row.max_payload_bytes, now_ns, is_job=False)
        if verdict is not None:
            return verdict
        if 0 < row.max_inflight <= function.leases + len(function.line):
            return Verdict(Status.INFLIGHT_LIMIT, 0, row.shed_status, row.retry_after_s, row.max_inflight)
        breaker = function.breaker
        is_probe = False
        if breaker.state is Breaker.OPEN:
            if now_ns < breaker.until_ns:
                return later(Status.BREAKER_OPEN, breaker.until_ns - now_ns)
            breaker.become(Breaker.HALF_OPEN)
        if breaker.state is Breaker.HALF_OPEN:
            if sum(call.probe_epoch == breaker.epoch for call in function.calls) >= row.breaker_probes:
                return later(Status.BREAKER_OPEN, 0)
            is_probe = True
        self._calls += 1
        call = ModelCall(self._calls, function, breaker.epoch if is_probe else None, breaker.epoch, ask.taker)
        function.calls.append(call)
        self.tenants[row.tenant].enter()
        self._settle(function)
        return call

    def check_job(self, function: ModelFunction, ask: Ask, max_payload_bytes: int, now_ns: int) -> Verdict | None:
        most = min(function.row.max_payload_bytes, max_payload_bytes)
        return self._check(function, ask, most, now_ns, is_job=True)

    def _check(
        self, function: ModelFunction, ask: Ask, max_payload_bytes: int, now_ns: int, *, is_job: bool
    ) -> Verdict | None:
        row = function.row
        if function.is_removed:
            return Verdict(Status.NOT_FOUND)
        if row.is_halted:
            return Verdict(Status.HALTED)
        if row.is_suspended:
            return Verdict(Status.TENANT_SUSPENDED)
        if ask.depth >= CALL_DEPTH_MAX:
            return Verdict(Status.RECURSION, Detail.DEPTH, limit=ask.depth)
        if row.name in [name for name in ask.chain if name][:CHAIN_NAMES]:
            return Verdict(Status.RECURSION, Detail.CYCLE, limit=ask.depth)
        if ask.payload_bytes > max_payload_bytes:
            return Verdict(Status.PAYLOAD_TOO_LARGE, limit=max_payload_bytes)
        left_ns = self._take_token(ask, now_ns) if ask.rate_per_s > 0 else 0
        if left_ns:
            return later(Status.RATE_LIMITED, left_ns)
        inflight = sum(len(each.calls) for each in self.functions if each.row.tenant == row.tenant)
        return self.tenants[row.tenant].refusal(inflight, now_ns, is_job=is_job)

    def _take_token(self, ask: Ask, now_ns: int) -> int:
        interval_ns, depth_ns = rate_of(ask.rate_per_s, ask.burst)
        key = (ask.tenant, ask.subject)
        full_at_ns = min(max(self.buckets.get(key, 0), now_ns), now_ns + depth_ns)
        if full_at_ns - now_ns + interval_ns > depth_ns:
            self.buckets[key] = full_at_ns
            return full_at_ns - now_ns + interval_ns - depth_ns
        self.buckets[key] = full_at_ns + interval_ns
        return 0

    def lease(self, call: ModelCall, deadline_ns: int, now_ns: int) -> ModelMember | Verdict | None:
        function = call.function
        if function.is_removed:
            call.state = "refused"
            return Verdict(Status.NOT_FOUND)
        if function.shelf:
            return self._give(call)
        row = function.row
        held = self.tenants[row.tenant].held
        never = self.beyond(row.tenant, held[0] + row.memory_mb, held[1] + row.cpu_millis)
        if never and not function.current:
            call.state = "refused"
            return Verdict(Status.QUOTA_EXCEEDED, never, retry_after_s=1)
        self._tickets += 1
        call.ticket, call.since_ns, call.deadline_ns = self._tickets, now_ns, deadline_ns
        call.patience_ns = now_ns + ns(row.max_queue_wait_s)
        call.state = "waiting"
        function.line.append(call)
        self.pump(function)
        if max(0, len(function.line) - function.booting * row.instance_concurrency) > row.max_queue_depth:
            self._leave(call)
            return Verdict(Status.QUEUE_FULL, 0, row.shed_status, row.retry_after_s, row.max_queue_depth)
        return None

    def overdue(self, call: ModelCall, now_ns: int) -> Verdict | int:
        row, function = call.function.row, call.function
        if now_ns < min(call.deadline_ns, call.patience_ns):
            return min(call.deadline_ns, call.patience_ns)
        is_covered = function.line.index(call) < function.booting * row.instance_concurrency
        lacks = self.lacks(function) if not is_covered and function.boots_for_calls else Detail.NONE
        if lacks:
            self._leave(call)
            return Verdict(Status.QUOTA_EXCEEDED, lacks, retry_after_s=1)
        if call.deadline_ns <= call.patience_ns or (is_covered and call.deadline_ns <= now_ns):
            self._leave(call)
            return Verdict(Status.TIMEOUT, Detail.INIT if is_covered else Detail.WAIT)
        if not is_covered:
            self._leave(call)
            limit = ns(row.max_queue_wait_s)
            return Verdict(Status.QUEUE_WAIT_TIMEOUT, 0, row.shed_status, row.retry_after_s, limit)
        call.patience_ns = now_ns + ns(self.options.recheck_s)
        return min(call.deadline_ns, call.patience_ns)

    def give_back(self, call: ModelCall, now_ns: int) -> bool:
        function = call.function
        assert call.member is not None
        self.bury(call.member)
        call.state = "admitted"
        waits = call.ticket > 0 and not function.is_removed
        if waits:
            call.state = "waiting"
            function.line.append(call)
            function.line.sort(key=lambda each: each.ticket)
        self._release(call, now_ns, is_broken=False)
        if waits:
            self._serve(function, None, now_ns)
            self.pump(function)
        return waits

    def end(self, call: ModelCall, status: int, now_ns: int, *, is_broken: bool) -> None:
        function = call.function
        was_run = call.was_refused_by_boot or (call.state == "leased" and (is_broken or status != Status.TIMEOUT))
        self._learn(call, status, now_ns, was_run=was_run)
        if call.state == "waiting":
            self._leave(call)
        elif call.state == "leased":
            call.state = "ended"
            self._release(call, now_ns, is_broken=is_broken)
        call.state = "ended"
        function.calls.remove(call)
        self._settle(function)

    def _learn(self, call: ModelCall, status: int, now_ns: int, *, was_run: bool) -> None:
        row, breaker = call.function.row, call.function.breaker
        if row.breaker_error_percent == 0 or call.epoch != breaker.epoch:
            return
        is_bad, is_good = was_run and status in FAILURES, status == Status.OK
        if breaker.state is Breaker.HALF_OPEN:
            call.probe_epoch = None
            if is_bad:
                breaker.become(Breaker.OPEN, now_ns + ns(row.breaker_open_s))
            elif is_good:
                breaker.become(Breaker.CLOSED)
            return
        if not (is_bad or is_good):
            return
        part = now_ns // (ns(row.breaker_window_s) // BREAKER_PARTS)
        breaker.ends.append((part, is_bad))
        breaker.ends = [end for end in breaker.ends if end[0] > part - BREAKER_PARTS]
        bad = sum(end[1] for end in breaker.ends)
        total = len(breaker.ends)
        if is_bad and total >= row.breaker_min_samples and bad * 100 >= row.breaker_error_percent * total:
            breaker.become(Breaker.OPEN, now_ns + ns(row.breaker_open_s))

    # Instances.

    def booted(self, member: ModelMember, now_ns: int) -> bool:
        if not member.is_current:
            self.bury(member)
            self.pump()
            return False
        function = member.function
        function.boot_failures = 0
        member.state, member.idle_since_ns = State.IDLE, now_ns
        function.shelf.append(member)
        self._serve(function, member, now_ns)
        self.pump(function)
        return True

    def boot_failed(self, member: ModelMember, status: int, now_ns: int) -> None:
        function = member.function
        self.bury(member)
        if member.is_current:
            function.boot_failures += 1
            wait_s = min(30.0, 0.5 * 2.0 ** (function.boot_failures - 1))
            function.prewarm_after_ns = now_ns + ns(wait_s)
            if function.line:
                function.line[0].was_refused_by_boot = True
                self._refuse(function.line[0], status, Detail.BOOT)
        self.pump(function)

    def died(self, member: ModelMember) -> None:
        self.bury(member)
        self.pump(member.function)

    def gone(self, member: ModelMember) -> None:
        function = member.function
        self.bury(member)
        for effect in [("boot", member.number), ("retire", member.number)]:
            if effect in self.effects:
                self.effects.remove(effect)
        function.members.remove(member)
        member.is_gone = True
        self._settle(function)
        self.pump(function)

    def sweep(self, now_ns: int) -> None:
        for function in list(self.active):
            spare = function.current - function.kept_warm
            old = [
                m
                for m in function.shelf
                if m.state is State.IDLE and now_ns - m.idle_since_ns >= ns(self.options.idle_ttl_s)
            ]
            old.sort(key=lambda m: m.idle_since_ns)
            for member in old[: max(0, spare)]:
                self.bury(member)
            self.trim(function.row.tenant)
            self._ask(function)
            self._settle(function)
        self.pump()
        self._keep_warm(now_ns)

    # Inside.

    def _give(self, call: ModelCall) -> ModelMember:
        member = call.function.shelf[-1]
        member.calls.append(call)
        call.member, call.state, member.state = member, "leased", State.BUSY
        if len(member.calls) == member.seats:
            call.function.shelf.remove(member)
        return member

    def _serve(self, function: ModelFunction, booted: ModelMember | None, now_ns: int) -> None:
        while function.line and function.shelf:
            call = function.line.pop(0)
            member = self._give(call)
            self.effects.append(("grant", call.number, member.number, member is booted, now_ns - call.since_ns))

    def _release(self, call: ModelCall, now_ns: int, *, is_broken: bool) -> None:
        function, member = call.function, call.member
        call.member = None
        assert member is not None
        member.calls.remove(call)
        if not member.is_gone:
            self._free_seat(member, now_ns, is_broken=is_broken)
            if self.must_yield(function, member):
                self.bury(member)
            else:
                self._serve(function, None, now_ns)
        if self.asking:
            self.pump()

    def _free_seat(self, member: ModelMember, now_ns: int, *, is_broken: bool) -> None:
        if member.state is State.DEAD:
            return
        is_spent = is_broken or member.function.row.is_isolated
        if is_spent and member.state is not State.DRAINING:
            if member in member.function.shelf:
                member.function.shelf.remove(member)
            member.state = State.DRAINING
        if member.state is State.DRAINING:
            if not member.calls:
                self.bury(member)
            return
        if not member.calls:
            member.state, member.idle_since_ns = State.IDLE, now_ns
        if member not in member.function.shelf:
            member.function.shelf.append(member)

    def _leave(self, call: ModelCall) -> None:
        call.function.line.remove(call)
        call.state = "refused"
        if call.function.boots_for_calls == 0 and call.function in self.asking:
            self.asking.remove(call.function)

    def _refuse(self, call: ModelCall, status: int, detail: int = 0) -> None:
        self._leave(call)
        self.effects.append(("refuse", call.number, status, detail))

    def bury(self, member: ModelMember) -> None:
        if member.state is State.DEAD:
            return
        if member in member.function.shelf:
            member.function.shelf.remove(member)
        member.state = State.DEAD
        self.effects.append(("retire", member.number))

    def _renew(self, function: ModelFunction) -> None:
        function.sandbox += 1
        function.boot_failures = function.prewarm_after_ns = 0
        function.shelf.clear()
        for member in function.members:
            if member.state is State.IDLE:
                self.bury(member)
            elif member.state is State.BUSY:
                member.state = State.DRAINING

    def _settle(self, function: ModelFunction) -> None:
        is_active = bool(function.members or function.calls or function.kept_warm)
        if is_active and function not in self.active:
            self.active.append(function)
        drop: Effect = ("drop", function.number)
        if not is_active:
            self.active = [each for each in self.active if each is not function]
            self.asking = [each for each in self.asking if each is not function]
        if not is_active and (function.is_removed or not function.row.is_kept):
            if drop not in self.effects:
                self.effects.append(drop)
        elif drop in self.effects:
            self.effects.remove(drop)

    def _ask(self, function: ModelFunction) -> None:
        if function.boots_for_calls > 0 and function not in self.asking:
            self.asking.append(function)

    def _boot(self, function: ModelFunction) -> None:
        self._members += 1
        row = function.row
        facts = (row.instance_concurrency, row.version, row.memory_mb, row.cpu_millis)
        member = ModelMember(self._members, function, function.sandbox, *facts)
        function.members.append(member)
        self.effects.append(("boot", member.number))

    def pump(self, grown: ModelFunction | None = None) -> None:
        if grown is not None:
            self._ask(grown)
        while self.is_open:
            self.asking = [function for function in self.asking if function.boots_for_calls > 0]
            boots_left = self.options.max_boots - self.count(State.BOOTING)
            fitting = [function for function in self.asking if not self.lacks(function)]
            if not fitting or boots_left <= 0:
                break
            if len(self.members) < self.options.max_instances:
                first = fitting[0]
                self.asking.remove(first)
                self._boot(first)
                self.asking.append(first)
                continue
            wanted = sum(min(function.boots_for_calls, self.room(function)) for function in fitting)
            idle = [member for member in self.members if member.state is State.IDLE]
            if self.count(State.DEAD) >= min(boots_left, wanted) or not idle:
                break
            self.bury(least_recently_used(idle))
        if self.is_open:
            self.make_room()

    def _keep_warm(self, now_ns: int) -> None:
        for function in self.active if self.is_open else ():
            wanted = function.kept_warm - function.current
            if now_ns >= function.prewarm_after_ns and not self._boot_ahead(function, min(wanted, function.head_room)):
                return

    def _boot_ahead(self, function: ModelFunction, boots: int) -> bool:
        for _ in range(boots):
            if self.lacks(function):
                return True
            is_full = len(self.members) >= self.options.max_instances
            if is_full or self.count(State.BOOTING) >= self.options.max_boots:
                return False
            self._boot(function)
        return True
