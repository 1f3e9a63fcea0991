"""Users, and their sessions. Of a password and of a session's token only a hash is ever here."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from constellation.base.errors import AlreadyExists, NotFound, VersionConflict
from constellation.nova.domain.people import Binding, LoggedIn, User, UserSession
from constellation.nova.store import bindings
from constellation.nova.store.api_keys import ALPHABET
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record
from constellation.nova.store.queries import load

SQL = load("users")
SESSIONS = load("sessions")
IDENTITIES = load("identities")

SESSION_PREFIX = "ss_"
TOKEN_CHARACTERS = 40
MAX_SESSIONS = 50  # chosen: of one user; the oldest ends when one more begins


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that is about to begin."""

    id: UUID
    tenant: str
    user_name: str
    token_hash: bytes
    address: str
    expires_at: datetime


class Users:
    """The tables users and sessions."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(
        self, user: User, *, password_hash: str | None, binding: Binding | None, issuer: str | None = None
    ) -> User:
        """Write a new user, with a first role; version and times are the database's.

        `issuer`: whose provider the user logs in at, and will be met there by its name.

        Raises:
            AlreadyExists: the tenant has a user of this name.
            NotFound: the tenant does not exist.
        """
        try:
            async with self._db.transaction() as tx:
                row = await tx.fetch_row(
                    SQL["insert"], user.tenant, user.name, user.display_name, password_hash, user.is_platform
                )
                if issuer is not None:
                    await tx.execute(IDENTITIES["expect"], user.tenant, user.name, issuer)
                if binding is not None:
                    await bindings.insert(tx, binding)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("user", user.name) from error
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", user.tenant) from error
        assert row is not None
        return User(**row)

    async def get(self, tenant: str, name: str) -> User:
        """Return a user. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, name)
        if row is None:
            raise NotFound("user", name)
        return User(**row)

    async def try_password_hash(self, tenant: str, name: str) -> str | None:
        """Return the hash of a user's password, None for nobody."""
        found: str | None = await self._db.fetch_value(SQL["password"], tenant, name)
        return found

    async def list(self, tenant: str, *, with_platform: bool, limit: int = 100, offset: int = 0) -> Page[User]:
        """Return a tenant's users by name, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, with_platform, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, with_platform)
        return Page(items=tuple(User(**row) for row in rows), total=total, has_more=offset + len(rows) < total)

    async def update(self, user: User) -> User:
        """Write display name and enabled over the row that the caller read.

        Raises:
            NotFound: the user was deleted.
            VersionConflict: the row was changed since it was read.
            StateConflict: nobody would administer the platform.
        """
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(
                SQL["update"], user.tenant, user.name, user.display_name, user.enabled, user.version
            )
            if row is None:
                if await tx.fetch_row(SQL["get"], user.tenant, user.name) is None:
                    raise NotFound("user", user.name)
                raise VersionConflict("user", user.name)
            if not user.enabled:
                await tx.execute(SESSIONS["delete_all"], user.tenant, user.name, None)
                if user.is_platform:
                    await bindings.refuse_without_admin(tx, "user", user.name)
        return User(**row)

    async def set_password(self, tenant: str, name: str, password_hash: str, *, keep: UUID | None = None) -> None:
        """Write a new password and end every session of the user but `keep`. Raises `NotFound`."""
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["set_password"], tenant, name, password_hash):
                raise NotFound("user", name)
            await tx.execute(SESSIONS["delete_all"], tenant, name, keep)

    async def strengthen(self, tenant: str, name: str, *, old: str, new: str) -> None:
        """Write another hash of the same password, unless the password was changed meanwhile."""
        async with self._db.transaction() as tx:
            await tx.execute(SQL["strengthen"], tenant, name, old, new)

    async def delete(self, user: User) -> None:
        """Delete a user with its sessions and bindings.

        Raises:
            NotFound: it was deleted.
            StateConflict: nobody would administer the platform.
        """
        async with self._db.transaction() as tx:
            if not await tx.execute(SQL["delete"], user.tenant, user.name):
                raise NotFound("user", user.name)
            await tx.execute(bindings.SQL["delete_of"], user.tenant, user.subject)
            if user.is_platform:
                await bindings.refuse_without_admin(tx, "user", user.name)

    async def begin_session(self, session: NewSession) -> None:
        """Write a session, and end the oldest when the user has too many.

        Raises:
            NotFound: the user was deleted or disabled meanwhile.
            AlreadyExists: there is a session of this id.
        """
        try:
            async with self._db.transaction() as tx:
                begun = await tx.fetch_value(
                    SESSIONS["insert"],
                    session.tenant,
                    session.id,
                    session.user_name,
                    session.token_hash,
                    session.address,
                    session.expires_at,
                )
                if begun is None:
                    raise NotFound("user", session.user_name)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists("session", str(session.id)) from error
        async with self._db.transaction() as tx:
            await tx.execute(SESSIONS["delete_oldest"], session.tenant, session.user_name, MAX_SESSIONS)
            await tx.execute(SESSIONS["forget_ended"])

    async def try_session(self, token_hash: bytes) -> LoggedIn | None:
        """Return the session with this token, over or not; the caller judges."""
        row = await self._db.fetch_row(SESSIONS["get_by_hash"], token_hash)
        return None if row is None else LoggedIn(**row)

    async def list_sessions(self, tenant: str, name: str, *, limit: int, offset: int) -> Page[UserSession]:
        """Return a user's sessions that are not over, newest first."""
        rows = await self._db.fetch(SESSIONS["list"], tenant, name, limit, offset)
        total: int = await self._db.fetch_value(SESSIONS["count"], tenant, name)
        return Page(items=tuple(map(_session, rows)), total=total, has_more=offset + len(rows) < total)

    async def end_session(self, tenant: str, name: str, session: UUID) -> bool:
        """End a session of a user; return whether there was one."""
        async with self._db.transaction() as tx:
            return bool(await tx.execute(SESSIONS["delete"], tenant, name, session))

    async def end_sessions(self, tenant: str, name: str) -> None:
        """End all sessions of a user."""
        async with self._db.transaction() as tx:
            await tx.execute(SESSIONS["delete_all"], tenant, name, None)


def new_session_token() -> str:
    """Return a fresh token: `ss_` and 40 random letters and digits, 238 bits."""
    return SESSION_PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_CHARACTERS))


def _session(row: Record) -> UserSession:
    return UserSession(**row)
