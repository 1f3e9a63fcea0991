"""The figures of the proxy. Their labels are few, whatever guests do."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from constellation.comet.databases.conversation import Outcome

_REASONS = {"53300": "sessions", "connections": "connections", "28000": "login", "08006": "server", "3D000": "database"}


class DatabaseMeters:
    """Counts sessions, statements and refusals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sessions = Gauge(
            "constellation_database_sessions", "Sessions of functions with databases", registry=registry
        )
        self._statements = Counter(
            "constellation_database_statements",
            "Statements of functions, by what became of them",
            ("outcome",),
            registry=registry,
        )
        self._rows = Counter(
            "constellation_database_rows", "Rows that statements gave back or touched", registry=registry
        )
        self._refused = Counter(
            "constellation_database_sessions_refused", "Sessions that were not let in", ("reason",), registry=registry
        )
        self.requests_dropped = Counter(
            "constellation_database_requests_dropped",
            "Rows of the log of databases that were not written",
            registry=registry,
        )
        for outcome in Outcome:
            self._statements.labels(outcome.value)

    def sessions(self, count: int) -> None:
        self._sessions.set(count)

    def statement(self, outcome: Outcome, *, rows: int) -> None:
        self._statements.labels(outcome.value).inc()
        self._rows.inc(rows)

    def refused(self, reason: str) -> None:
        """Count a session that was not let in, by SQLSTATE or by our own word."""
        self._refused.labels(_REASONS.get(reason, "protocol")).inc()
