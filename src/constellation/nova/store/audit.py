"""The audit: rows are added and read, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from constellation.nova.domain.audit import AuditEvent, Outcome
from constellation.nova.store.page import COUNT_LIMIT, Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which rows; None leaves a question out."""

    tenant: str | None
    namespace: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    resource: str | None = None  # what it begins with
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def arguments(self) -> tuple[object, ...]:
        """In the order of the queries."""
        return (
            self.tenant, self.namespace, self.actor, self.action, self.outcome, self.resource, self.request_id,
            self.since, self.until,
        )  # fmt: skip


class Audit:
    """The table audit."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, events: Sequence[AuditEvent]) -> None:
        """Write events; those that are there already stay as they are."""
        columns = zip(*map(_columns, events), strict=True)
        async with self._db.transaction() as tx:
            await tx.execute(SQL["insert"], *(list(column) for column in columns))

    async def list(self, wanted: AuditFilter, *, limit: int = 100, offset: int = 0) -> Page[AuditEvent]:
        """Return events, newest first, counted up to `COUNT_LIMIT`."""
        found = await self._db.fetch(SQL["list"], *wanted.arguments(), limit + 1, offset)
        count: int = await self._db.fetch_value(SQL["count"], *wanted.arguments(), COUNT_LIMIT)
        return Page(
            items=tuple(map(_event, found[:limit])),
            total=count,
            total_is_exact=count < COUNT_LIMIT,
            has_more=len(found) > limit,
        )


def _columns(event: AuditEvent) -> tuple[object, ...]:
    return (
        event.tenant, event.namespace, event.id, event.actor, event.action, event.method, event.resource,
        ",".join(event.fields), event.outcome.value, event.status, event.code, event.request_id, event.peer,
        event.user_agent, event.count,
    )  # fmt: skip


def _event(row: Record) -> AuditEvent:
    columns = dict(row)
    return AuditEvent(**columns | {"fields": tuple(columns["fields"]), "outcome": Outcome(columns["outcome"])})
