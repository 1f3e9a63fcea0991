"""Settings that an administrator changes while the platform runs, each seen to hold on the plane that takes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.acceptance.conftest import Platform

BIN = Path(sys.executable).parent


def orbit(platform: Platform, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "orbit", "settings", *args, "--server", platform.url],
        check=check,
        capture_output=True,
        text=True,
        timeout=60,
    )


def put(platform: Platform, key: str, value: object) -> None:
    answer = platform.http.put(f"/settings/{key}", json={"value": value})
    assert answer.status_code == 200, answer.text


def shown(platform: Platform) -> dict[str, dict[str, str]]:
    """What `constellation config show` says, by key."""
    done = subprocess.run(
        [BIN / "constellation", "config", "show", "--data-dir", platform.data_dir, "-o", "json"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {row["key"]: row for row in json.loads(done.stdout)["settings"]}


def test_each_plane_takes_a_change_without_a_restart(platform: Platform) -> None:
    planes = {name: plane["pid"] for name, plane in platform.planes().items()}
    platform.deploy("priced", "def handler(event, context):\n    return 1\n")
    platform.output("priced")
    try:
        # comet
        assert "prices.call is 3" in orbit(platform, "set", "prices.call", "3").stdout
        platform.eventually(lambda: platform.http.get("/functions/priced/cost").json()["calls_cost"] == 3.0)
        orbit(platform, "set", "prices.call", "5", "--of", "default", "--note", "a tenant's own")
        platform.eventually(lambda: platform.http.get("/functions/priced/cost").json()["calls_cost"] == 5.0)
        # aurora, and the log of a plane: a round of housekeeping says that it was at debug
        put(platform, "platform.log_level", "debug")
        log = platform.data_dir / "logs" / "aurora.log"
        platform.eventually(lambda: "house.kept" in log.read_text())
        # zenith: a WebSocket finds no place
        put(platform, "zenith.sockets.max_open", 0)
        upgrade = {
            "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        platform.eventually(lambda: platform.http.get("/fn/priced", headers=upgrade).json().get("code") == "overloaded")
        # nova
        put(platform, "builds.queue_depth", 7)
        row = platform.http.get("/settings/builds.queue_depth").json()
        assert (row["value"], row["source"]) == ("7", "run time")
        found = shown(platform)
        assert (found["zenith.sockets.max_open"]["value"], found["builds.queue_depth"]["source"]) == ("0", "run time")
        assert found["prices.call"]["source"] == "run time, of tenant default"
    finally:
        for key in ("prices.call", "platform.log_level", "zenith.sockets.max_open", "builds.queue_depth"):
            platform.http.delete(f"/settings/{key}")
        platform.http.delete("/settings/prices.call", params={"tenant": "default"})
    platform.eventually(lambda: platform.http.get("/functions/priced/cost").json()["calls_cost"] < 1)
    assert {name: plane["pid"] for name, plane in platform.planes().items()} == planes
    assert "a tenant's own" in orbit(platform, "history", "prices.call", "--of", "default").stdout


def test_a_wrong_key_or_value_says_what_to_do(platform: Platform) -> None:
    wrong = orbit(platform, "set", "builds.timout", "1m", check=False)
    assert wrong.returncode == 3
    assert "builds.timeout" in wrong.stderr
    wrong = orbit(platform, "set", "builds.timeout", "3d", check=False)
    assert wrong.returncode == 4
    assert "at most" in wrong.stderr
    assert shown(platform)["builds.timeout"]["source"] == "default"
