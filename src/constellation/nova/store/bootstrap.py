"""What nova does before anything else: a database that is up to date, roles, keys, and a first administrator."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from anyio import to_thread

from constellation.base.statedir import make_private, write_private
from constellation.nova.domain.access import ANY, ApiKey, Role
from constellation.nova.domain.function import Function
from constellation.nova.domain.names import DEFAULT_TENANT
from constellation.nova.store import api_keys, functions, roles
from constellation.nova.store.embedded import SERVER_UID, EmbeddedPostgres
from constellation.nova.store.migrate import migrate
from constellation.nova.store.pool import Database, connect, run_alone, with_credentials
from constellation.nova.store.retention import Retention

DATABASE = "constellation"
ADMIN_KEY_NAME = "admin"
MIGRATION_LIMIT_S = 600.0  # chosen: one statement of a migration, over large tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A function that a new platform begins with."""

    function: Function
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapSettings:
    """What was decided outside; None means: make it yourself, in the state directory."""

    state_dir: Path
    pg_dsn: str | None = field(default=None, repr=False)  # an outside server, as a user who owns the database
    service_token: str | None = field(default=None, repr=False)
    identity_key: str | None = field(default=None, repr=False)
    role_prefix: str = roles.DEFAULT_PREFIX
    postgres_uid: int = SERVER_UID  # of the embedded server, when we are root
    seed: Seed | None = None
    runtime_dir: Path | None = None  # for a socket whose path would be too long below the state directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What there is after a bootstrap."""

    dsn: str = field(repr=False)  # nova's own role
    service_token: str = field(repr=False)
    identity_key: bytes = field(repr=False)
    admin_key: str | None = field(repr=False)  # of an administrator made just now: shown once, stored nowhere
    postgres: EmbeddedPostgres | None  # to be watched; None with an outside server


async def bootstrap(settings: BootstrapSettings) -> Platform:
    """Make everything that planes wait for; what is there already stays. Safe to repeat and to interrupt.

    Writes `<plane>.dsn`, `service.token` and `identity.key` into the state directory, mode 0600.

    Raises:
        PostgresFailed, BinariesMissing, DataVersionMismatch: the embedded server can not be started.
        DatabaseUnavailable: the outside server does not let us in.
        MigrationRefused: the database is newer than this release, or a migration was edited.
        RolesMissing: the outside server's user may not make roles and they are not there.
    """
    state_dir = settings.state_dir
    await to_thread.run_sync(make_private, state_dir)
    postgres = None
    if settings.pg_dsn is None:
        postgres = EmbeddedPostgres(state_dir, uid=settings.postgres_uid, runtime_dir=settings.runtime_dir)
        await postgres.start()
        owner_dsn = await _own_database(postgres, state_dir)
    else:
        owner_dsn = settings.pg_dsn
    passwords = await to_thread.run_sync(plane_passwords, state_dir)
    async with connect(
        owner_dsn, application="nova bootstrap", max_size=1, statement_timeout_s=MIGRATION_LIMIT_S
    ) as db:
        await migrate(db)
        await roles.ensure_roles(db, owner_dsn, passwords, prefix=settings.role_prefix)
        await Retention(db).keep()  # after a pause of weeks no partition is left for today
        admin_key = await _first_admin(db, settings.seed)
    dsns = {
        plane: with_credentials(owner_dsn, roles.role_of(plane, prefix=settings.role_prefix), passwords[plane])
        for plane in roles.PLANES
    }

    def write() -> tuple[str, str]:
        for plane, dsn in dsns.items():
            _write_if_other(state_dir / f"{plane}.dsn", dsn)
        return (
            _secret(state_dir / "service.token", settings.service_token),
            _secret(state_dir / "identity.key", settings.identity_key),
        )

    service_token, identity_key = await to_thread.run_sync(write)
    return Platform(
        dsn=dsns["nova"],
        service_token=service_token,
        identity_key=identity_key.encode(),
        admin_key=admin_key,
        postgres=postgres,
    )


def plane_passwords(state_dir: Path) -> Mapping[str, str]:
    """Return the password of each plane's role, making those that are missing. Blocks for a few file operations."""
    path = state_dir / "roles.json"
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        known = {}
    passwords = {plane: known.get(plane) or secrets.token_urlsafe(32) for plane in roles.PLANES}
    if passwords != known:
        write_private(path, msgspec.json.encode(passwords).decode())
    return passwords


async def _own_database(postgres: EmbeddedPostgres, state_dir: Path) -> str:
    """Have the owner role and its database in the embedded server; return the owner's address."""
    path = state_dir / "owner.password"

    def password() -> str:
        return _secret(path, None)

    secret = await to_thread.run_sync(password)
    owner = roles.role_of("owner")
    dsn = postgres.dsn(owner, secret, database=DATABASE)
    if await roles.lets_in(dsn):
        return dsn
    superuser_dsn = await to_thread.run_sync(postgres.superuser_dsn)
    async with connect(superuser_dsn, application="nova bootstrap", max_size=1) as db:
        async with db.transaction() as tx:
            exists = await tx.fetch_value(roles.SQL["exists"], owner)
            await roles.write_role(tx, "set_password" if exists else "create_owner", owner, secret)
        if not await db.fetch_value(roles.SQL["database_exists"], DATABASE):
            await run_alone(superuser_dsn, roles.SQL["create_database"])
    return dsn


async def _first_admin(db: Database, seed: Seed | None) -> str | None:
    """Make a platform administrator when there is no key at all, and return its key.

    The seed is written with it or not at all: who deletes the seeded function never sees it again, and no crash
    leaves a platform without it.
    """
    key = api_keys.new_api_key()
    admin = ApiKey(tenant=DEFAULT_TENANT, namespace=ANY, name=ADMIN_KEY_NAME, role=Role.ADMIN.value, is_platform=True)
    async with db.transaction() as tx:
        if not await api_keys.insert_first(tx, admin, key_hash=api_keys.hash_api_key(key)):
            return None
        if seed is not None:
            await functions.plant(tx, seed.function, seed.files)
    return key


def _secret(path: Path, given: str | None) -> str:
    """Return a secret: the given one, which is then also written, else the one that is there, else a new one."""
    if given is None:
        try:
            there = path.read_text().strip()
        except FileNotFoundError:
            there = ""
        if there:
            return there
    secret = given or secrets.token_urlsafe(32)
    _write_if_other(path, secret)
    return secret


def _write_if_other(path: Path, text: str) -> None:
    try:
        if path.read_text() == text:
            return
    except FileNotFoundError:
        pass
    write_private(path, text)
