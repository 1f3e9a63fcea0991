"""What is written about functions, and the links to it."""

from __future__ import annotations

import secrets
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import asyncpg

from constellation.base.errors import NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.docs import MAX_SHARES, Docs, Share, SharedDocs, ShareExpired, TooManyShares
from constellation.nova.domain.function import Function
from constellation.nova.store import functions
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("docs")

_TOKEN_BYTES = 24  # 192 bits: nobody guesses it


class FunctionDocs:
    """The tables function_docs and doc_shares."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, tenant: str, namespace: str, name: str) -> Docs:
        """Return the docs of a function. Raises `NotFound`: there are none."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, name)
        if row is None:
            raise NotFound("docs", name)
        return Docs(**dict(row))

    async def put(self, tenant: str, namespace: str, name: str, content: str) -> Docs:
        """Write the docs of a function. Raises `NotFound`: there is no such function."""
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["put"], tenant, namespace, name, content)
                await tx.execute(functions.SQL["index"], tenant, namespace, name)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", name) from error
        assert row is not None
        return Docs(**dict(row))

    async def delete(self, tenant: str, namespace: str, name: str) -> None:
        """Forget the docs of a function. Raises `NotFound`: there are none."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], tenant, namespace, name):
                raise NotFound("docs", name)
            await tx.execute(functions.SQL["index"], tenant, namespace, name)

    async def share(
        self, function: Function, *, title: str, created_by: str, expires_at: datetime
    ) -> tuple[Share, str]:
        """Make a link to the docs of a function and return it with its token, which nobody can tell again.

        Raises:
            NotFound: the function was deleted.
            TooManyShares: it has as many links as it may have.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        facts = (uuid7(), title, _hashed(token), created_by, expires_at, MAX_SHARES)
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(SQL["insert_share"], *function.key, *facts)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("function", function.name) from error
        if row is None:
            raise TooManyShares(function.name)
        return Share(**dict(row)), token

    async def shares(self, function: Function, *, limit: int = 100, offset: int = 0) -> Page[Share]:
        """Return the links of a function, newest first, expired ones too, with the exact total."""
        rows = await self._db.fetch(SQL["list_shares"], *function.key, limit, offset)
        total: int = await self._db.fetch_value(SQL["count_shares"], *function.key)
        return Page(items=tuple(Share(**dict(row)) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def unshare(self, function: Function, share: UUID) -> None:
        """Delete a link: nobody reads anything under it any more. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete_share"], *function.key, share):
                raise NotFound("share", str(share))

    async def read(self, token: str, *, now: datetime) -> SharedDocs:
        """Return what a link shows.

        Raises:
            NotFound: there is no such link, or nothing is written any more.
            ShareExpired: its time is over.
        """
        row = await self._db.fetch_row(SQL["read_share"], _hashed(token))
        if row is not None and row["expires_at"] <= now:
            raise ShareExpired
        if row is None or row["content"] is None:
            raise NotFound("share", "of this link")
        return SharedDocs(**dict(row))


def _hashed(token: str) -> bytes:
    return sha256(token.encode()).digest()
