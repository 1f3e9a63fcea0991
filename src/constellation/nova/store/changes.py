"""The change log, in commit order: who saw number n has missed no smaller one."""

from __future__ import annotations

from constellation.nova.domain.change import Change, ChangeKind
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("changes")

CHANNEL = "changes"  # notified at each commit that changed something


class Changes:
    """The table changes; written by triggers only."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def after(self, seq: int, *, limit: int = 1000) -> tuple[Change, ...]:
        """Return up to `limit` changes with a greater number, in order.

        Numbers have gaps. A reader whose number lies before `oldest` has missed some and reads everything again.
        """
        rows = await self._db.fetch(SQL["after"], seq, limit)
        return tuple(Change(**dict(row) | {"kind": ChangeKind(row["kind"])}) for row in rows)

    async def head(self) -> int:
        """Return the newest number, or 0."""
        row = await self._db.fetch_row(SQL["bounds"])
        return row["newest"] if row else 0

    async def oldest(self) -> int:
        """Return the oldest number that is kept, or 0 when none is."""
        row = await self._db.fetch_row(SQL["bounds"])
        return row["oldest"] if row else 0
