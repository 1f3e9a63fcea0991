"""Accounts of programs. Their keys are rows of `api_keys`."""

from __future__ import annotations

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, VersionConflict
from constellation.nova.domain.people import ServiceAccount
from constellation.nova.store import bindings
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("service_accounts")


class ServiceAccounts:
    """The table service_accounts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, tenant: str, name: str, *, description: str) -> ServiceAccount:
        """Write a new account, which has no role and no key yet.

        Raises:
            AlreadyExists: the tenant has an account of this name.
            NotFound: the tenant does not exist.
        """
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["insert"], tenant, name, description)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("service account", name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", tenant) from error
        assert row is not None
        return ServiceAccount(**row)

    async def get(self, tenant: str, name: str) -> ServiceAccount:
        """Return an account. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, name)
        if row is None:
            raise NotFound("service account", name)
        return ServiceAccount(**row)

    async def list(self, tenant: str, *, limit: int = 100, offset: int = 0) -> Page[ServiceAccount]:
        """Return a tenant's accounts by name, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant)
        return Page(
            items=tuple(ServiceAccount(**row) for row in rows), total=total, has_more=offset + len(rows) < total
        )

    async def update(self, account: ServiceAccount) -> ServiceAccount:
        """Write description and enabled over the row that the caller read.

        Raises:
            NotFound: it was deleted.
            VersionConflict: it was changed since it was read.
        """
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(
                SQL["update"], account.tenant, account.name, account.description, account.enabled, account.version
            )
            if row is None:
                if await tx.fetch_row(SQL["get"], account.tenant, account.name) is None:
                    raise NotFound("service account", account.name)
                raise VersionConflict("service account", account.name)
        return ServiceAccount(**row)

    async def delete(self, account: ServiceAccount) -> None:
        """Delete an account with its keys and bindings. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], account.tenant, account.name):
                raise NotFound("service account", account.name)
            await tx.execute(bindings.SQL["delete_of"], account.tenant, account.subject)
