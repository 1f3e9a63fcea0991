"""Figures over the invocation log: by the database, of a range that ends now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from constellation.nova.domain.advice import AT_TIMEOUT, QUEUED_MS, Calls
from constellation.nova.domain.function import DEFAULT_MEMORY_MB, Function
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("statistics")

SAMPLE = 500_000  # chosen: calls that one question looks at; about a second of the database


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Calls of a time; milliseconds, None where there were no calls."""

    calls: int
    errors: int
    cold_starts: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    mean_queued_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCall:
    id: UUID
    started_at: datetime
    duration_ms: float
    cold_start: bool
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    day: date
    calls: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    function_name: str
    calls: int
    cold_starts: int
    gb_seconds: float


class Statistics:
    """Questions to the table invocations; each names its scope, and a function or None for all."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def now(self) -> datetime:
        """Return the instant that ranges end at."""
        found: datetime = await self._db.fetch_value(SQL["now"])
        return found

    async def figures(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float, step_s: float
    ) -> tuple[Figures, Sequence[tuple[datetime, Figures]]]:
        """Return the figures of all calls of a range, and of each step of it that has calls with its beginning."""
        scope = (tenant, namespace, function_name)
        whole, *steps = await self._db.fetch(SQL["figures"], *scope, range_s, step_s, SAMPLE)
        return _figures(whole), [(row["at"], _figures(row)) for row in steps]

    async def by_function(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float
    ) -> tuple[Figures, Sequence[tuple[str, Figures]]]:
        """Return the figures of all calls of a range, and of each function that was called, the busiest first."""
        whole, *each = await self._db.fetch(SQL["by_function"], tenant, namespace, function_name, range_s, SAMPLE)
        return _figures(whole), [(row["function_name"], _figures(row)) for row in each]

    async def statuses(
        self, tenant: str, namespace: str, function_name: str | None, *, range_s: float
    ) -> dict[str, int]:
        """Return calls by how they ended, the most frequent first."""
        rows = await self._db.fetch(SQL["statuses"], tenant, namespace, function_name, range_s, SAMPLE)
        return {row["status"]: row["calls"] for row in rows}

    async def slowest(
        self, tenant: str, namespace: str, function_name: str, *, range_s: float, above_ms: float, limit: int
    ) -> Sequence[SlowCall]:
        """Return the slowest calls that took longer than `above_ms`."""
        scope = (tenant, namespace, function_name)
        rows = await self._db.fetch(SQL["slowest"], *scope, range_s, above_ms, limit, SAMPLE)
        return [SlowCall(**row) for row in rows]

    async def days(self, tenant: str, namespace: str, function_name: str | None, *, days: int) -> Sequence[Day]:
        """Return calls by day, UTC."""
        return [Day(**row) for row in await self._db.fetch(SQL["days"], tenant, namespace, function_name, days)]

    async def usage(self, tenant: str, namespace: str, function_name: str | None, *, range_s: float) -> Sequence[Usage]:
        """Return what each function used."""
        scope = (tenant, namespace, function_name)
        rows = await self._db.fetch(SQL["usage"], *scope, range_s, DEFAULT_MEMORY_MB)
        return [Usage(**row) for row in rows]

    async def advice(self, function: Function, *, days: int) -> Calls:
        """Return what the calls of a function's live version came to."""
        whose = (function.tenant, function.namespace, function.name, function.id)
        cut_off_ms = AT_TIMEOUT * function.timeout_s * 1000
        facts = (days, function.live_version, cut_off_ms, QUEUED_MS, SAMPLE)
        row = await self._db.fetch_row(SQL["advice"], *whose, *facts)
        assert row is not None  # an aggregate
        return Calls(**row)


def _figures(row: Record) -> Figures:
    p50, p95, p99 = row["percentiles"] or (None, None, None)
    return Figures(
        calls=row["calls"],
        errors=row["errors"],
        cold_starts=row["cold_starts"],
        mean_ms=row["mean_ms"],
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=row["max_ms"],
        mean_queued_ms=row["mean_queued_ms"],
    )
