"""Interactive sandboxes: what one is, the states it goes through, and when it is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class SandboxState(StrEnum):
    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"  # every process stands still, memory and files are kept
    ENDING = "ending"
    ENDED = "ended"  # nothing is left of it but its row


_S = SandboxState
# From where a state can be reached; what is written goes by this, so of two who race one loses.
FROM: Mapping[SandboxState, tuple[SandboxState, ...]] = {
    _S.CREATING: (),
    _S.RUNNING: (_S.CREATING, _S.PAUSED),
    _S.PAUSED: (_S.RUNNING,),
    _S.ENDING: (_S.CREATING, _S.RUNNING, _S.PAUSED, _S.ENDING),
    _S.ENDED: (_S.CREATING, _S.RUNNING, _S.PAUSED, _S.ENDING),
}


class OnIdle(StrEnum):
    PAUSE = "pause"
    REMOVE = "remove"


IDLE = "idle"  # the reason of a pause that the next use ends
SUSPENDED = "its tenant is suspended"  # likewise, until the tenant may work again


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One row of `sandboxes`."""

    tenant: str
    namespace: str
    id: UUID
    template: str
    backend: str = "namespace"  # where it lives
    image: str = ""  # of a container that was made of one; "": of its template's
    state: SandboxState
    reason: str  # why it is in this state, where that is not plain
    memory_mb: int
    cpu_millis: int
    disk_mb: int
    processes: int
    idle_timeout_s: float  # 0: never
    on_idle: OnIdle
    env: Mapping[str, str]
    ports: tuple[int, ...]  # that the gateway passes on
    forked_from: UUID | None
    node: str  # of the comet that has it
    generation: int  # one more with each comet that has taken it over; who has an older one can write nothing
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    ended_at: datetime | None

    @property
    def is_waking(self) -> bool:
        """Whether the next use resumes it."""
        return self.state is SandboxState.PAUSED and self.reason == IDLE


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a tenant's quotas something takes up."""

    memory_mb: int = 0
    cpu_millis: int = 0

    def beyond(self, other: Share) -> Share:
        """Return how much more this is, of each."""
        return Share(max(0, self.memory_mb - other.memory_mb), max(0, self.cpu_millis - other.cpu_millis))

    def with_more(self, more: Share) -> Share:
        return Share(self.memory_mb + more.memory_mb, self.cpu_millis + more.cpu_millis)


class Sized(Protocol):
    """A sandbox that is there, or is to be."""

    @property
    def memory_mb(self) -> int: ...

    @property
    def cpu_millis(self) -> int: ...

    @property
    def disk_mb(self) -> int: ...


def share_of(sandbox: Sized, state: SandboxState) -> Share:
    """Return what a sandbox takes up: its files are in memory, too, and one that stands still keeps that and needs no CPU."""
    memory_mb = sandbox.memory_mb + sandbox.disk_mb
    return Share(memory_mb, 0 if state is SandboxState.PAUSED else sandbox.cpu_millis)


class Due(StrEnum):
    NOTHING = "nothing"
    PAUSE = "pause"
    RESUME = "resume"
    REMOVE = "remove"


def due(
    sandbox: Sandbox, *, now: datetime, used_at: datetime, is_busy: bool, is_suspended: bool = False
) -> tuple[Due, str]:
    """Return what time asks for, or that its tenant is suspended, and why.

    Who is busy is not idle; nobody lives longer than its time. What was paused with its tenant goes on with it.
    """
    if sandbox.state not in (SandboxState.RUNNING, SandboxState.PAUSED):
        return Due.NOTHING, ""
    if now >= sandbox.expires_at:
        return Due.REMOVE, "its time was over"
    if is_suspended:
        return (Due.PAUSE, SUSPENDED) if sandbox.state is SandboxState.RUNNING else (Due.NOTHING, "")
    if sandbox.state is SandboxState.PAUSED and sandbox.reason == SUSPENDED:
        return Due.RESUME, ""
    is_idle = sandbox.idle_timeout_s > 0 and now >= used_at + timedelta(seconds=sandbox.idle_timeout_s)
    if is_busy or not is_idle or sandbox.state is SandboxState.PAUSED:
        return Due.NOTHING, ""
    return (Due.PAUSE, IDLE) if sandbox.on_idle is OnIdle.PAUSE else (Due.REMOVE, "nobody used it")
