"""The instances of this node: boots, leases, waiters, expiry. Every rule is in `state` and `decide`.

Each instance has one task that boots it, waits for its end and takes it away: a boot outlives the caller that caused
it, and nothing is left when the pool is cancelled. Leasing and returning a warm instance never suspends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.backoff import backoff_s
from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError, NotFound
from constellation.comet.backend.contract import Backend, CallTimeout, Instance, InstanceSpec, SandboxStartFailed
from constellation.comet.pool import decide
from constellation.comet.pool.state import Group, Member, State, Waiter
from constellation.comet.refusals import QueueFull, QueueWaitTimeout
from constellation.nova.domain.function import Function

log = structlog.get_logger()

DESTROY_GRACE_S = 10.0  # chosen: a backend kills in milliseconds; past this the host itself is in trouble
_RECHECK_S = 0.25  # a waiter past its time in line looks again whether the boot that was to serve it goes on
_PREWARM_BACKOFF_BASE_S, _PREWARM_BACKOFF_CAP_S = 0.5, 30.0  # between boots that nobody waits for and that fail


class Sources(Protocol):
    """Where the specification of an instance comes from."""

    async def acquire(self, function: Function) -> InstanceSpec:
        """Make the code ready on disk and return what to boot; it stays until `release_nowait`."""
        ...

    def release_nowait(self, spec: InstanceSpec) -> None: ...


@dataclass(slots=True, eq=False)
class Life:
    """What a member holds: its sandbox once there is one, and the end of its task's wait."""

    end: anyio.CancelScope
    instance: Instance | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """One call's right to one instance; given back with `Pool.release_nowait`."""

    group: Group[Life]
    member: Member[Life]
    instance: Instance
    is_cold: bool  # the call waited for this instance's boot
    waited_s: float


@dataclass(slots=True, eq=False)
class _Ticket(Waiter):
    answered: anyio.Event = field(default_factory=anyio.Event)
    lease: Lease | None = None
    error: ConstellationError | None = None


class Pool:
    """The pool of one node. `run` must be running for anything to boot."""

    def __init__(
        self, backend: Backend, sources: Sources, bounds: decide.Bounds, clock: Clock, *, boot_timeout_s: float
    ) -> None:
        self._backend, self._sources, self._bounds, self._clock = backend, sources, bounds, clock
        self._boot_timeout_s = boot_timeout_s
        self._groups: dict[UUID, Group[Life]] = {}
        self._asking: dict[UUID, Group[Life]] = {}  # calls ask for boots; in the order in which they get them
        self._numbers = itertools.count(1)
        self._total = self._booting = self._dying = 0
        self._tasks: TaskGroup | None = None

    @property
    def groups(self) -> Iterable[Group[Life]]:
        return self._groups.values()

    @property
    def total(self) -> int:
        """Instances of this node, from the decision to boot until the sandbox is gone."""
        return self._total

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Boot, expire and keep warm until cancelled; then destroy every instance before returning."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            try:
                while True:
                    self._sweep()
                    await anyio.sleep(min(1.0, max(0.05, self._bounds.idle_ttl_s / 8)))
            finally:
                self._tasks = None

    # The function's row.

    def group(self, function: Function) -> Group[Life]:
        """Return the function's group, made on first use."""
        group = self._groups.get(function.id)
        if group is None:
            group = self._groups[function.id] = Group(function)
        elif function.version > group.function.version:
            self.update(function)
        return group

    def update(self, function: Function) -> None:
        """Serve calls by the changed row from now on; instances that no longer fit finish their calls and go."""
        group = self._groups.get(function.id)
        if group is None:
            if function.min_replicas == 0 or function.halted:
                return
            group = self.group(function)
        for member in group.update(function):
            self._retire(member)
        self._pump(group)
        self._keep_warm(self._clock.monotonic_s())

    def remove(self, function_id: UUID) -> None:
        """The function is deleted: nothing new is started for it."""
        group = self._groups.get(function_id)
        if group is not None:
            for member in group.remove():
                self._retire(member)
            while (ticket := group.next_waiter()) is not None:
                _refuse(ticket, NotFound("function", group.function.name))
            self._pump()

    # Leases.

    def take_nowait(self, group: Group[Life]) -> Lease | None:
        """Lease a warm instance, or return None."""
        while (member := group.take()) is not None:
            instance = _instance(member)
            if not instance.died.is_set():
                return Lease(group, member, instance, is_cold=False, waited_s=0.0)
            # Its own task has not had its turn yet.
            group.release(member, is_broken=False, now_s=0.0)
            self._bury(group, member)
        return None

    async def wait(self, group: Group[Life], *, budget_s: float) -> Lease:
        """Get in line for an instance, starting boots as the bounds allow, and return the lease.

        Raises:
            QueueFull, QueueWaitTimeout: by the function's capacity policy.
            CallTimeout: `budget_s` ran out; phase "init" when an instance was being made for this call, else "wait".
            ConstellationError: the boot for this call failed, with the boot's reason.

        If cancelled, the place in line or the lease is given back.
        """
        function = group.function
        started_s = self._clock.monotonic_s()
        ticket = _Ticket(next(self._numbers), started_s)
        group.waiters[ticket.number] = ticket
        self._pump(group)
        if group.in_line > function.capacity.max_queue_depth:
            self._leave(group, ticket)
            raise QueueFull(function.name, function.capacity)
        with self._place_in_line(group, ticket):
            left_s, patience_s = budget_s, function.capacity.max_queue_wait_s
            while True:
                with anyio.move_on_after(max(0.0, min(left_s, patience_s))) as scope:
                    await ticket.answered.wait()
                if ticket.answered.is_set() or not scope.cancelled_caught:
                    break
                is_covered = group.is_covered(ticket)
                if left_s <= patience_s:
                    raise CallTimeout(function.name, after_s=budget_s, phase="init" if is_covered else "wait")
                if not is_covered:
                    raise QueueWaitTimeout(function.name, function.capacity)
                # It waits for a boot, not in line.
                left_s = budget_s - (self._clock.monotonic_s() - started_s)
                patience_s = _RECHECK_S
        if ticket.error is not None:
            raise ticket.error
        assert ticket.lease is not None
        return ticket.lease

    def release_nowait(self, lease: Lease, *, is_broken: bool = False) -> None:
        """Give a lease back; `is_broken` when the call did not end by itself, so that the instance gets no new ones."""
        group, member = lease.group, lease.member
        now_s = self._clock.monotonic_s()
        if group.release(member, is_broken=is_broken, now_s=now_s):
            self._retire(member)
        elif lease.instance.died.is_set() or self._must_yield(group, member):
            self._bury(group, member)
        elif group.waiters:
            self._serve(group)
        if self._asking:
            self._pump()

    # Inside.

    @contextmanager
    def _place_in_line(self, group: Group[Life], ticket: _Ticket) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if ticket.lease is not None:
                self.release_nowait(ticket.lease)
            else:
                self._leave(group, ticket)
            raise

    def _leave(self, group: Group[Life], ticket: _Ticket) -> None:
        group.waiters.pop(ticket.number, None)
        if decide.boots_for_calls(group) <= 0:
            self._asking.pop(group.function.id, None)
        self._drop_if_empty(group)

    def _serve(self, group: Group[Life], *, booted: Member[Life] | None = None) -> None:
        """Give instances with room to the oldest calls in line."""
        while group.waiters:
            lease = self.take_nowait(group)
            if lease is None:
                return
            ticket = group.next_waiter()
            assert isinstance(ticket, _Ticket)
            lease.is_cold = lease.member is booted
            lease.waited_s = self._clock.monotonic_s() - ticket.since_s
            ticket.lease = lease
            ticket.answered.set()

    def _pump(self, group: Group[Life] | None = None) -> None:
        """Start every boot and eviction that the rules allow now. `group`: calls were added to its line."""
        if self._tasks is None:
            return
        if group is not None and decide.boots_for_calls(group) > 0:
            self._asking.setdefault(group.function.id, group)
        while self._asking:
            asking = []
            for candidate in list(self._asking.values()):
                if decide.boots_for_calls(candidate) > 0:
                    asking.append(candidate)
                else:
                    del self._asking[candidate.function.id]
            step = decide.next_step(
                asking,
                self._groups.values(),
                self._bounds,
                total=self._total,
                booting=self._booting,
                dying=self._dying,
            )
            if step is None:
                return
            if isinstance(step, decide.Evict):
                self._bury(step.group, step.member)
            else:
                self._boot(step.group)
                # The next boot is somebody else's, when somebody else asks.
                self._asking[step.group.function.id] = self._asking.pop(step.group.function.id)

    def _sweep(self) -> None:
        now_s = self._clock.monotonic_s()
        for group in list(self._groups.values()):
            for member in decide.expired(group, self._bounds, now_s=now_s):
                self._bury(group, member)
            self._ask_if_needed(group)
            self._drop_if_empty(group)
        self._pump()
        self._keep_warm(now_s)

    def _ask_if_needed(self, group: Group[Life]) -> None:
        if decide.boots_for_calls(group) > 0:
            self._asking.setdefault(group.function.id, group)

    def _keep_warm(self, now_s: float) -> None:
        """Boot for `min_replicas` as far as there is room; never at the cost of another function's instance."""
        if self._tasks is None:
            return
        for group in self._groups.values():
            for _ in range(decide.boots_for_warmth(group, now_s=now_s)):
                if self._total >= self._bounds.max_instances or self._booting >= self._bounds.max_boots:
                    return
                self._boot(group)

    def _boot(self, group: Group[Life]) -> None:
        assert self._tasks is not None
        member = group.add(next(self._numbers))
        member.held = Life(anyio.CancelScope())
        self._total += 1
        self._booting += 1
        self._tasks.start_soon(self._live, group, member, name=f"instance {group.function.name} {member.number}")

    async def _live(self, group: Group[Life], member: Member[Life]) -> None:
        life = member.held
        assert life is not None
        spec: InstanceSpec | None = None
        try:
            try:
                spec = await self._sources.acquire(member.function)
                life.instance = await self._backend.create(spec, timeout_s=self._boot_timeout_s)
                await life.instance.init(timeout_s=member.function.init_timeout_s)
            except ConstellationError as error:
                self._boot_failed(group, member, error)
            except Exception as error:  # the supervision point of one boot: it costs the call that waits for it
                log.exception("instance.boot_failed", function=member.function.name)
                self._boot_failed(group, member, SandboxStartFailed(step="boot", reason=type(error).__name__))
            else:
                self._booting -= 1
                if group.ready(member, now_s=self._clock.monotonic_s()):
                    with life.end:
                        self._serve(group, booted=member)
                        self._pump()
                        await life.instance.died.wait()
                else:
                    self._dying += 1
        finally:
            if member.state is State.BOOTING:  # cancelled with the pool
                self._booting -= 1
            self._bury(group, member)
            await self._take_away(life.instance, spec, member)
            self._dying -= 1
            self._total -= 1
            group.gone(member)
            self._ask_if_needed(group)
            self._drop_if_empty(group)
            self._pump()

    async def _take_away(self, instance: Instance | None, spec: InstanceSpec | None, member: Member[Life]) -> None:
        if instance is not None:
            with anyio.move_on_after(DESTROY_GRACE_S, shield=True) as grace:
                try:
                    await instance.destroy()
                except Exception:  # the supervision point of one end: the host's next start reaps what is left
                    log.exception("instance.destroy_failed", function=member.function.name, instance=instance.id)
            if grace.cancelled_caught:
                log.error("instance.destroy_timed_out", function=member.function.name, instance=instance.id)
        if spec is not None:
            self._sources.release_nowait(spec)

    def _boot_failed(self, group: Group[Life], member: Member[Life], error: ConstellationError) -> None:
        self._booting -= 1
        is_current = member.generation == group.generation
        self._bury(group, member)
        log.warning(
            "instance.boot_refused", function=group.function.name, tenant=group.function.tenant, reason=str(error)[:512]
        )
        if is_current:
            group.boot_failures += 1
            group.prewarm_after_s = self._clock.monotonic_s() + backoff_s(
                group.boot_failures, base_s=_PREWARM_BACKOFF_BASE_S, cap_s=_PREWARM_BACKOFF_CAP_S, jitter=0.5
            )
            ticket = group.next_waiter()
            if ticket is not None:
                _refuse(ticket, error)
        self._ask_if_needed(group)
        self._pump()

    def _must_yield(self, group: Group[Life], member: Member[Life]) -> bool:
        return (
            bool(self._asking)
            and self._dying == 0
            and member.state is State.IDLE
            and self._total >= self._bounds.max_instances
            and decide.should_yield(group, self._asking.values())
        )

    def _bury(self, group: Group[Life], member: Member[Life]) -> None:
        """Take a member out of use and have its task destroy it."""
        if member.state is not State.DEAD:
            group.bury(member)
            self._retire(member)

    def _retire(self, member: Member[Life]) -> None:
        """A member became dead: wake its task."""
        assert member.state is State.DEAD
        assert member.held is not None
        self._dying += 1
        member.held.end.cancel()

    def _drop_if_empty(self, group: Group[Life]) -> None:
        if group.is_empty and group.kept_warm == 0:
            self._groups.pop(group.function.id, None)
            self._asking.pop(group.function.id, None)


def _refuse(ticket: Waiter, error: ConstellationError) -> None:
    assert isinstance(ticket, _Ticket)
    ticket.error = error
    ticket.answered.set()


def _instance(member: Member[Life]) -> Instance:
    assert member.held is not None
    assert member.held.instance is not None
    return member.held.instance
