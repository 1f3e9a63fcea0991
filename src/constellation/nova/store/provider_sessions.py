"""Which sessions began at a provider, and which of its own sessions they are."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from constellation.base.errors import NotFound
from constellation.nova.domain.people import ProviderLogout, ProviderSession
from constellation.nova.store import users
from constellation.nova.store.pool import Database
from constellation.nova.store.queries import load

SQL = load("provider_sessions")


class ProviderSessions:
    """The table provider_sessions. A row goes with its session, however that ends."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, session: ProviderSession) -> None:
        """Write what a session that is about to begin is at its provider. Raises `NotFound`: the user was deleted."""
        try:
            async with self._db.transaction() as tx:
                await tx.execute(
                    SQL["insert"], session.tenant, session.id, session.user_name, session.provider, session.issuer,
                    session.subject, session.sid, session.id_token, session.expires_at,
                )  # fmt: skip
                await tx.execute(SQL["forget_ended"])
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("user", session.user_name) from error

    async def try_get(self, tenant: str, session: UUID) -> ProviderSession | None:
        """Return what a session is at its provider; None when it did not begin at one, or was ended there."""
        row = await self._db.fetch_row(SQL["get"], tenant, session)
        return None if row is None else ProviderSession(**row)

    async def end(self, logout: ProviderLogout, *, begun_by: datetime) -> int:
        """End the sessions that a provider ended, also those that are about to begin; return how many."""
        who = (logout.provider, begun_by)
        async with self._db.transaction() as tx:
            if logout.sid:
                rows = await tx.fetch(SQL["end_of_sid"], logout.issuer, logout.sid, logout.subject, *who)
            else:
                rows = await tx.fetch(SQL["end_of_subject"], logout.issuer, logout.subject, *who)
            for row in rows:
                await tx.execute(users.SESSIONS["delete"], row["tenant"], row["user_name"], row["id"])
        return len(rows)
