"""The command lines: `constellation users add-admin` on the host, `orbit login` anywhere."""

from __future__ import annotations

import stat

import pytest
from anyio import to_thread

from constellation.base.clock import SystemClock
from constellation.base.errors import InvalidRequest, StateConflict
from constellation.nova.store.admins import NeverStarted, add_admin
from constellation.testing.orbit import OrbitRig

from .fronted import PASSWORD, fronted

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_the_host_makes_an_administrator_who_works_with_orbit(nova, database, tmp_path):
    clock = SystemClock()
    with pytest.raises(NeverStarted):
        await add_admin(tmp_path, "root", PASSWORD, clock=clock)
    (tmp_path / "nova.dsn").write_text(database.dsn("nova"))
    with pytest.raises(InvalidRequest):
        await add_admin(tmp_path, "root", "short", clock=clock)
    assert await add_admin(tmp_path, "Root", "forgotten soon", clock=clock) is True
    assert await add_admin(tmp_path, "root", PASSWORD, clock=clock) is False  # a new password

    async with fronted(nova, tmp_path / "front") as front:
        rig = OrbitRig(home=tmp_path / "home", platform=None, env={"ZENITH_URL": front.gateway.url})

        async def orbit(*args: str, stdin: str = "", code: int = 0) -> str:
            done = await to_thread.run_sync(lambda: rig.run(*args, stdin=stdin))
            assert done.code == code, (args, done.out, done.err)
            return done.out + done.err

        await orbit("login", "root", "--password-stdin", stdin="forgotten soon\n", code=4)
        said = await orbit("login", "root", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert "platform-user:root" in said
        (config,) = (tmp_path / "home").rglob("config.toml")
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert "ss_" in config.read_text()
        assert "ss_" not in said
        assert "platform-user:root" in await orbit("whoami")

        await orbit("users", "create", "ann", "--role", "none", "--password-stdin", stdin=f"{PASSWORD}\n")
        await orbit("roles", "create", "auditor", "-p", "log:read", "-p", "function:read")
        await orbit("roles", "bind", "user:ann", "auditor", "--in", "def*", "-f", "pay-*")
        await orbit("roles", "bind", "user:ann", "operator", "--deny")
        listed = await orbit("roles", "bindings", "--subject", "user:ann")
        assert "pay-*" in listed
        assert "deny" in listed
        assert "auditor" in await orbit("roles", "list")
        assert "GET /functions" in await orbit("roles", "permissions")
        await orbit("roles", "bind", "user:ann", "nothing", code=4)
        assert "user:ann" in await orbit("users", "list")
        await orbit("users", "disable", "ann")
        await orbit("users", "delete", "ann", "--yes")
        assert "this one" in await orbit("sessions")
        await orbit("logout")
        assert "ss_" not in config.read_text()
        await orbit("logout", code=2)


async def test_a_users_name_is_not_taken_from_it(nova, database, tmp_path):
    (tmp_path / "nova.dsn").write_text(database.dsn("nova"))
    made = await nova.http.post("/users", json={"name": "ann", "password": PASSWORD}, headers=nova.admin())
    assert made.status_code == 201
    with pytest.raises(StateConflict):
        await add_admin(tmp_path, "ann", PASSWORD, clock=SystemClock())
