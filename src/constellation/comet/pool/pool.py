"""The instances of this node: what the table decides is carried out here.

The table in C holds every count and every queue and says what to do (boot, destroy, answer a waiter); this module holds
what the table knows by handle only: rows, sandboxes, callers that wait. Each instance has one task that boots it, waits
for its end and takes it away: a boot outlives the caller that caused it, and nothing is left when the pool is cancelled.
Leasing and returning a warm instance never suspends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, NotFound
from constellation.comet.backend.contract import Backend, Instance, InstanceSpec, SandboxStartFailed
from constellation.comet.pool.rows import row_of, same_sandbox
from constellation.comet.pool.sources import Sources
from constellation.comet.pool.wording import node_refusal, refusal
from constellation.native.table import Table
from constellation.native.table_values import (
    Ask,
    CallHandle,
    Effect,
    EffectKind,
    FunctionHandle,
    FunctionStats,
    MemberHandle,
    Verdict,
)
from constellation.nova.domain.function import Function

log = structlog.get_logger()

DESTROY_GRACE_S = 10.0  # chosen: a backend kills in milliseconds; past this the host itself is in trouble
# Chosen: a timer of the event loop may come this much before the table's own reckoning; it is not asked again at once.
_BOOT_ERRORS = 1024  # chosen: far more than boots fail between two turns of the loop
_TIMER_GRAIN_S = 0.001


@dataclass(slots=True, eq=False)
class Served:
    """A function that the table knows."""

    handle: FunctionHandle
    function: Function
    is_suspended: bool
    is_kept: bool


@dataclass(slots=True, eq=False)
class _Life:
    """What a member's handle stands for: its function's row at the boot, and its sandbox once there is one."""

    function: Function
    end: anyio.CancelScope
    instance: Instance | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """One call's right to one instance, until the call is ended."""

    function: Function  # as it was when the boot was decided
    instance: Instance
    is_cold: bool = False  # the call waited for this instance's boot
    waited_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Ticket:
    """A caller that waits."""

    answered: anyio.Event = field(default_factory=anyio.Event)
    lease: Lease | None = None
    error: ConstellationError | None = None


class Pool:
    """The pool of one node. `run` must be running for anything to boot."""

    def __init__(
        self,
        backend: Backend,
        sources: Sources,
        table: Table,
        clock: Clock,
        *,
        boot_timeout_s: float,
        meter_of: Callable[[Function], int] = lambda _function: 0,
    ) -> None:
        self._backend, self._sources, self._table = backend, sources, table
        self._monotonic_s = clock.monotonic_s
        self._boot_timeout_s, self._meter_of = boot_timeout_s, meter_of
        self._served: dict[tuple[UUID, int], Served] = {}  # by the function's slot
        self._by_handle: dict[FunctionHandle, Served] = {}
        self._lives: dict[MemberHandle, _Life] = {}
        self._boot_errors: dict[MemberHandle, ConstellationError] = {}  # of the last; some outlive their members
        self._tickets: dict[CallHandle, _Ticket] = {}
        self._is_draining, self._drained = False, anyio.Event()
        self._tasks: TaskGroup | None = None

    @property
    def total(self) -> int:
        """Instances of this node, from the decision to boot until the sandbox is gone."""
        return len(self._lives)

    @property
    def inflight(self) -> int:
        """Calls in hand, running or waiting."""
        return self._table.node_stats().inflight

    def stats(self) -> Iterator[tuple[Function, FunctionStats]]:
        """Yield the functions with instances, calls or replicas to keep warm, and their counts."""
        for counts in self._table.all_stats():
            yield self._by_handle[counts.function].function, counts

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Boot, expire and keep warm until cancelled; then destroy every instance before returning."""
        pause_s = min(1.0, max(0.05, self._table.options.idle_ttl_s / 8))
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._table.open(is_open=True, now_ns=self._now_ns())
            task_status.started()
            try:
                while True:
                    self._table.sweep(now_ns=self._now_ns())
                    self.run_effects_nowait()
                    await anyio.sleep(pause_s)
            finally:
                self._tasks = None
                self._table.open(is_open=False, now_ns=self._now_ns())

    # The function's row.

    def serve(self, function: Function, *, is_suspended: bool = False) -> Served:
        """Return what the table knows a function by; one that was not told of yet is told of now.

        Raises:
            TableFull: there is no place for another function.
        """
        served = self._served.get(function.slot)
        if served is None:
            return self._put(function, is_suspended=is_suspended, is_kept=False)
        if function.version > served.function.version:
            self._change(served, function, is_suspended=is_suspended, is_kept=served.is_kept)
        return served

    def served(self, function_id: UUID, pin: int = 0) -> Served | None:
        """Return what the table knows a function, or a version beside its live one, by, unless it was not told of yet."""
        return self._served.get((function_id, pin))

    def served_by(self, handle: FunctionHandle) -> Served | None:
        """Return what a handle of the table stands for, unless nothing is left of it."""
        return self._by_handle.get(handle)

    def boot_error(self, member: MemberHandle) -> ConstellationError | None:
        """Return why a member's boot failed, if it did."""
        return self._boot_errors.get(member)

    def update(self, function: Function, *, is_suspended: bool) -> None:
        """Serve calls by the changed row from now on; instances that no longer fit finish their calls and go."""
        served = self._served.get(function.slot)
        if served is None:
            self._put(function, is_suspended=is_suspended, is_kept=True)
        else:
            self._change(served, function, is_suspended=is_suspended, is_kept=True)

    def renew(self, is_concerned: Callable[[Function], bool]) -> None:
        """Retire the instances of some functions, since what they began with has changed; new ones take their place."""
        for served in list(self._served.values()):
            if is_concerned(served.function):
                self._write(served, is_same_sandbox=False)
        self.run_effects_nowait()

    def forget(self, function_id: UUID) -> None:
        """The row is not kept fresh any more: it is good for the calls in hand only."""
        self._forget(self._served.get((function_id, 0)))

    def unpin(self, function: Function) -> None:
        """A version is not served beside the live one any more, but to the calls in hand."""
        self._forget(self._served.get(function.slot))

    def remove(self, function_id: UUID) -> None:
        """The function is deleted: nothing new is started for it."""
        served = self._served.pop((function_id, 0), None)
        if served is not None:
            self._table.remove_function(served.handle, now_ns=self._now_ns())
            self.run_effects_nowait()

    def prewarm(self, served: Served, target: int) -> FunctionStats:
        """Begin instances until there are `target` or as many as the function may have; return its counts.

        No more are begun at a time than the node boots at once.
        """
        self._table.prewarm(served.handle, target)
        self.run_effects_nowait()
        return self._table.stats(served.handle)

    # Calls.

    def enter(self) -> None:
        """Count a call of this node in; `leave` counts it out.

        Raises:
            CometDraining, Overloaded
        """
        verdict = self._table.enter()
        if verdict is not None:
            raise node_refusal(verdict)

    def leave(self) -> None:
        """Count it out."""
        self._table.leave()
        if self._is_draining:
            self.run_effects_nowait()

    async def drain(self, *, within_s: float) -> bool:
        """Let no new calls in and wait for those in hand; False when some were left after `within_s`."""
        self._is_draining = True
        self._table.drain()
        if self.inflight:
            with anyio.move_on_after(within_s):
                await self._drained.wait()
        return self.inflight == 0

    def admit(self, served: Served, ask: Ask) -> CallHandle:
        """Pass a call through the guard chain; `end` gives it back, whatever became of it.

        Raises:
            ConstellationError: the first refusal of the chain, counted already.
        """
        admitted = self._table.admit(served.handle, ask, now_ns=self._now_ns())
        if isinstance(admitted, Verdict):
            raise refusal(admitted, served.function, subject=ask.subject, rate_per_s=ask.rate_per_s)
        return admitted

    def check(self, served: Served, ask: Ask, *, max_payload_bytes: int) -> None:
        """Pass a call that is run later, or was run before, through its part of the chain: what any would be refused for.

        Raises:
            ConstellationError: the first refusal.
        """
        verdict = self._table.check_job(served.handle, ask, max_payload_bytes=max_payload_bytes, now_ns=self._now_ns())
        if verdict is not None:
            raise refusal(verdict, served.function, subject=ask.subject, rate_per_s=ask.rate_per_s)

    def lease_nowait(self, served: Served, call: CallHandle, *, until_s: float) -> Lease | None:
        """Lease a warm instance; None: the call is in line until then at most, and `wait` is next.

        Raises:
            QueueFull, NotFound
        """
        while True:
            now_ns = int(self._monotonic_s() * 1e9)
            granted = self._table.lease(call, deadline_ns=int(until_s * 1e9), now_ns=now_ns)
            if granted is None or isinstance(granted, Verdict):
                self.run_effects_nowait()
                if granted is None:
                    return None
                raise refusal(granted, served.function)
            life = self._lives[granted]
            assert life.instance is not None
            if not life.instance.died.is_set():
                return Lease(life.function, life.instance)
            # Its own task has not had its turn yet.
            self._table.died(granted, now_ns=now_ns)
            self._table.give_back(call, now_ns=now_ns)
            self.run_effects_nowait()

    async def wait(self, served: Served, call: CallHandle, *, budget_s: float, given_s: float | None = None) -> Lease:
        """Wait in line for an instance, and return the lease.

        Args:
            budget_s: what is left of the caller's time.
            given_s: what it was, where that is more.

        Raises:
            QueueWaitTimeout: by the function's capacity policy.
            CallTimeout: the time that `lease_nowait` was told, `budget_s` in all, ran out; phase "init" when an instance was being made for this call, else "wait".
            ConstellationError: the boot for this call failed, with the boot's reason.

        If cancelled, the place in line or the lease is given back with the call's end.
        """
        function = served.function
        ticket = self._ticket(call)
        wait_s = min(budget_s, function.capacity.max_queue_wait_s)
        try:
            while True:
                with anyio.move_on_after(max(_TIMER_GRAIN_S, wait_s)):
                    await ticket.answered.wait()
                if ticket.answered.is_set():  # it may come in the same turn as the end of the time
                    break
                now_ns = self._now_ns()
                looked = self._table.overdue(call, now_ns=now_ns)
                if isinstance(looked, Verdict):
                    raise refusal(looked, function, budget_s=budget_s if given_s is None else given_s)
                wait_s = (looked - now_ns) / 1e9
        finally:
            del self._tickets[call]
        if ticket.error is not None:
            raise ticket.error
        assert ticket.lease is not None
        return ticket.lease

    def end(self, call: CallHandle, status: str, *, is_broken: bool = False) -> None:
        """End a call: its lease or its place in line comes free, and it is counted.

        Args:
            status: "ok", "function_error", "cancelled" or the problem's code.
            is_broken: the call did not end by itself, so its instance gets no new ones.
        """
        table = self._table
        table.end(call, table.status(status), is_broken=is_broken, now_ns=int(self._monotonic_s() * 1e9))
        self.run_effects_nowait()

    def run_effects_nowait(self) -> None:
        """Carry out what the table asks for; after every change of the table, whoever made it."""
        while (effect := self._table.next_effect()) is not None:
            kind = effect.kind
            if kind is EffectKind.GRANT:
                self._grant(effect)
            elif kind is EffectKind.BOOT:
                self._boot(effect)
            elif kind is EffectKind.RETIRE:
                self._lives[effect.member].end.cancel()
            elif kind is EffectKind.REFUSE:
                self._refuse(effect)
            elif kind is EffectKind.DROP:
                served = self._by_handle.pop(effect.function)
                if self._served.get(served.function.slot) is served:
                    del self._served[served.function.slot]
            else:
                self._drained.set()

    # Inside.

    def _now_ns(self) -> int:
        return int(self._monotonic_s() * 1e9)

    def _put(self, function: Function, *, is_suspended: bool, is_kept: bool) -> Served:
        row = row_of(function, is_suspended=is_suspended, is_kept=is_kept, meter=self._meter_of(function))
        handle = self._table.put_function(row, now_ns=self._now_ns())
        served = Served(handle, function, is_suspended, is_kept)
        self._served[function.slot] = self._by_handle[handle] = served
        if is_kept:
            self.run_effects_nowait()
        return served

    def _forget(self, served: Served | None) -> None:
        if served is not None:
            self._change(served, served.function, is_suspended=served.is_suspended, is_kept=False)

    def _change(self, served: Served, function: Function, *, is_suspended: bool, is_kept: bool) -> None:
        is_same = same_sandbox(function, served.function)
        served.function, served.is_suspended, served.is_kept = function, is_suspended, is_kept
        self._write(served, is_same_sandbox=is_same)
        self.run_effects_nowait()

    def _write(self, served: Served, *, is_same_sandbox: bool) -> None:
        function = served.function
        row = row_of(function, is_suspended=served.is_suspended, is_kept=served.is_kept, meter=self._meter_of(function))
        self._table.update_function(served.handle, row, is_same_sandbox=is_same_sandbox, now_ns=self._now_ns())

    def _ticket(self, call: CallHandle) -> _Ticket:
        ticket = self._tickets.get(call)
        if ticket is None:
            ticket = self._tickets[call] = _Ticket()
        return ticket

    def _grant(self, effect: Effect) -> None:
        assert effect.grant is not None
        life = self._lives.get(effect.member)
        ticket = self._ticket(effect.call)
        if life is not None and life.instance is not None and not life.instance.died.is_set():
            waited_s = effect.grant.waited_ns / 1e9
            ticket.lease = Lease(life.function, life.instance, effect.grant.is_cold, waited_s)
            ticket.answered.set()
            return
        # It died on its way to the caller, who goes back to its place in line.
        if life is not None:
            self._table.died(effect.member, now_ns=self._now_ns())
        if not self._table.give_back(effect.call, now_ns=self._now_ns()):
            ticket.error = NotFound("function", self._by_handle[effect.function].function.name)
            ticket.answered.set()

    def _refuse(self, effect: Effect) -> None:
        assert effect.verdict is not None
        ticket = self._ticket(effect.call)
        boot_error = self.boot_error(effect.member)
        ticket.error = boot_error or refusal(effect.verdict, self._by_handle[effect.function].function)
        ticket.answered.set()

    def _boot(self, effect: Effect) -> None:
        assert self._tasks is not None
        function = self._by_handle[effect.function].function
        life = self._lives[effect.member] = _Life(function, anyio.CancelScope())
        self._tasks.start_soon(self._live, effect.member, life, name=f"instance {function.name} {effect.member}")

    async def _live(self, member: MemberHandle, life: _Life) -> None:
        spec: InstanceSpec | None = None
        try:
            try:
                spec = await self._sources.acquire(life.function)
                life.instance = await self._backend.create(spec, timeout_s=self._boot_timeout_s)
                await life.instance.init(timeout_s=life.function.init_timeout_s)
            except ConstellationError as error:
                self._boot_failed(member, life.function, error)
            except Exception as error:  # the supervision point of one boot: it costs the call that waits for it
                log.exception("instance.boot_failed", function=life.function.name)
                self._boot_failed(member, life.function, SandboxStartFailed(step="boot", reason=type(error).__name__))
            else:
                self._table.set_link(member, life.instance.link)
                if self._table.booted(member, now_ns=self._now_ns()):
                    with life.end:
                        self.run_effects_nowait()
                        await life.instance.died.wait()
        finally:
            self._table.died(member, now_ns=self._now_ns())
            self.run_effects_nowait()
            await self._take_away(life, spec)
            self._table.gone(member, now_ns=self._now_ns())
            del self._lives[member]
            self.run_effects_nowait()

    async def _take_away(self, life: _Life, spec: InstanceSpec | None) -> None:
        instance, function = life.instance, life.function.name
        if instance is not None:
            with anyio.move_on_after(DESTROY_GRACE_S, shield=True) as grace:
                try:
                    await instance.destroy()
                except Exception:  # the supervision point of one end: the host's next start reaps what is left
                    log.exception("instance.destroy_failed", function=function, instance=instance.id)
            if grace.cancelled_caught:
                log.error("instance.destroy_timed_out", function=function, instance=instance.id)
        if spec is not None:
            self._sources.release_nowait(spec)

    def _boot_failed(self, member: MemberHandle, function: Function, error: ConstellationError) -> None:
        while len(self._boot_errors) >= _BOOT_ERRORS:
            del self._boot_errors[next(iter(self._boot_errors))]
        self._boot_errors[member] = error
        log.warning("instance.boot_refused", function=function.name, tenant=function.tenant, reason=str(error)[:512])
        self._table.boot_failed(member, self._table.status(error.code), now_ns=self._now_ns())
        self.run_effects_nowait()
