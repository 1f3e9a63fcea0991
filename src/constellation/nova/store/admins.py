"""Administrators made from the command line of the platform's own host, where whoever reads the state directory is one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from constellation.base.clock import Clock
from constellation.base.errors import AlreadyExists, ConstellationError, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.access import ANY, Role
from constellation.nova.domain.grants import Effect
from constellation.nova.domain.names import DEFAULT_TENANT
from constellation.nova.domain.people import Binding, User, check_password, check_user_name, user_subject
from constellation.nova.store.bindings import Bindings
from constellation.nova.store.passwords import Passwords
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.users import Users


class NeverStarted(ConstellationError):
    """No platform has ever been started in this state directory."""

    code, http_status = "never_started", 409

    def __init__(self, state_dir: Path) -> None:
        super().__init__(f"no platform keeps its state in {state_dir}: start it first, or name it with --data-dir")


async def add_admin(state_dir: Path, name: str, password: str, *, clock: Clock) -> bool:
    """Make a platform administrator, or give one that is there this password; return whether it was made.

    Raises:
        InvalidRequest: the name or the password can not be one.
        StateConflict: there is a user of this name who does not act in every tenant.
        NeverStarted: the state directory has no database's address.
        DatabaseUnavailable: the platform's database does not run.
    """
    name = check_user_name(name)
    check_password(password, user=name)
    try:
        dsn = (await to_thread.run_sync((state_dir / "nova.dsn").read_text)).strip()
    except FileNotFoundError as error:
        raise NeverStarted(state_dir) from error
    async with connect(dsn, application="constellation users", max_size=1) as db:
        return await _write(db, name, await Passwords().hash(password), clock)


async def _write(db: Database, name: str, password_hash: str, clock: Clock) -> bool:
    users, now = Users(db), clock.now()
    user = User(
        tenant=DEFAULT_TENANT,
        name=name,
        display_name="",
        is_platform=True,
        enabled=True,
        version=1,
        created_at=now,
        updated_at=now,
    )
    binding = Binding(
        tenant=DEFAULT_TENANT,
        id=uuid7(),
        subject=user_subject(name, is_platform=True),
        role=Role.ADMIN.value,
        effect=Effect.ALLOW,
        namespace=ANY,
        functions=(),
        created_by="command line",
    )
    try:
        await users.create(user, password_hash=password_hash, binding=binding)
    except AlreadyExists as error:
        there = await users.get(DEFAULT_TENANT, name)
        if not there.is_platform:
            raise StateConflict(
                "user", name, state="a user of the default tenant only", wanted="another name"
            ) from error
        await users.set_password(DEFAULT_TENANT, name, password_hash)
        await users.update(replace(await users.get(DEFAULT_TENANT, name), enabled=True))
        with suppress(AlreadyExists):
            await Bindings(db).create(binding)
        return False
    return True
