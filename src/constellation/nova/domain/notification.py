"""What people are told without asking: one notification for each thing, with how often it happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

KEY_STAGES_DAYS = (7, 1, 0)  # before a key expires, that it is told of


class NotificationKind(StrEnum):
    BUILD_FAILED = "build_failed"
    CANARY_ROLLED_BACK = "canary_rolled_back"
    BREAKER_OPENED = "breaker_opened"
    CALL_DEAD = "call_dead"
    DELIVERY_DEAD = "delivery_dead"
    DESTINATION_FAILED = "destination_failed"
    SCHEDULE_FAILED = "schedule_failed"
    KEY_EXPIRING = "key_expiring"
    SECRETS_RESEALED = "secrets_resealed"
    DATABASE_NEARLY_FULL = "database_nearly_full"
    DATABASE_FULL = "database_full"
    SLO_BREACHED = "slo_breached"
    SLO_MET = "slo_met"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class _Wording:
    severity: Severity
    title: str


_WORDING = {
    NotificationKind.BUILD_FAILED: _Wording(Severity.ERROR, "The build of {} failed"),
    NotificationKind.CANARY_ROLLED_BACK: _Wording(Severity.WARNING, "A canary of {} went back"),
    NotificationKind.BREAKER_OPENED: _Wording(Severity.ERROR, "The breaker of {} opened: its calls fail"),
    NotificationKind.CALL_DEAD: _Wording(Severity.ERROR, "Durable calls of {} are given up"),
    NotificationKind.DELIVERY_DEAD: _Wording(Severity.ERROR, "Deliveries to {} are given up"),
    NotificationKind.DESTINATION_FAILED: _Wording(Severity.ERROR, "Results of {} did not reach where they should go"),
    NotificationKind.SCHEDULE_FAILED: _Wording(Severity.ERROR, "Scheduled calls of {} fail"),
    NotificationKind.KEY_EXPIRING: _Wording(Severity.WARNING, "The API key {} expires"),
    NotificationKind.SECRETS_RESEALED: _Wording(Severity.INFO, "All secrets are sealed with master key {}"),
    NotificationKind.DATABASE_NEARLY_FULL: _Wording(Severity.WARNING, "The database {} is nearly full"),
    NotificationKind.DATABASE_FULL: _Wording(Severity.ERROR, "The database {} is full: functions can not write to it"),
    NotificationKind.SLO_BREACHED: _Wording(Severity.WARNING, "{} misses its objectives"),
    NotificationKind.SLO_MET: _Wording(Severity.INFO, "{} keeps its objectives again"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One row of `notifications`, as one reader sees it."""

    tenant: str  # "": the platform's
    namespace: str  # "": of the tenant as a whole
    id: UUID
    kind: NotificationKind
    subject: str
    detail: str
    count: int
    first_at: datetime
    last_at: datetime
    seq: int
    read_at: datetime | None  # None: not since it happened last

    @property
    def severity(self) -> Severity:
        return _WORDING[self.kind].severity

    @property
    def title(self) -> str:
        return _WORDING[self.kind].title.format(self.subject)


def kinds_of(severity: Severity) -> frozenset[NotificationKind]:
    """Return what is of a severity."""
    return frozenset(kind for kind, wording in _WORDING.items() if wording.severity is severity)
