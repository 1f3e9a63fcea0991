"""The instances and waiters of one function: an explicit state machine without clock or I/O.

    booting -> idle <-> busy -> draining -> dead; from any of them straight to dead when the sandbox ends.

A member counts against the bounds from the moment its boot is decided until its sandbox is gone, so a bound is never
exceeded, not even while an instance is being destroyed. Time and the next number are arguments: a table in C can hold
the same counts.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Generic, TypeVar

from constellation.nova.domain.function import Function

Held = TypeVar("Held")  # what the owner of the effects hangs on a member: its instance and its life


class State(StrEnum):
    BOOTING = "booting"  # the sandbox is being made or the handler loaded
    IDLE = "idle"  # no call
    BUSY = "busy"  # at least one call; may have room for more
    DRAINING = "draining"  # finishes its calls and gets no new one
    DEAD = "dead"  # of no use any more; its sandbox is being taken away


@dataclass(slots=True, eq=False)
class Member(Generic[Held]):
    """One instance of a function. `number` is unique in the process: a stale handle can never mean another one."""

    number: int
    function: Function  # as it was when the boot was decided
    generation: int
    state: State = State.BOOTING
    leases: int = 0
    idle_since_s: float = 0.0
    held: Held | None = None

    @property
    def room(self) -> int:
        return self.function.instance_concurrency - self.leases


@dataclass(slots=True, eq=False)
class Waiter:
    """A call in line."""

    number: int
    since_s: float


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
        and a.env == b.env
    )


@dataclass(slots=True, eq=False)
class Group(Generic[Held]):
    """All instances of one function on this node, and the calls in line for them.

    Holds: a call waits only while no member of the current generation has room.
    """

    function: Function
    generation: int = 1
    members: dict[int, Member[Held]] = field(default_factory=dict)
    shelf: list[Member[Held]] = field(default_factory=list)  # members with room; the last one used is taken first
    waiters: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)
    booting: int = 0  # of the current generation
    current: int = 0  # members of the current generation, dead ones until they are gone
    leases: int = 0
    boot_failures: int = 0  # in a row
    prewarm_after_s: float = 0.0  # back-off of boots that no call asked for
    is_removed: bool = False  # the function was deleted

    @property
    def inflight(self) -> int:
        """Calls in hand: running and in line."""
        return self.leases + len(self.waiters)

    @property
    def in_line(self) -> int:
        """Calls that wait for another call to end: those that a boot in progress will serve are not in line."""
        return max(0, len(self.waiters) - self.booting * self.function.instance_concurrency)

    @property
    def kept_warm(self) -> int:
        """Members that stay although nobody calls."""
        return 0 if self.is_removed or self.function.halted else self.function.min_replicas

    @property
    def is_empty(self) -> bool:
        return not self.members and not self.waiters

    def lease(self, member: Member[Held]) -> None:
        """Count one more call on a member that has room."""
        assert member.room > 0
        member.leases += 1
        self.leases += 1
        member.state = State.BUSY
        if member.room == 0 and self.shelf:
            self._unshelve(member)

    def take(self) -> Member[Held] | None:
        """Lease the member that served last, when one has room."""
        if not self.shelf:
            return None
        member = self.shelf[-1]
        self.lease(member)
        return member

    def add(self, number: int) -> Member[Held]:
        """Record that a boot begins."""
        member: Member[Held] = Member(number=number, function=self.function, generation=self.generation)
        self.members[number] = member
        self.booting += 1
        self.current += 1
        return member

    def ready(self, member: Member[Held], *, now_s: float) -> bool:
        """Put a booted member on the shelf; False when it came too late and must be destroyed."""
        assert member.state is State.BOOTING
        if member.generation != self.generation:
            member.state = State.DEAD
            return False
        self.booting -= 1
        self.boot_failures = 0
        member.state = State.IDLE
        member.idle_since_s = now_s
        self.shelf.append(member)
        return True

    def release(self, member: Member[Held], *, is_broken: bool, now_s: float) -> bool:
        """Count one call less; True when the member must be destroyed now.

        A member with a broken call (timed out, given up by its caller) gets no new ones: its worker may still be
        running what nobody waits for.
        """
        assert member.leases > 0
        member.leases -= 1
        self.leases -= 1
        if member.state is State.DEAD:
            return False
        if is_broken and member.state is not State.DRAINING:
            self._unshelve(member)
            member.state = State.DRAINING
        if member.state is State.DRAINING:
            if member.leases == 0:
                member.state = State.DEAD
                return True
            return False
        if member.leases == 0:
            member.state = State.IDLE
            member.idle_since_s = now_s
        if member.room == 1:  # it was full
            self.shelf.append(member)
        return False

    def bury(self, member: Member[Held]) -> None:
        """Take a member out of use: it died, its boot failed, or it is to be destroyed."""
        if member.state is State.DEAD:
            return
        if member.state is State.BOOTING and member.generation == self.generation:
            self.booting -= 1
        self._unshelve(member)
        member.state = State.DEAD

    def gone(self, member: Member[Held]) -> None:
        """Forget a member whose sandbox is no more."""
        self.bury(member)
        del self.members[member.number]
        if member.generation == self.generation:
            self.current -= 1

    def next_waiter(self) -> Waiter | None:
        """Take the oldest call out of the line."""
        return self.waiters.popitem(last=False)[1] if self.waiters else None

    def oldest_since_s(self) -> float | None:
        return next(iter(self.waiters.values())).since_s if self.waiters else None

    def is_covered(self, waiter: Waiter) -> bool:
        """Will a boot in progress serve this waiter if it succeeds?"""
        seats = self.booting * self.function.instance_concurrency
        return waiter.number in islice(self.waiters, seats)

    def update(self, function: Function) -> list[Member[Held]]:
        """Take over a changed function; return the members to destroy now.

        When the sandbox itself changes, a new generation begins: idle members go, busy ones finish their calls.
        """
        assert function.id == self.function.id
        if same_sandbox(function, self.function):
            self.function = function
            return []
        self.function = function
        return self._new_generation()

    def remove(self) -> list[Member[Held]]:
        """The function is deleted: as `update`, and nothing is started any more."""
        self.is_removed = True
        return self._new_generation()

    def _new_generation(self) -> list[Member[Held]]:
        self.generation += 1
        self.booting = self.current = self.boot_failures = 0
        self.prewarm_after_s = 0.0
        self.shelf.clear()
        useless = []
        for member in self.members.values():
            if member.state is State.IDLE:
                member.state = State.DEAD
                useless.append(member)
            elif member.state is State.BUSY:
                member.state = State.DRAINING
        return useless

    def _unshelve(self, member: Member[Held]) -> None:
        # Nearly always the last one; a scan of the rest only when something died or expired.
        if self.shelf and self.shelf[-1] is member:
            self.shelf.pop()
        elif member in self.shelf:
            self.shelf.remove(member)
