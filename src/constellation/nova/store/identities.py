"""Who of the users logs in at which provider, and the roles that providers give them."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg
import structlog

from constellation.base.errors import NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.people import Person, User, user_subject
from constellation.nova.store import bindings, users
from constellation.nova.store.pool import Database, Session
from constellation.nova.store.queries import load

log = structlog.get_logger()

SQL = load("identities")


class Identities:
    """The table user_identities."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def try_known(self, person: Person) -> User | None:
        """Return the user that a person is, or was expected to be and is from now on; None for a stranger."""
        async with self._db.transaction() as tx:
            row = await tx.fetch_row(SQL["find"], person.tenant, person.issuer, person.subject)
            if row is None:
                met = await tx.fetch_value(SQL["meet"], person.tenant, person.name, person.issuer, person.subject)
                if met is None:
                    return None
                log.info("user.met", tenant=person.tenant, user=person.name, provider=person.provider)
                row = await tx.fetch_row(SQL["find"], person.tenant, person.issuer, person.subject)
            return None if row is None else User(**row)

    async def create(self, person: Person) -> User | None:
        """Make a user of a stranger; None: the name is taken, or has roles that were not meant for whoever comes.

        Raises:
            NotFound: the tenant does not exist.
        """
        subject = user_subject(person.name, is_platform=person.is_platform)
        try:
            async with self._db.transaction() as tx:
                if await tx.fetch_value(SQL["is_bound"], person.tenant, subject):
                    return None
                row = await tx.fetch_row(
                    users.SQL["insert"], person.tenant, person.name, person.display_name, None, person.is_platform
                )
                await tx.execute(SQL["insert"], person.tenant, person.name, person.issuer, person.subject)
        except asyncpg.UniqueViolationError:
            return None
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("tenant", person.tenant) from error
        assert row is not None
        log.info("user.created", tenant=person.tenant, user=person.name, provider=person.provider)
        return User(**row)

    async def give(self, user: User, roles: Iterable[str], *, by: str) -> None:
        """Let a user have these roles, and no others, of those that the provider `by` gives; an unknown one is left out.

        Raises:
            StateConflict: nobody would administer the platform.
        """
        async with self._db.transaction() as tx:
            wanted = [role for role in roles if await _is_role(tx, user.tenant, role)]
            had = {row["role"] for row in await tx.fetch(SQL["given"], user.tenant, user.subject, by)}
            for role in wanted:
                if role not in had:
                    await tx.execute(SQL["give"], user.tenant, uuid7(), user.subject, role, by)
            lost = sorted(had.difference(wanted))
            if lost:
                await tx.execute(SQL["take"], user.tenant, user.subject, by, lost)
                if user.is_platform:
                    await bindings.refuse_without_admin(tx, "user", user.name)


async def _is_role(tx: Session, tenant: str, role: str) -> bool:
    try:
        await bindings.hold_role(tx, tenant, role)
    except NotFound:
        log.warning("role.unknown", tenant=tenant, role=role)
        return False
    return True
