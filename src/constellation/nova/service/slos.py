"""Holds functions against their objectives: a look at each as often as its window moves. What follows is the domain's.

What people were told is in the database, so a restart tells nothing twice; how many looks agreed is not, and is counted anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.nova.domain.notification import NotificationKind
from constellation.nova.domain.slo import Objective, Slo, Snapshot, Watch, look, told_of
from constellation.nova.store.listen import Wakeup

log = structlog.get_logger()

SAFETY_POLL_S = 30.0  # chosen: finds a policy whose notification was lost
RETRY_S = 2.0  # chosen: the database is away
BATCH = 500


class SloBook(Protocol):
    """The policies as they are stored; see `nova.store.slos`."""

    async def enabled(self, after: Slo | None, *, limit: int) -> Sequence[Slo]: ...

    async def snapshot(self, slo: Slo) -> Snapshot: ...

    async def settle(
        self, slo: Slo, missed: frozenset[Objective], *, kind: NotificationKind | None, detail: str
    ) -> Slo | None: ...


@dataclass(slots=True)
class _Watched:
    slo: Slo
    watch: Watch
    due_s: float


class SloKeeper:
    """Looks after every policy. Several may run: what one wrote, the others find."""

    def __init__(self, book: SloBook, *, now_s: Callable[[], float] = anyio.current_time) -> None:
        self._book, self._now_s = book, now_s
        self._watched: dict[tuple[str, UUID], _Watched] = {}
        self._read_s = -math.inf  # when the policies were read last

    async def run(
        self, subscription: AbstractContextManager[Wakeup], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Work until cancelled; `subscription` wakes when a policy is set or taken back."""
        with subscription as wakeup:
            task_status.started()
            while True:
                try:
                    wait_s = await self.round()
                except ConstellationError as error:  # the supervision point: the next round may do better
                    log.warning("slos.not_read", reason=str(error))
                    wait_s = RETRY_S
                if await wakeup.wait(within_s=wait_s):
                    self._read_s = -math.inf

    async def round(self) -> float:
        """Look at what is due; return how long nothing is, in seconds."""
        if self._now_s() - self._read_s >= SAFETY_POLL_S:
            await self._read()
        for each in list(self._watched.values()):
            if each.due_s > self._now_s():
                continue
            try:
                await self._look(each)
            except ConstellationError as error:  # one of them; its calls are too many for the database now, say
                log.warning(
                    "slo.not_looked_at", tenant=each.slo.tenant, function=each.slo.function_name, reason=str(error)
                )
            each.due_s = self._now_s() + each.slo.policy.look_s
        next_s = min((each.due_s for each in self._watched.values()), default=math.inf)
        return max(0.0, min(next_s, self._read_s + SAFETY_POLL_S) - self._now_s())

    async def _read(self) -> None:
        """Take up what is new or was changed, and drop what is gone."""
        began_s, found, last = self._now_s(), {}, None
        while part := await self._book.enabled(last, limit=BATCH):
            last = part[-1]
            for slo in part:
                known = self._watched.get(key := (slo.tenant, slo.function_id))
                is_known = known is not None and known.slo.version == slo.version
                found[key] = known if known and is_known else _Watched(slo, Watch(breached=slo.breached), began_s)
        self._watched, self._read_s = found, began_s

    async def _look(self, watched: _Watched) -> None:
        slo = watched.slo
        snapshot = await self._book.snapshot(slo)
        watched.watch = look(slo.policy, watched.watch, snapshot)
        missed = watched.watch.breached
        if missed == slo.breached:
            return
        kind, detail = _notice(slo, missed, snapshot)
        settled = await self._book.settle(slo, missed, kind=kind, detail=detail)
        if settled is None:  # another policy, or another nova's word: read again at once
            watched.watch, self._read_s = Watch(breached=slo.breached), -math.inf
            return
        watched.slo = settled
        log.info(
            "slo.settled",
            tenant=slo.tenant,
            namespace=slo.namespace,
            function=slo.function_name,
            missed=sorted(missed),
            detail=detail,
        )


def _notice(slo: Slo, missed: frozenset[Objective], snapshot: Snapshot) -> tuple[NotificationKind | None, str]:
    """Return what people are told, and how the objectives do that it is about: one more is missed, or none any more."""
    if new := missed - slo.breached:
        return NotificationKind.SLO_BREACHED, told_of(slo.policy, new, snapshot)
    kind = None if missed else NotificationKind.SLO_MET
    return kind, told_of(slo.policy, slo.breached - missed, snapshot)
