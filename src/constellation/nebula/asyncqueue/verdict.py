"""What becomes of a job after one attempt: pure rules.

A handler that raised is tried again, like a call that may have begun and failed. What fails every time is dead at
once. What provably never began goes back in line and uses no attempt up; what the tenant's limits hold back does so for
as long as they do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from constellation.base.backoff import backoff_s
from constellation.base.errors import ConstellationError
from constellation.nova.domain.job import Job
from constellation.rpc.faults import Fault, fault_of
from constellation.rpc.invoker import Invoked

# Chosen: as long as a large queue's operator may take to notice. A function that has no room for longer than this
# uses up attempts like any other failure, so no job goes round for ever.
REFUSED_FREE_FOR = timedelta(hours=6)
HELD_LOOK_S = 60.0  # chosen: limits may be raised long before the month of a quota is over
NULL = b"null"


class AttemptInterrupted(ConstellationError):
    """The worker was stopped while the call was running."""

    code, http_status, retryable = "attempt_interrupted", 503, True

    def __init__(self) -> None:
        super().__init__("the worker was stopped while the call was running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    output: bytes  # JSON
    duration_ms: float
    version: int | None = None  # of the function, that ran; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Another attempt after `delay_s` seconds."""

    error: bytes  # JSON: {type, message, stack} or a problem
    delay_s: float
    duration_ms: float | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    error: bytes
    duration_ms: float | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """The attempt did not begin: in line again after `delay_s` seconds, as if it had not been claimed."""

    delay_s: float
    is_undelivered: bool = False  # comet could not be reached at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """The execution waits for a time or an event; the store knows which."""


Verdict = Succeeded | Again | Dead | PutBack | Suspended


def of_answer(job: Job, answer: Invoked, *, jitter: float) -> Verdict:
    """Judge a call that came back. `jitter` is a random number in [0, 1)."""
    version = int(answer.version) if answer.version.isdecimal() else None
    if answer.error is None:
        return Succeeded(output=answer.output or NULL, duration_ms=answer.duration_ms, version=version)
    return _again(job, answer.error, duration_ms=answer.duration_ms, jitter=jitter, version=version)


def of_error(job: Job, error: ConstellationError, *, now: datetime, jitter: float) -> Verdict:
    """Judge a call that failed outside its handler."""
    problem = json.dumps(error.problem(), separators=(",", ":")).encode()
    match fault_of(error):
        case Fault.UNDELIVERED:
            return PutBack(delay_s=0.0, is_undelivered=True)
        case Fault.HELD:
            wait_s = max(job.backoff_base_s, min(float(error.retry_after_s or 0), HELD_LOOK_S))
            return PutBack(delay_s=backoff_s(1, base_s=wait_s, cap_s=wait_s, jitter=jitter))
        case Fault.REFUSED if now - job.created_at < REFUSED_FREE_FOR:
            wait_s = max(job.backoff_base_s, float(error.retry_after_s or 0))
            return PutBack(delay_s=backoff_s(1, base_s=wait_s, cap_s=wait_s, jitter=jitter))
        case Fault.REFUSED | Fault.FAILED:
            return _again(job, problem, duration_ms=None, jitter=jitter)
        case Fault.PERMANENT:
            return Dead(error=problem)
        case unknown:
            assert_never(unknown)


def of_interruption(job: Job) -> Verdict:
    """Judge a call that we ended ourselves: it had begun, so the attempt counts, and the next one need not wait."""
    problem = json.dumps(AttemptInterrupted().problem(), separators=(",", ":")).encode()
    if _is_last(job):
        return Dead(error=problem)
    return Again(error=problem, delay_s=0.0)


def _again(job: Job, error: bytes, *, duration_ms: float | None, jitter: float, version: int | None = None) -> Verdict:
    if _is_last(job):
        return Dead(error=error, duration_ms=duration_ms, version=version)
    delay_s = backoff_s(job.attempt, base_s=job.backoff_base_s, cap_s=job.backoff_max_s, jitter=jitter)
    return Again(error=error, delay_s=delay_s, duration_ms=duration_ms, version=version)


def _is_last(job: Job) -> bool:
    """Were its attempts used up when it was claimed? What a durable one has left the store alone knows: each step that is
    recorded gives it all of them again.
    """
    return not job.is_durable and job.attempt >= job.max_attempts
