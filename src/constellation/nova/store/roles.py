"""A database role a plane, each with its own password and no more rights than its work needs (`sql/grants.sql`).

Roles belong to the whole server, so their names carry the platform's prefix.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping

import asyncpg

from constellation.base.errors import ConstellationError
from constellation.nova.store.pool import CONNECT_TIMEOUT_S, Database, Session, translated, with_credentials
from constellation.nova.store.queries import load, read

SQL = load("roles")

PLANES = ("nova", "comet", "corona", "nebula", "aurora")
DEFAULT_PREFIX = "constellation"
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")
_SCRAM_ITERATIONS = 4096  # PostgreSQL's own default; our passwords are 256 random bits


class RolesMissing(ConstellationError):
    """A plane's role is missing or has another password, and we may not change that."""

    code, http_status = "database_roles_missing", 500

    def __init__(self, roles: list[str]) -> None:
        super().__init__(
            f"the database lacks the roles {', '.join(roles)} with the passwords of this platform, and the given user "
            "has no CREATEROLE: run what `constellation db roles` prints as an administrator",
            extras={"roles": roles},
        )


class RoleNotOurs(ConstellationError):
    """A role of this name is there already, made by somebody else."""

    code, http_status = "database_role_not_ours", 500

    def __init__(self, role: str) -> None:
        super().__init__(
            f"the database server has a role {role} that the given user did not make, so it belongs to another "
            "platform: choose other names with the setting postgres.role_prefix",
            extras={"roles": [role]},
        )


def role_of(plane: str, *, prefix: str = DEFAULT_PREFIX) -> str:
    """Return the name of a plane's role.

    Raises:
        ValueError: the prefix is not a plain lower-case identifier.
    """
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"role prefix {prefix!r} must be a lower-case letter and then letters, digits or '_'")
    return f"{prefix}_{plane}"


def verifier_of(password: str) -> str:
    """Return the SCRAM-SHA-256 verifier of a password (RFC 5803), so that the server never sees the password."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode("ascii") for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"


def roles_sql(passwords: Mapping[str, str], *, prefix: str = DEFAULT_PREFIX) -> str:
    """Return what an administrator runs to make the planes' roles on a server where nova may not."""
    # A verifier is base64 and punctuation, a role's name a plain identifier: neither needs quoting.
    lines = [
        f"CREATE ROLE {role_of(plane, prefix=prefix)} LOGIN PASSWORD '{verifier_of(passwords[plane])}';"
        for plane in PLANES
    ]
    return "\n".join(["-- Roles of Constellation; nova grants them what they need.", *lines, ""])


async def ensure_roles(db: Database, dsn: str, passwords: Mapping[str, str], *, prefix: str = DEFAULT_PREFIX) -> None:
    """Have every plane's role with its password, and grant each what it needs.

    Args:
        db: a pool of the owner role.
        dsn: the owner's address, from which the planes' are made.

    Raises:
        RolesMissing: some role is missing or has another password, and the owner has no CREATEROLE.
        RoleNotOurs: a role of this name was made by another user of the server.
    """
    wrong = []
    for plane in PLANES:
        role = role_of(plane, prefix=prefix)
        if await lets_in(with_credentials(dsn, role, passwords[plane])):
            continue
        async with db.transaction() as tx:
            if not await tx.fetch_value(SQL["may_create"]):
                wrong.append(role)
                continue
            exists = await tx.fetch_value(SQL["exists"], role)
            try:
                await write_role(tx, "set_password" if exists else "create", role, passwords[plane])
            except asyncpg.InsufficientPrivilegeError as error:
                raise RoleNotOurs(role) from error
    if wrong:
        raise RolesMissing(wrong)
    async with db.transaction() as tx:
        await tx.run_script(read("grants.sql").replace(f"{DEFAULT_PREFIX}_", role_of("", prefix=prefix)))


async def write_role(tx: Session, query: str, role: str, password: str) -> None:
    """Run one of the statements `create`, `create_owner` and `set_password` for a role."""
    await tx.fetch_value(SQL["name_role"], role, verifier_of(password))
    await tx.execute(SQL[query])


async def lets_in(dsn: str) -> bool:
    """Tell whether the server accepts this address's user and password.

    Raises:
        DatabaseUnavailable: the server can not be asked.
    """
    with translated():
        try:
            connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError):
            # The second: the password is right, but CONNECT on the database is not granted yet.
            return False
        connection.terminate()
    return True
