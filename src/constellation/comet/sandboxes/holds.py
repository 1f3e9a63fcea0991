"""What sandboxes hold of their tenants' quotas of memory and CPU.

The table counts it, beside the instances of functions, so that neither is a way round the other. This is which sandbox
took what, so that each gives back what it took and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import anyio

from constellation.base.errors import NotFound
from constellation.native.table_values import Detail, TenantHandle, TenantStats, Verdict
from constellation.nova.domain.quota import Dimension, QuotaExceeded
from constellation.nova.domain.sandbox import Sandbox, Share, share_of

_ROOM_S = 10.0  # chosen: longer than an idle instance takes to be gone
_POLL_S = 0.02
_RETRY_AFTER_S = 10  # chosen: a sandbox does not end as soon as a call does
_DIMENSIONS = {Detail.MEMORY: Dimension.MEMORY_MB, Detail.CPU: Dimension.VCPU_MILLI}


class HoldTenants(Protocol):
    async def handle_of(self, tenant: str) -> TenantHandle | None: ...


class HoldTable(Protocol):
    """What of the table this is about."""

    def hold(
        self, tenant: TenantHandle, *, memory_mb: int, cpu_millis: int, is_there: bool = False
    ) -> Detail | Verdict: ...

    def hold_waits(self, tenant: TenantHandle, *, memory_mb: int, cpu_millis: int) -> Detail: ...

    def unhold(self, tenant: TenantHandle, *, memory_mb: int, cpu_millis: int) -> None: ...

    def tenant_stats(self, tenant: TenantHandle) -> TenantStats: ...


@dataclass(frozen=True, slots=True)
class _Held:
    tenant: TenantHandle
    share: Share


class Holds:
    """Of the sandboxes of this node."""

    def __init__(self, tenants: HoldTenants, table: HoldTable) -> None:
        self._tenants, self._table = tenants, table
        self._held: dict[UUID, _Held] = {}

    async def take(self, sandbox_id: UUID, tenant: str, wanted: Share) -> None:
        """Let a sandbox have so much from now on, if its tenant may; what it has already it keeps.

        Idle instances of the tenant end where they are in the way. If it is refused or cancelled, it has what it had.

        Raises:
            QuotaExceeded
            NotFound: the tenant is gone.
        """
        handle = await self._tenants.handle_of(tenant)
        if handle is None:
            raise NotFound("tenant", tenant)
        had = self._held.get(sandbox_id, _Held(handle, Share()))
        more = wanted.beyond(had.share)
        answer = self._table.hold(had.tenant, memory_mb=more.memory_mb, cpu_millis=more.cpu_millis)
        if isinstance(answer, Verdict):
            raise self._refusal(had.tenant, Detail(answer.detail), more, limit=answer.limit)
        self._held[sandbox_id] = _Held(had.tenant, had.share.with_more(more))
        if answer is Detail.NONE:
            return
        try:
            await self._until_room(had.tenant, more)
        except BaseException:
            self.lower_nowait(sandbox_id, had.share)
            raise

    def lower_nowait(self, sandbox_id: UUID, to: Share) -> None:
        """Let a sandbox have no more than so much; the rest is given back."""
        held = self._held.get(sandbox_id)
        if held is None:
            return
        less = held.share.beyond(to)
        kept = Share(held.share.memory_mb - less.memory_mb, held.share.cpu_millis - less.cpu_millis)
        if kept == Share():
            del self._held[sandbox_id]
        else:
            self._held[sandbox_id] = _Held(held.tenant, kept)
        self._table.unhold(held.tenant, memory_mb=less.memory_mb, cpu_millis=less.cpu_millis)

    def drop_nowait(self, sandbox_id: UUID) -> None:
        """Give back all that it has."""
        self.lower_nowait(sandbox_id, Share())

    async def handles(self, tenants: Iterable[str]) -> Mapping[str, TenantHandle]:
        """Return those that `count_nowait` is to be told."""
        found = {tenant: await self._tenants.handle_of(tenant) for tenant in set(tenants)}
        return {tenant: handle for tenant, handle in found.items() if handle is not None}

    def has(self, sandbox: Sandbox) -> bool:
        """Tell whether a sandbox that is there has what it should."""
        held = self._held.get(sandbox.id)
        return held is not None and held.share == share_of(sandbox, sandbox.state)

    def count_nowait(self, sandbox: Sandbox, tenant: TenantHandle) -> None:
        """Let a sandbox that is there have what it should, whatever its tenant may: another comet had made it."""
        wanted = share_of(sandbox, sandbox.state)
        self.lower_nowait(sandbox.id, wanted)
        had = self._held.get(sandbox.id, _Held(tenant, Share()))
        more = wanted.beyond(had.share)
        self._table.hold(had.tenant, memory_mb=more.memory_mb, cpu_millis=more.cpu_millis, is_there=True)
        self._held[sandbox.id] = _Held(had.tenant, wanted)

    def drop_others_nowait(self, known: AbstractSet[UUID]) -> None:
        """Give back what sandboxes have that are not known any more."""
        for sandbox_id in self._held.keys() - known:
            self.drop_nowait(sandbox_id)

    async def _until_room(self, tenant: TenantHandle, more: Share) -> None:
        until_s = anyio.current_time() + _ROOM_S
        while waits := self._table.hold_waits(tenant, memory_mb=more.memory_mb, cpu_millis=more.cpu_millis):
            if anyio.current_time() >= until_s:
                raise self._refusal(tenant, waits, Share())
            await anyio.sleep(_POLL_S)

    def _refusal(self, tenant: TenantHandle, lacks: Detail, more: Share, *, limit: int | None = None) -> QuotaExceeded:
        stats = self._table.tenant_stats(tenant)
        is_memory = lacks is Detail.MEMORY
        used = stats.memory_mb + more.memory_mb if is_memory else stats.cpu_millis + more.cpu_millis
        return QuotaExceeded(_DIMENSIONS[lacks], used=used, limit=limit, retry_after_s=_RETRY_AFTER_S)
