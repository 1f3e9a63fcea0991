"""Who changed what, and who was refused: one event a request. What it says of a body is which fields it had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

REFUSALS = frozenset({401, 403, 429})
CLIENT_LEFT = 499


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # for who asked, or how often
    FAILED = "failed"  # for what was asked, or for want of something of ours
    UNKNOWN = "unknown"  # the caller left before the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One row of `audit`."""

    tenant: str  # "": of nobody who is known
    namespace: str
    id: UUID  # of version 7: its time is the event's
    actor: str  # the subject; "": unknown
    action: str
    method: str
    resource: str
    fields: tuple[str, ...]
    outcome: Outcome
    status: int
    code: str
    request_id: str
    peer: str
    user_agent: str
    count: int = 1

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp((self.id.int >> 80) / 1000, UTC)


def outcome_of(status: int) -> Outcome:
    """Return how a request ended that was answered with this status."""
    if status in REFUSALS:
        return Outcome.REFUSED
    if status in (0, CLIENT_LEFT):
        return Outcome.UNKNOWN
    return Outcome.SUCCEEDED if status < 400 else Outcome.FAILED
