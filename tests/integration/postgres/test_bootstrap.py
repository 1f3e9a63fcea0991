from __future__ import annotations

import os
import secrets
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.access import Role
from constellation.nova.domain.function import Function
from constellation.nova.store import roles
from constellation.nova.store.api_keys import ApiKeys, hash_api_key
from constellation.nova.store.bootstrap import (
    BootstrapSettings,
    Platform,
    Seed,
    bootstrap,
    plane_passwords,
)
from constellation.nova.store.functions import Functions
from constellation.nova.store.migrate import migrate
from constellation.nova.store.pool import DatabaseUnavailable, connect, run_alone
from constellation.testing.database import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

FIRST = Function(
    tenant="default", namespace="default", name="first", id=uuid7(), runtime="python", handler="main.handler"
)
# The session that writes the first function's files ends there, as with a process that is killed.
DIE_AT_FILES = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE TRIGGER die BEFORE INSERT ON function_files FOR EACH ROW EXECUTE FUNCTION die();
"""


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    made = await bootstrap(BootstrapSettings(state_dir=tmp_path / "state"))
    assert made.postgres is not None
    yield made
    await made.postgres.stop()


async def test_a_first_start_makes_all_that_planes_wait_for(platform: Platform, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    for plane in roles.PLANES:
        path = state_dir / f"{plane}.dsn"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with connect(path.read_text(), application="tests", max_size=1) as db:
            assert await db.fetch_value("SELECT current_user") == f"constellation_{plane}"
    for name, value in (("service.token", platform.service_token), ("identity.key", platform.identity_key.decode())):
        assert stat.S_IMODE((state_dir / name).stat().st_mode) == 0o600
        assert (state_dir / name).read_text() == value
        assert len(value) >= 43
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert platform.admin_key is not None
    async with connect(platform.dsn, application="tests", max_size=1) as db:
        admin = await ApiKeys(db).try_get_by_hash(hash_api_key(platform.admin_key))
    assert admin is not None
    assert (admin.role, admin.is_platform, admin.namespace) == (Role.ADMIN, True, "*")
    for path in state_dir.iterdir():
        assert path.is_dir() or platform.admin_key not in path.read_text()
    for secret in (platform.dsn, platform.service_token, platform.identity_key.decode(), platform.admin_key):
        assert secret not in repr(platform)


async def test_a_second_start_changes_nothing(platform: Platform, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    before = {path.name: path.read_text() for path in state_dir.iterdir() if path.is_file()}
    assert platform.postgres is not None
    server = platform.postgres.pid
    assert server is not None
    again = await bootstrap(BootstrapSettings(state_dir=state_dir))
    assert again.admin_key is None
    assert again.postgres is not None
    assert again.postgres.pid == server
    os.kill(server, signal.SIGKILL)
    while again.postgres.pid == server:  # the kernel takes its time: until then the next start finds it well
        await anyio.sleep(0.005)
    await bootstrap(BootstrapSettings(state_dir=state_dir))
    assert {path.name: path.read_text() for path in state_dir.iterdir() if path.is_file()} == before


async def test_a_lost_file_is_made_again_and_given_secrets_win(platform: Platform, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    for name in ("roles.json", "comet.dsn", "service.token", "owner.password"):
        (state_dir / name).unlink()
    again = await bootstrap(
        BootstrapSettings(state_dir=state_dir, service_token="given-token", identity_key="given-key")
    )
    assert (again.service_token, again.identity_key) == ("given-token", b"given-key")
    assert (state_dir / "identity.key").read_text() == "given-key"
    async with connect((state_dir / "comet.dsn").read_text(), application="tests", max_size=1) as db:
        assert await db.fetch_value("SELECT count(*) FROM tenants") == 1
    with pytest.raises(DatabaseUnavailable):
        async with connect(platform.dsn, application="tests", max_size=1, wait_s=0.2):
            pytest.fail("the old password still opens")


async def outside(postgres: Server, tmp_path: Path, *, options: str) -> tuple[BootstrapSettings, str]:
    """Make a database and its owner on a server that is not embedded for the platform."""
    name, password = f"outside_{secrets.token_hex(4)}", secrets.token_urlsafe(8)
    superuser = postgres.postgres.superuser_dsn()
    await run_alone(superuser, f"CREATE ROLE {name} LOGIN {options} PASSWORD '{password}'")
    await run_alone(superuser, f"CREATE DATABASE {name} OWNER {name}")
    dsn = postgres.postgres.dsn(name, password, database=name)
    return BootstrapSettings(state_dir=tmp_path / "state", pg_dsn=dsn, role_prefix=name), name


async def test_an_outside_server_gets_roles_of_its_own_prefix(postgres: Server, tmp_path: Path) -> None:
    settings, name = await outside(postgres, tmp_path, options="CREATEROLE")
    made = await bootstrap(settings)
    assert made.postgres is None
    async with connect((tmp_path / "state" / "nebula.dsn").read_text(), application="tests", max_size=1) as db:
        assert await db.fetch_value("SELECT current_user") == f"{name}_nebula"
        assert await db.fetch_value("SELECT count(*) FROM jobs") == 0
    assert (await bootstrap(settings)).admin_key is None


async def test_the_seed_comes_with_the_first_administrator_or_not_at_all(postgres: Server, tmp_path: Path) -> None:
    settings, _ = await outside(postgres, tmp_path, options="CREATEROLE")
    settings = replace(settings, seed=Seed(function=FIRST, files={"main.py": b"handler = repr\n"}))
    assert settings.pg_dsn is not None
    async with connect(settings.pg_dsn, application="tests", max_size=1) as db:
        await migrate(db)
        async with db.transaction() as tx:
            await tx.run_script(DIE_AT_FILES)
        with pytest.raises(DatabaseUnavailable):
            await bootstrap(settings)
        assert not (await ApiKeys(db).list("default")).items
        async with db.transaction() as tx:
            await tx.run_script("DROP FUNCTION die CASCADE")
        assert (await bootstrap(settings)).admin_key is not None
        functions = Functions(db)
        planted = await functions.get(*FIRST.key)
        assert (await functions.code("default", planted.id, 1)).files == {"main.py": b"handler = repr\n"}
        await functions.delete(*FIRST.key)
        assert (await bootstrap(settings)).admin_key is None
        assert await functions.try_get(*FIRST.key) is None


async def test_without_createrole_an_administrator_makes_the_roles(postgres: Server, tmp_path: Path) -> None:
    settings, name = await outside(postgres, tmp_path, options="NOCREATEROLE")
    with pytest.raises(roles.RolesMissing, match="constellation db roles"):
        await bootstrap(settings)
    await run_alone(
        postgres.postgres.superuser_dsn(), roles.roles_sql(plane_passwords(settings.state_dir), prefix=name)
    )
    made = await bootstrap(settings)
    assert made.admin_key is not None
    async with connect(made.dsn, application="tests", max_size=1) as db:
        assert await db.fetch_value("SELECT current_user") == f"{name}_nova"
