"""Notices breakers that open: the table opens and closes them by itself, so they are looked at."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import structlog

from constellation.base.clock import Clock
from constellation.base.errors import ConstellationError
from constellation.comet.pool.pool import Served
from constellation.native.table import Table
from constellation.native.table_values import Breaker
from constellation.nova.domain.function import Function
from constellation.nova.domain.notification import NotificationKind

log = structlog.get_logger()

LOOK_S = 1.0  # chosen: as long as the shortest time that a breaker stays open; a look at one takes a microsecond

Slot = tuple[UUID, int]


class Pool(Protocol):
    def served(self, function_id: UUID, pin: int = 0) -> Served | None: ...


class Outbox(Protocol):
    async def tell(self, tenant: str, namespace: str, kind: NotificationKind, subject: str, detail: str) -> None: ...


class BreakerWatch:
    """Watches the functions that have a breaker; `run` tells of each time that one opens from being closed."""

    def __init__(self, table: Table, pool: Pool, outbox: Outbox, *, clock: Clock) -> None:
        self._table, self._pool, self._outbox, self._clock = table, pool, outbox, clock
        self._guarded: dict[Slot, Function] = {}
        self._open: set[Slot] = set()

    def update(self, function: Function, *, is_suspended: bool) -> None:  # noqa: ARG002  of the watchers' protocol
        if function.capacity.breaker_error_percent > 0:
            self._guarded[function.slot] = function
        else:
            self.unpin(function)

    def remove(self, function_id: UUID) -> None:
        for slot in [slot for slot in self._guarded if slot[0] == function_id]:
            self.unpin(self._guarded[slot])

    def forget(self, function_id: UUID) -> None:
        self.remove(function_id)

    def unpin(self, function: Function) -> None:
        self._guarded.pop(function.slot, None)
        self._open.discard(function.slot)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                await self.look()
            except ConstellationError as error:  # the supervision point: it is told at the next look
                log.warning("breakers.not_told", reason=str(error))

    async def look(self) -> None:
        """Tell of breakers that opened since the last look."""
        for slot, function in list(self._guarded.items()):
            served = self._pool.served(*slot)
            if served is None:
                continue
            state = self._table.stats(served.handle).breaker
            if state is Breaker.CLOSED:
                self._open.discard(slot)
            elif slot not in self._open:
                policy = function.capacity
                share = f"{policy.breaker_error_percent} % of its calls within {policy.breaker_window_s:g} s failed"
                where, kind = (function.tenant, function.namespace), NotificationKind.BREAKER_OPENED
                await self._outbox.tell(*where, kind, function.name, share)
                self._open.add(slot)
