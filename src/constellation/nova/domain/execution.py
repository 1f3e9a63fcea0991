"""A durable execution: a job whose steps are on record, so that a run that was cut off goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.nova.domain.job import Job, JobStatus
from constellation.nova.domain.message import Message
from constellation.nova.domain.topic import Filter, holds

MAX_WAIT_S = 366 * 86_400.0  # one sleep, one wait for an event
MAX_STEP_BYTES = 256 << 10  # output or error of a step; payload of an event
MAX_EVENTS = 1000  # of one execution, that nobody has taken
MAX_WAITING = (
    1000  # steps that wait for a message of one topic without naming its key: each is looked at for each message
)
_MAX_NAME_CHARS = 128


class StepKind(StrEnum):
    RUN = "run"
    SLEEP = "sleep"
    EVENT = "event"
    MESSAGE = "message"


class ExecutionStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"  # nothing of it runs; it waits for a time or an event
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The right to write on an execution's record, from a claim to its settling."""

    tenant: str
    execution_id: UUID
    token: int

    @property
    def key(self) -> tuple[str, UUID]:
        return (self.tenant, self.execution_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as it is read back. It has ended when it has a `finished_at`."""

    seq: int
    kind: StepKind
    name: str
    due_at: datetime | None
    output: bytes | None  # JSON
    error: bytes | None  # JSON {type, message, stack}
    started_at: datetime
    finished_at: datetime | None
    is_due: bool  # its time is up


class StepsDiverged(ConstellationError):
    """The code takes another step than the record has at this place, so it can not go on from it."""

    code, http_status = "steps_diverged", 409

    def __init__(self, seq: int, *, recorded: str, taken: str) -> None:
        super().__init__(
            f"step {seq} is {recorded} on record and {taken} now: the code changed, or takes its steps in another "
            "order each time",
            extras={"seq": seq, "recorded": recorded, "taken": taken},
        )


class ExecutionCancelled(ConstellationError):
    """Somebody ended the execution; this is the error that it keeps."""

    code, http_status = "execution_cancelled", 409

    def __init__(self) -> None:
        super().__init__("the execution was cancelled")


class EventsFull(ConstellationError):
    """Too many events wait for an execution that takes none."""

    code, http_status, retryable = "events_full", 429, True

    def __init__(self, execution_id: UUID) -> None:
        super().__init__(f"execution {execution_id} has {MAX_EVENTS} events that it has not taken", retry_after_s=1)


class WaitsFull(ConstellationError):
    """Too many executions wait for a message of one topic, whatever its key."""

    code, http_status, retryable = "waits_full", 429, True

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"{MAX_WAITING} executions wait for any message of topic {topic!r}: name the key of the message",
            retry_after_s=1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageWait:
    """Which message of a topic a step waits for."""

    key: str | None = None  # None: any
    filter: Filter = ()

    def takes(self, message: Message) -> bool:
        return self.key in (None, message.key) and holds(self.filter, message.attributes)


def status_of(job: Job, *, now: datetime) -> ExecutionStatus:
    """Return what state an execution is in."""
    match job.status:
        case JobStatus.SUCCEEDED:
            return ExecutionStatus.SUCCEEDED
        case JobStatus.DEAD:
            return ExecutionStatus.FAILED
        case JobStatus.CANCELLED:
            return ExecutionStatus.CANCELLED
        case JobStatus.RUNNING:
            return ExecutionStatus.RUNNING
        case _:
            has_waited = job.started_at is not None and job.attempt == 0 and job.run_at > now
            return ExecutionStatus.SUSPENDED if has_waited else ExecutionStatus.QUEUED


def check_step(step: Step, kind: StepKind, name: str) -> None:
    """Raise `StepsDiverged` unless the record has this very step at this place."""
    if (step.kind, step.name) != (kind, name):
        raise StepsDiverged(step.seq, recorded=f"{step.kind} {step.name!r}", taken=f"{kind} {name!r}")


def check_step_name(name: str, *, field: str = "name") -> str:
    """Return the name of a step or an event, or raise `InvalidRequest`."""
    if not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(f"a name is 1 to {_MAX_NAME_CHARS} printable characters", field=field)
    return name


def check_wait(seconds: float, *, field: str) -> float:
    """Return how long to wait, or raise `InvalidRequest`."""
    if not 0 <= seconds <= MAX_WAIT_S:
        raise InvalidRequest(f"{field} must be 0 to {MAX_WAIT_S:.0f} seconds", field=field)
    return seconds
