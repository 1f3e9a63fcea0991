"""Who may call functions. It is read with the function, and a change of it is a change of the function."""

from __future__ import annotations

import asyncpg

from constellation.base.errors import NotFound
from constellation.nova.domain.ingress import IngressPolicy
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("ingress")


class Ingress:
    """The table function_ingress."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, tenant: str, namespace: str, name: str, policy: IngressPolicy) -> None:
        """Write a policy. Raises `NotFound`: there is no such function."""
        rules = (policy.callers, policy.functions, policy.allow, policy.deny)
        try:
            async with self._db.transaction() as tx:
                await tx.execute(SQL["put"], tenant, namespace, name, *(list(map(str, each)) for each in rules))
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", name) from error

    async def delete(self, tenant: str, namespace: str, name: str) -> None:
        """Forget a policy, if there is one."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["delete"], tenant, namespace, name)
