"""Running it: side by side, locked down, observed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import anyio
import httpx
import pytest

from constellation.nova.store.pool import connect, run_alone
from tests.acceptance.conftest import COMMAND, Platform
from tests.tools import promtool


def test_two_platforms_side_by_side(platform, tmp_path):
    second = Platform.start(tmp_path / "second", "--auth", "required")
    try:
        # no loopback trust there, and its admin key is its own
        assert second.http.get("/functions").status_code == 401
        platform.deploy("only-here", "def handler(event, context):\n    return 1\n")
        assert platform.output("hello-python", {"name": "Ada"})
        addresses = {p["address"] for p in platform.planes().values() if p["address"]}
        assert addresses.isdisjoint({p["address"] for p in second.planes().values() if p["address"]})
        second.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(second.url + "/health/live", trust_env=False)
        assert platform.output("only-here") == 1
    finally:
        second.http.close()
        subprocess.run([COMMAND, "down", "--data-dir", second.data_dir], check=False, timeout=60)


def test_the_state_directory_is_private(platform):
    assert platform.data_dir.stat().st_mode & 0o077 == 0
    for name in ("service.token", "identity.key", "nova.dsn", "comet.dsn"):
        assert (platform.data_dir / name).stat().st_mode & 0o177 == 0, name


def test_aurora_speaks_prometheus(platform):
    address = platform.planes()["aurora"]["address"]
    assert platform.output("hello-python", {"name": "Ada"})
    metrics = platform.eventually(
        lambda: (
            (t := httpx.get(f"http://{address}/metrics", trust_env=False).text)
            and "constellation_invocations_total{" in t
            and t
        )
    )
    for plane in ("nova", "comet", "corona", "nebula", "aurora", "zenith"):
        assert f'plane="{plane}"' in metrics, plane
    checked = subprocess.run(
        [promtool(), "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    health = httpx.get(f"http://{address}/health", trust_env=False)
    assert health.status_code == 200, health.text


def test_config_show_names_sources(platform):
    shown = subprocess.run(
        [COMMAND, "config", "show"], capture_output=True, text=True, timeout=30, check=True,
        env={"PATH": "/usr/bin:/bin", "NOVA_POOL_IDLE_TTL": "90s"},
    )  # fmt: skip
    assert "pool.idle_ttl" in shown.stdout
    assert "NOVA_POOL_IDLE_TTL" in shown.stdout


def test_an_unknown_key_names_the_nearest(tmp_path):
    file = tmp_path / "nova.json"
    file.write_text('{"pool": {"idle_tll": "60s"}}')
    done = subprocess.run(
        [COMMAND, "up", "--config", file, "--data-dir", tmp_path / "d", "--detach"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "idle_ttl" in done.stderr
    assert not Path(tmp_path / "d" / "postgres").exists() or shutil.rmtree(tmp_path / "d") is None


def test_up_with_another_postgres(postgres, tmp_path):
    """A server of somebody else: a login that may make roles and owns its database, no superuser."""
    dsn = _outside_database(postgres)
    refused = subprocess.run(
        [COMMAND, "up", "--data-dir", tmp_path / "refused", "--listen", "127.0.0.1:0", "--detach", "--pg-dsn", dsn],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "postgres.role_prefix" in refused.stderr  # the test server has another platform's roles
    assert "Traceback" not in refused.stderr
    file = tmp_path / "nova.json"
    file.write_text(json.dumps({"postgres": {"dsn": dsn, "role_prefix": "outside"}}))
    platform = Platform.start(tmp_path / "data", "--config", str(file))
    try:
        assert "postgres" not in {name for name, plane in platform.planes().items() if plane["pid"]}
        assert platform.output("hello-python", {"name": "Ada"})
        assert not (tmp_path / "data" / "postgres").exists()
        for plane in ("comet", "corona", "nebula", "aurora"):
            assert f"outside_{plane}:" in (tmp_path / "data" / f"{plane}.dsn").read_text()
        # The owner's address stands in a file that every plane reads, and yet each is on its own role.
        users = anyio.run(_users_of, postgres.postgres.superuser_dsn(), "outside")
        assert users == {f"outside_{plane}" for plane in ("nova", "comet", "corona", "nebula", "aurora")}
    finally:
        platform.stop()


async def _users_of(dsn: str, database: str) -> set[str]:
    async with connect(dsn, application="tests", max_size=1) as db:
        rows = await db.fetch("SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = $1", database)
    return {row["usename"] for row in rows}


def _outside_database(postgres) -> str:
    """Make a login and a database of its own on the test server, and return its address."""

    async def make() -> None:
        superuser = postgres.postgres.superuser_dsn()
        await run_alone(superuser, "CREATE ROLE outside LOGIN CREATEROLE PASSWORD 'of-the-outside'")
        await run_alone(superuser, "CREATE DATABASE outside OWNER outside")

    anyio.run(make)
    return postgres.postgres.dsn("outside", "of-the-outside", database="outside")
