"""Interactive sandboxes: counted when made, moved from state to state by the comet that has them.

All times are the database's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from constellation.base.errors import ConstellationError, NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.config.sections import MachineSettings
from constellation.nova.domain.sandbox import FROM, OnIdle, Sandbox, SandboxState
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("sandboxes")

MAX_PORTS = 32


class SandboxLimit(ConstellationError):
    """The tenant has as many sandboxes, or as much memory in them, as it may have."""

    code, http_status, retryable = "sandbox_limit", 429, True

    def __init__(self, what: str, *, limit: int) -> None:
        super().__init__(f"the tenant's sandboxes: {what} is over {limit}", extras={"limit": limit}, retry_after_s=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSandbox:
    tenant: str
    namespace: str
    template: str
    memory_mb: int
    cpu_millis: int
    disk_mb: int
    processes: int
    ttl_s: float
    idle_timeout_s: float
    on_idle: OnIdle
    env: Mapping[str, str]
    backend: str = "namespace"  # where it lives
    image: str = ""  # of a container, pinned; "": its template's
    ports: Sequence[int] = ()
    forked_from: UUID | None = None
    id: UUID = field(default_factory=uuid7)


class Sandboxes:
    """The table sandboxes, as the comet of one node writes it."""

    def __init__(self, db: Database, *, node: str, limits: Callable[[str], MachineSettings]) -> None:
        """Work for one node; `limits` are those of a tenant."""
        self._db, self._node, self._limits = db, node, limits

    async def insert(self, new: NewSandbox) -> Sandbox:
        """Write the row of one that is being made.

        Raises:
            SandboxLimit
            NotFound: the namespace is gone.
        """
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock_tenant"], new.tenant)
            living = await tx.fetch_row(SQL["count_living"], new.tenant)
            assert living is not None
            limits = self._limits(new.tenant)
            if living["count"] >= limits.max_per_tenant:
                raise SandboxLimit("their number", limit=limits.max_per_tenant)
            max_memory_mb = limits.memory_per_tenant_bytes >> 20
            if living["memory_mb"] + new.memory_mb + new.disk_mb > max_memory_mb:
                raise SandboxLimit("their memory, with disks, in MiB", limit=max_memory_mb)
            try:
                row = await tx.fetch_row(
                    SQL["insert"],
                    new.tenant, new.namespace, new.id, new.template, new.memory_mb, new.cpu_millis, new.disk_mb,
                    new.processes, new.idle_timeout_s, new.on_idle, msgspec.json.encode(new.env).decode(), list(new.ports), new.forked_from,
                    new.ttl_s, self._node, new.backend, new.image,
                )  # fmt: skip
            except asyncpg.ForeignKeyViolationError as error:
                raise NotFound("namespace", new.namespace) from error
        assert row is not None
        return _sandbox(row)

    async def get(self, tenant: str, namespace: str, sandbox_id: UUID) -> Sandbox:
        """Return a sandbox. Raises `NotFound`."""
        return _found(await self._db.fetch_row(SQL["get"], tenant, namespace, sandbox_id), sandbox_id)

    async def list(
        self, tenant: str, namespace: str, *, state: SandboxState | None = None, limit: int = 100, offset: int = 0
    ) -> Page[Sandbox]:
        """Return those of a scope, newest first: of one state, or all that have not ended."""
        rows = await self._db.fetch(SQL["list"], tenant, namespace, state, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, namespace, state)
        return Page(items=tuple(map(_sandbox, rows)), total=total, has_more=offset + len(rows) < total)

    async def move(self, sandbox: Sandbox, to: SandboxState, *, reason: str = "") -> Sandbox:
        """Write a state that can be reached from the one it is in.

        Raises:
            StateConflict: it is in another by now, or another comet has it.
        """
        row = await self._write_row(
            SQL["move"], sandbox.tenant, sandbox.id, sandbox.generation, to, list(FROM[to]), reason[:500]
        )
        if row is None:
            now = await self.get(sandbox.tenant, sandbox.namespace, sandbox.id)
            raise StateConflict("sandbox", str(sandbox.id), state=now.state, wanted=" or ".join(FROM[to]))
        return _sandbox(row)

    async def extend(
        self, tenant: str, namespace: str, sandbox_id: UUID, *, ttl_s: float | None, idle_timeout_s: float | None
    ) -> Sandbox:
        """Set when it ends, from now on. Raises `NotFound`."""
        row = await self._write_row(SQL["extend"], tenant, namespace, sandbox_id, ttl_s, idle_timeout_s)
        return _found(row, sandbox_id)

    async def expose(self, tenant: str, namespace: str, sandbox_id: UUID, port: int) -> Sandbox:
        """Let the gateway pass a port on.

        Raises:
            NotFound
            SandboxLimit: it has as many as it may have.
        """
        row = await self._write_row(SQL["expose"], tenant, namespace, sandbox_id, port, MAX_PORTS)
        if row is None:
            found = await self.get(tenant, namespace, sandbox_id)
            if found.state is SandboxState.ENDED:
                raise NotFound("sandbox", str(sandbox_id))
            raise SandboxLimit("the number of exposed ports", limit=MAX_PORTS)
        return _sandbox(row)

    async def close_port(self, tenant: str, namespace: str, sandbox_id: UUID, port: int) -> Sandbox:
        """Pass a port on no longer. Raises `NotFound`."""
        return _found(await self._write_row(SQL["close_port"], tenant, namespace, sandbox_id, port), sandbox_id)

    async def note_used(self, used: Mapping[UUID, datetime]) -> None:
        if used:
            async with self._db.transaction(is_durable=False) as tx:
                await tx.execute(SQL["used"], self._node, list(used), list(used.values()))

    async def adopt(self) -> Sequence[Sandbox]:
        """Take over what this node has; whoever had it before can write nothing from now on."""
        async with self._db.transaction() as tx:
            return tuple(map(_sandbox, await tx.fetch(SQL["adopt"], self._node)))

    async def of_node(self) -> Sequence[Sandbox]:
        """Return what this node has."""
        return tuple(map(_sandbox, await self._db.fetch(SQL["of_node"], self._node)))

    async def suspended(self) -> frozenset[UUID]:
        """Return those of this node whose tenant is suspended."""
        return frozenset(row["id"] for row in await self._db.fetch(SQL["suspended"], self._node))

    async def now(self) -> datetime:
        found: datetime = await self._db.fetch_value(SQL["now"])
        return found

    async def forget(self, *, ended_s: float) -> None:
        """Delete the rows of those that ended so many seconds ago."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["forget"], ended_s)

    async def _write_row(self, sql: str, *args: object) -> Record | None:
        async with self._db.transaction() as tx:
            return await tx.fetch_row(sql, *args)


def _found(row: Record | None, sandbox_id: UUID) -> Sandbox:
    if row is None:
        raise NotFound("sandbox", str(sandbox_id))
    return _sandbox(row)


def _sandbox(row: Record) -> Sandbox:
    columns = dict(row.items())
    return Sandbox(
        **columns
        | {
            "state": SandboxState(columns["state"]),
            "on_idle": OnIdle(columns["on_idle"]),
            "ports": tuple(columns["ports"]),
            "env": msgspec.json.decode(columns["env"], type=dict[str, str]),
        }
    )
