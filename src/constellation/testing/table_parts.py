"""The things of the table's model: functions, instances, calls, breakers; counts are recomputed, never kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from constellation.native.table_values import Breaker, FunctionRow, State, Status, Verdict

SECOND_NS = 1_000_000_000
FAILURES = frozenset(
    {
        Status.FUNCTION_ERROR,
        Status.TIMEOUT,
        Status.INSTANCE_DIED,
        Status.OUTPUT_INVALID,
        Status.HANDLER_LOAD_FAILED,
        Status.SANDBOX_START_FAILED,
        Status.RUNTIME_UNAVAILABLE,
    }
)


@dataclass(eq=False)
class ModelMember:
    """One instance."""

    number: int
    function: ModelFunction
    sandbox: int
    seats: int
    version: int
    memory_mb: int
    cpu_millis: int
    state: State = State.BOOTING
    idle_since_ns: int = 0
    calls: list[ModelCall] = field(default_factory=list)
    is_gone: bool = False

    @property
    def is_current(self) -> bool:
        return self.sandbox == self.function.sandbox


@dataclass(eq=False)
class ModelCall:
    """One call that was let in."""

    number: int
    function: ModelFunction
    probe_epoch: int | None  # of the breaker, when it is a probe
    epoch: int
    taker: int = 0
    ticket: int = 0  # of its place in line; 0: it never waited
    since_ns: int = 0
    deadline_ns: int = 0
    patience_ns: int = 0
    member: ModelMember | None = None
    was_refused_by_boot: bool = False
    state: str = "admitted"  # "waiting", "leased", "refused", "ended"


@dataclass
class ModelBreaker:
    """The breaker of one function: ends as they came, with their times."""

    state: Breaker = Breaker.CLOSED
    epoch: int = 0
    until_ns: int = 0
    ends: list[tuple[int, bool]] = field(default_factory=list)  # (part of time, failed)

    def become(self, state: Breaker, until_ns: int = 0) -> None:
        self.state, self.until_ns, self.epoch, self.ends = state, until_ns, self.epoch + 1, []


@dataclass(eq=False)
class ModelFunction:
    """One function."""

    number: int
    row: FunctionRow
    sandbox: int = 1
    is_removed: bool = False
    members: list[ModelMember] = field(default_factory=list)
    shelf: list[ModelMember] = field(default_factory=list)
    line: list[ModelCall] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)
    boot_failures: int = 0
    prewarm_after_ns: int = 0
    breaker: ModelBreaker = field(default_factory=ModelBreaker)

    @property
    def current(self) -> int:
        return sum(member.is_current for member in self.members)

    @property
    def booting(self) -> int:
        return sum(member.is_current and member.state is State.BOOTING for member in self.members)

    @property
    def leases(self) -> int:
        return sum(call.state == "leased" for call in self.calls)

    @property
    def kept_warm(self) -> int:
        return 0 if self.is_removed or self.row.is_halted else self.row.min_replicas

    @property
    def head_room(self) -> int:
        return 0 if self.is_removed else max(0, self.row.max_replicas - self.current)

    @property
    def boots_for_calls(self) -> int:
        needed = math.ceil(len(self.line) / self.row.instance_concurrency) - self.booting
        return max(0, min(needed, self.head_room))


def later(code: int, left_ns: int) -> Verdict:
    """Return a refusal for as long as `left_ns`."""
    return Verdict(code, retry_after_s=max(1, math.ceil(left_ns / SECOND_NS)), limit=left_ns)
