"""Tenants and namespaces. What is deleted takes everything in it along, logs included."""

from __future__ import annotations

import asyncpg

from constellation.base.errors import AlreadyExists, InvalidRequest, NotFound, StateConflict, VersionConflict
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT
from constellation.nova.domain.quota import DEFAULT_TIER
from constellation.nova.domain.tenancy import Namespace, Tenant, TenantStatus
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load
from constellation.nova.store.seeds import TenantSeed, plant

SQL = load("tenancy")


class Tenancy:
    """The tables tenants and namespaces."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create_tenant(
        self, tenant: str, *, name: str = "", tier: str = DEFAULT_TIER, seed: TenantSeed | None = None
    ) -> Tenant:
        """Write a new tenant with its default namespace and what it begins with: all of it, or nothing.

        Raises:
            AlreadyExists: there is one of this id.
            InvalidRequest: there is no such tier.
            QuotaExceeded: the tier lets it have no function, or none like the seed's.
        """
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["insert_tenant"], tenant, name, tier)
                assert row is not None
                await tx.fetch_row(SQL["insert_namespace"], tenant, DEFAULT_NAMESPACE)
                if seed is not None:
                    await plant(tx, seed)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("tenant", tenant) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise _no_tier(tier) from error
        return _tenant(row)

    async def get_tenant(self, tenant: str) -> Tenant:
        """Return a tenant. Raises `NotFound`."""
        found = await self.try_get_tenant(tenant)
        if found is None:
            raise NotFound("tenant", tenant)
        return found

    async def try_get_tenant(self, tenant: str) -> Tenant | None:
        row = await self._db.fetch_row(SQL["get_tenant"], tenant)
        return None if row is None else _tenant(row)

    async def list_tenants(self, *, limit: int = 100, offset: int = 0) -> Page[Tenant]:
        """Return tenants by id, with the exact total."""
        rows = await self._db.fetch(SQL["list_tenants"], limit, offset)
        total: int = await self._db.fetch_value(SQL["count_tenants"])
        return Page(items=tuple(map(_tenant, rows)), total=total, has_more=offset + len(rows) < total)

    async def update_tenant(self, tenant: Tenant) -> Tenant:
        """Write name, status and tier over the row that the caller read.

        Raises:
            NotFound: it was deleted.
            InvalidRequest: there is no such tier.
            VersionConflict: it was changed since it was read.
        """
        written = (tenant.id, tenant.name, tenant.status, tenant.version, tenant.tier)
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["update_tenant"], *written)
                if row is None:
                    if await tx.fetch_row(SQL["get_tenant"], tenant.id) is None:
                        raise NotFound("tenant", tenant.id)
                    raise VersionConflict("tenant", tenant.id)
        except asyncpg.ForeignKeyViolationError as error:
            raise _no_tier(tenant.tier) from error
        return _tenant(row)

    async def delete_tenant(self, tenant: str) -> None:
        """Delete a tenant with all that it has.

        Raises:
            StateConflict: it is the default tenant.
            NotFound: there is no such tenant.
        """
        if tenant == DEFAULT_TENANT:
            raise StateConflict("tenant", tenant, state="the default tenant", wanted="another one")
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete_tenant"], tenant):
                raise NotFound("tenant", tenant)
            await tx.execute(SQL["delete_artifacts"], tenant)
            await tx.execute(SQL["delete_audit"], tenant)
            await _delete_history(tx, tenant, None)

    async def create_namespace(self, tenant: str, name: str) -> Namespace:
        """Write a new namespace.

        Raises:
            AlreadyExists: the tenant has it.
            NotFound: there is no such tenant.
        """
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["insert_namespace"], tenant, name)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("namespace", name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", tenant) from error
        assert row is not None
        return Namespace(**row)

    async def get_namespace(self, tenant: str, name: str) -> Namespace:
        """Return a namespace. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get_namespace"], tenant, name)
        if row is None:
            raise NotFound("namespace", name)
        return Namespace(**row)

    async def list_namespaces(self, tenant: str, *, limit: int = 100, offset: int = 0) -> Page[Namespace]:
        """Return a tenant's namespaces by name, with the exact total."""
        rows = await self._db.fetch(SQL["list_namespaces"], tenant, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_namespaces"], tenant)
        return Page(items=tuple(Namespace(**row) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def delete_namespace(self, tenant: str, name: str) -> None:
        """Delete a namespace with its functions, schedules, jobs, logs and the keys that act in it only.

        Raises:
            StateConflict: it is default/default, or the tenant's last namespace.
            NotFound: there is no such namespace.
        """
        if (tenant, name) == (DEFAULT_TENANT, DEFAULT_NAMESPACE):
            raise StateConflict("namespace", name, state="the default namespace", wanted="another one")
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["serialize"])  # two deletes at once must not each see the other's namespace
            if not await tx.execute(SQL["delete_namespace"], tenant, name):
                raise NotFound("namespace", name)
            if await tx.fetch_value(SQL["count_namespaces"], tenant) == 0:
                raise StateConflict("namespace", name, state="the tenant's last", wanted="one of several")
            await tx.execute(SQL["delete_keys"], tenant, name)
            await _delete_history(tx, tenant, name)


async def _delete_history(tx: Session, tenant: str, namespace: str | None) -> None:
    for table in ("jobs", "job_keys", "call_keys", "jobs_done", "invocations", "messages", "notices", "notifications"):
        await tx.execute(SQL[f"delete_{table}"], tenant, namespace)


def _no_tier(name: str) -> InvalidRequest:
    return InvalidRequest(f"there is no tier {name[:80]!r}", field="tier")


def _tenant(row: Record) -> Tenant:
    columns = dict(row)
    return Tenant(**columns | {"status": TenantStatus(columns["status"])})
