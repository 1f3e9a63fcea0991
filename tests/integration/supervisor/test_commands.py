"""The command line itself, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "constellation.supervisor.main"]


def run(*words, **env):
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
    )  # fmt: skip


def test_nothing_runs_where_nothing_was_started(tmp_path):
    shown = run("status", "--data-dir", tmp_path, "-o", "json")
    assert (shown.returncode, json.loads(shown.stdout)) == (3, {"planes": []})
    assert "not running" in run("status", "--data-dir", tmp_path).stdout
    stopped = run("down", "--data-dir", tmp_path)
    assert (stopped.returncode, stopped.stdout) == (0, f"Nothing runs in {tmp_path}\n")


def test_config_show_names_each_source(tmp_path):
    file = tmp_path / "nova.json"
    file.write_text('{"pool": {"max_boots": 3}}')
    shown = run(
        "config", "show", "--config", file, "-o", "json", NOVA_POOL_IDLE_TTL="90s", NOVA_PG_DSN="postgresql://x"
    )
    settings = {row["key"]: row for row in json.loads(shown.stdout)["settings"]}
    assert settings["pool.max_boots"] == {"key": "pool.max_boots", "value": "3", "source": "file"}
    assert settings["pool.idle_ttl"]["source"] == "env NOVA_POOL_IDLE_TTL"
    assert settings["pool.max_instances"]["source"] == "default"
    assert "postgresql" not in shown.stdout


def test_a_key_that_nobody_knows_starts_nothing(tmp_path):
    file = tmp_path / "nova.json"
    file.write_text('{"pool": {"idle_tll": "60s"}}')
    done = run("up", "--config", file, "--data-dir", tmp_path / "d", "--detach")
    assert done.returncode == 1
    assert "idle_ttl" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("words", [["--listen", "nonsense"], ["--listen", "0.0.0.0:0", "--auth", "loopback"]])
def test_wishes_that_can_not_be_had_are_refused(tmp_path, words):
    done = run("up", *words, "--data-dir", tmp_path / "d", "--detach")
    assert done.returncode == 1
    assert done.stderr.startswith("constellation: ")
    assert "Traceback" not in done.stderr
    assert run("status", "--data-dir", tmp_path / "d").returncode == 3


def test_db_roles_prints_roles_whose_passwords_nova_will_use(tmp_path):
    first, second = run("db", "roles", "--data-dir", tmp_path), run("db", "roles", "--data-dir", tmp_path)
    assert first.returncode == 0
    for plane in ("nova", "comet", "corona", "nebula", "aurora"):
        assert f"CREATE ROLE constellation_{plane} LOGIN" in first.stdout
    known = json.loads((tmp_path / "roles.json").read_text())
    assert not [word for word in known.values() if word in first.stdout + second.stdout]  # verifiers only


def test_logs_of_no_plane(tmp_path):
    done = run("logs", "pluto", "--data-dir", tmp_path)
    assert done.returncode == 1
    assert "there are nova, comet" in done.stderr
    assert run("logs", "--data-dir", tmp_path).stdout == ""
