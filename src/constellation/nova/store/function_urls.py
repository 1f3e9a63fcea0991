"""How functions are reached by their URLs. A change of it is a change of the function, to those who follow."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import asyncpg

from constellation.base.errors import NotFound
from constellation.nova.domain.function_url import DEFAULT_URL, Cors, FunctionUrl, InvokeMode, UrlAuth
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("function_urls")

_CORS = tuple(field.name for field in fields(Cors))  # each a column; in the order of `put`
_LISTS = ("allow_origins", "allow_methods", "allow_headers", "expose_headers")


class FunctionUrls:
    """The table function_urls."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, tenant: str, namespace: str, name: str) -> FunctionUrl:
        """Return the settings, the defaults where nobody set any. Raises `NotFound`: there is no such function."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name)
        if row is None:
            raise NotFound("function", name)
        if row["enabled"] is None:
            return DEFAULT_URL
        cors: dict[str, Any] = {field: tuple(row[field]) if field in _LISTS else row[field] for field in _CORS}
        return FunctionUrl(
            enabled=row["enabled"],
            auth=UrlAuth(row["auth"]),
            invoke_mode=InvokeMode(row["invoke_mode"]),
            cors=Cors(**cors),
        )

    async def put(self, tenant: str, namespace: str, name: str, url: FunctionUrl) -> None:
        """Write the settings. Raises `NotFound`: there is no such function."""
        columns = (getattr(url.cors, field) for field in _CORS)
        values = (list(value) if isinstance(value, tuple) else value for value in columns)
        try:
            async with self._db.transaction() as tx:
                await tx.execute(
                    SQL["put"], tenant, namespace, name, url.enabled, url.auth.value, url.invoke_mode.value, *values
                )
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", name) from error

    async def delete(self, tenant: str, namespace: str, name: str) -> None:
        """Forget the settings, if there are any. Raises `NotFound`: there is no such function."""
        await self.get(tenant, namespace, name)
        async with self._db.transaction() as tx:
            await tx.execute(SQL["delete"], tenant, namespace, name)
