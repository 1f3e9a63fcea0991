"""Who has which role, and the roles that tenants made themselves."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, StateConflict, VersionConflict
from constellation.nova.domain.access import Permission, Role
from constellation.nova.domain.grants import Effect, Grant
from constellation.nova.domain.people import Binding, CustomRole, known_permissions, role_permissions
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("bindings")
ROLES = load("custom_roles")


class Bindings:
    """The tables role_bindings and roles."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, binding: Binding) -> Binding:
        """Write a new binding.

        Raises:
            AlreadyExists: there is the same one already.
            NotFound: the tenant has no such role.
            StateConflict: nobody would administer the platform.
        """
        try:
            async with self._db.transaction() as tx:
                made = await insert(tx, binding)
                if binding.is_platforms:
                    await refuse_without_admin(tx, "binding", binding.subject)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("binding", f"of {binding.role} to {binding.subject}") from error
        return made

    async def get(self, tenant: str, binding: UUID) -> Binding:
        """Return a binding. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, binding)
        if row is None:
            raise NotFound("binding", str(binding))
        return _binding(row)

    async def list(self, tenant: str, *, subject: str | None, limit: int = 100, offset: int = 0) -> Page[Binding]:
        """Return a tenant's bindings, newest first, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, subject, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, subject)
        return Page(items=tuple(map(_binding, rows)), total=total, has_more=offset + len(rows) < total)

    async def delete(self, binding: Binding) -> None:
        """Delete a binding.

        Raises:
            NotFound: it was deleted.
            StateConflict: nobody would administer the platform.
        """
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], binding.tenant, binding.id):
                raise NotFound("binding", str(binding.id))
            if binding.is_platforms:
                await refuse_without_admin(tx, "binding", binding.subject)

    async def grants(self, tenant: str, subject: str) -> tuple[Grant, ...]:
        """Return what a subject's bindings come to."""
        return tuple(map(_grant, await self._db.fetch(SQL["grants"], tenant, subject)))

    async def create_role(self, role: CustomRole) -> CustomRole:
        """Write a new role; version and times are the database's.

        Raises:
            AlreadyExists: the tenant has a role of this name.
            NotFound: the tenant does not exist.
        """
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(
                    ROLES["insert"], role.tenant, role.name, role.description, sorted(role.permissions)
                )
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("role", role.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", role.tenant) from error
        assert row is not None
        return _role(row)

    async def get_role(self, tenant: str, name: str) -> CustomRole:
        """Return a role of a tenant's own. Raises `NotFound`."""
        row = await self._db.fetch_row(ROLES["get"], tenant, name)
        if row is None:
            raise NotFound("role", name)
        return _role(row)

    async def permissions_of(self, tenant: str, role: str) -> frozenset[Permission]:
        """Return what a role permits, built-in or the tenant's own. Raises `NotFound`."""
        if role in list(Role):
            return role_permissions(role, None)
        return (await self.get_role(tenant, role)).permissions

    async def list_roles(self, tenant: str, *, limit: int = 100, offset: int = 0) -> Page[CustomRole]:
        """Return a tenant's own roles by name, with the exact total."""
        rows = await self._db.fetch(ROLES["list"], tenant, limit, offset)
        total: int = await self._db.fetch_value(ROLES["count"], tenant)
        return Page(items=tuple(map(_role, rows)), total=total, has_more=offset + len(rows) < total)

    async def update_role(self, role: CustomRole) -> CustomRole:
        """Write description and permissions over the row that the caller read.

        Raises:
            NotFound: it was deleted.
            VersionConflict: it was changed since it was read.
        """
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(
                ROLES["update"], role.tenant, role.name, role.description, sorted(role.permissions), role.version
            )
            if row is None:
                if await tx.fetch_row(ROLES["get"], role.tenant, role.name) is None:
                    raise NotFound("role", role.name)
                raise VersionConflict("role", role.name)
        return _role(row)

    async def delete_role(self, tenant: str, name: str) -> None:
        """Delete a role that nobody has.

        Raises:
            NotFound: the tenant has no such role.
            StateConflict: somebody has it.
        """
        async with self._db.transaction() as tx:
            if not await tx.execute(ROLES["delete"], tenant, name):
                raise NotFound("role", name)
            # The trigger's lock lets nobody write bindings or keys meanwhile.
            uses: int = await tx.fetch_value(ROLES["uses"], tenant, name)
            if uses:
                raise StateConflict("role", name, state=f"held by {uses} bindings and keys", wanted="held by nobody")


async def insert(tx: Session, binding: Binding) -> Binding:
    """Write a binding in a transaction of the caller's. Raises `NotFound` when the tenant has no such role."""
    await hold_role(tx, binding.tenant, binding.role)
    row = await tx.fetch_row(
        SQL["insert"],
        binding.tenant,
        binding.id,
        binding.subject,
        binding.role,
        binding.effect,
        binding.namespace,
        binding.functions,
        binding.created_by,
    )
    assert row is not None
    return _binding(row)


async def hold_role(tx: Session, tenant: str, role: str) -> None:
    """Keep a role from being deleted until the transaction ends. Raises `NotFound` when the tenant has no such role."""
    if role in list(Role):
        return
    await tx.fetch_value(ROLES["serialize"])  # before any row is held, as the triggers of who deletes roles do
    if await tx.fetch_row(ROLES["get"], tenant, role) is None:
        raise NotFound("role", role)


async def refuse_without_admin(tx: Session, kind: str, name: str) -> None:
    """Raise `StateConflict` when what was written leaves nobody who administers the platform."""
    if not await tx.fetch_value(SQL["has_platform_admin"]):
        raise StateConflict(kind, name, state="the last platform administrator's", wanted="one of several")


def _grant(row: Record) -> Grant:
    own: Sequence[str] | None = row["permissions"]
    return Grant(
        permissions=role_permissions(row["role"], None if own is None else known_permissions(list(own))),
        effect=Effect(row["effect"]),
        namespace=row["namespace"],
        functions=tuple(row["functions"]),
    )


def _binding(row: Record) -> Binding:
    columns = dict(row)
    return Binding(**columns | {"effect": Effect(columns["effect"]), "functions": tuple(columns["functions"])})


def _role(row: Record) -> CustomRole:
    columns = dict(row)
    return CustomRole(**columns | {"permissions": known_permissions(list(columns["permissions"]))})
