"""Keeps databases of the platform's own server to their sizes: measures them, and holds those that are full.

A session can add between two measurements what the disk takes in that time; then it is ended, and nothing more comes.
"""

from __future__ import annotations

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nova.domain.database import Database, Fullness, fullness_of
from constellation.nova.service.databases import DatabaseKeeper
from constellation.nova.store.databases import Databases
from constellation.nova.store.provision import Server

log = structlog.get_logger()

MEASURE_S = 10.0  # chosen: a disk writes a few hundred MB a second at most
BATCH = 500
_RANK = (Fullness.OK, Fullness.NEARLY_FULL, Fullness.FULL)


class DatabaseSizes:
    """Measures again and again."""

    def __init__(self, databases: Databases, keeper: DatabaseKeeper) -> None:
        self._databases, self._keeper = databases, keeper

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        task_status.started()
        while True:
            try:
                await self.look()
            except ConstellationError as error:  # the supervision point: the next round tries again
                log.warning("databases.not_measured", reason=str(error))
            await anyio.sleep(MEASURE_S)

    async def look(self) -> None:
        """Measure every database once, and hold or release what has become full or is it no more."""
        after = ""
        while found := await self._databases.own(after=after, limit=BATCH):
            after = found[-1].role.role_name
            server = await self._keeper.own_server()
            sizes = await server.sizes([each.role.database_name for each in found])
            for database in found:
                size_bytes = sizes.get(database.role.database_name)
                if size_bytes is None or database.limits.size_mb is None:
                    continue
                try:
                    await self._heed(server, database, size_bytes, database.limits.size_mb)
                except ConstellationError as error:  # one of them; it was deleted meanwhile, say
                    log.warning("database.size_not_kept", role=database.role.role_name, reason=str(error))

    async def _heed(self, server: Server, database: Database, size_bytes: int, size_mb: int) -> None:
        before = database.fullness
        if before is Fullness.FULL:
            await server.compact(database.role)
            size_bytes = (await server.sizes([database.role.database_name])).get(
                database.role.database_name, size_bytes
            )
        fullness = fullness_of(size_bytes, size_mb, before)
        is_full, was_full = fullness is Fullness.FULL, before is Fullness.FULL
        if was_full and not is_full:
            await self._keeper.release(database)  # first, so that a kill has it done again; and the other way below
        if (size_bytes, fullness) != (database.size_bytes, before):
            is_worse = _RANK.index(fullness) > _RANK.index(before)
            await self._databases.measured(database, size_bytes, fullness, tell=is_worse)
        if is_full:
            await self._keeper.hold(database)  # in every round: what a kill left half done is done then
        if is_full is not was_full:
            log.info(
                "database.held" if is_full else "database.released", role=database.role.role_name, size_bytes=size_bytes
            )
