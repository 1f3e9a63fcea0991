"""Wake-ups by NOTIFY: sent after the commit that they announce, one for all who commit meanwhile.

NOTIFY inside the writing transaction would hold a database-wide lock through its flush to disk, and "only when
the queue was empty" can lose a wake-up: a writer that saw a job which a worker is just taking stays silent,
commits after the worker's last look, and is found by the safety poll only. A NOTIFY of its own writes no WAL.
"""

from __future__ import annotations

import anyio

from constellation.nova.store.pool import Database, DatabaseUnavailable
from constellation.nova.store.queries import load

SQL = load("bell")

JOBS = "jobs"  # the channel that is notified after jobs were put in line


class Bell:
    """Rings one channel; at most one NOTIFY of this process is under way at a time."""

    def __init__(self, db: Database, channel: str) -> None:
        self._db, self._channel = db, channel
        self._ringing = anyio.Lock()
        self._rung = 0

    async def ring(self) -> None:
        """Wake the listeners of the channel. Returns when a NOTIFY that began after this call is sent.

        A server that went away is not an error here: what was to be announced is committed, and a listener
        looks again when it reconnects.
        """
        before = self._rung
        async with self._ringing:
            if self._rung != before:  # one began while we stood in line
                return
            self._rung += 1
            try:
                await self._db.fetch_value(SQL["ring"], self._channel)
            except DatabaseUnavailable:
                return
