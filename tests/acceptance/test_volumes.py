"""Directories that outlive instances: who writes, who reads, how much, and what does not get out of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ORBIT = Path(sys.executable).with_name("orbit")
HANDLER = """
import os, stat

def attempt(act):
    try:
        act()
        return "done"
    except OSError as error:
        return error.strerror

def fill(path):
    try:
        with open(path, "wb") as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
                file.flush()
    finally:
        os.unlink(path)

def run(path):
    with open(path, "w") as file:
        file.write("#!/bin/sh\\n")
    os.chmod(path, 0o4755)
    os.execv(path, [path])

ACTS = {
    "write": lambda: open("/mnt/v/note", "a").write("x"),
    "fill": lambda: fill("/mnt/v/big"),
    "device": lambda: os.mknod("/mnt/v/null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "run": lambda: run("/mnt/v/tool"),
    "link": lambda: os.symlink("/etc/shadow", "/mnt/v/link"),
    "follow": lambda: open("/mnt/v/link").read(),
    "climb": lambda: open("/mnt/v/../../../../etc/shadow").read(),
}

def handler(event, context):
    said = [attempt(ACTS[name]) for name in event]
    note = open("/mnt/v/note").read() if os.path.exists("/mnt/v/note") else ""
    return [said, note, os.stat("/mnt/v").st_uid == os.getuid()]
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount file systems")


def orbit(platform, *words):
    done = subprocess.run(
        [ORBIT, "--server", platform.url, *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def mount(volume, **more):
    return [{"volume": volume, "path": "/mnt/v", **more}]


def test_functions_share_a_volume_and_stay_inside_it(platform):
    code, said = orbit(platform, "volumes", "create", "shared", "--size-mb", "16")
    assert code == 0, said
    platform.deploy("writer", HANDLER, mounts=mount("shared"), mode="isolated")
    platform.deploy("reader", HANDLER, mounts=mount("shared", read_only=True))
    assert platform.output("writer", ["write"]) == [["done"], "x", True]
    assert platform.output("writer", ["write"]) == [["done"], "xx", True]  # another instance, another user
    assert platform.output("reader", ["write"]) == [["Read-only file system"], "xx", True]
    full, device, run, *links = platform.output("writer", ["fill", "device", "run", "link", "follow", "climb"])[0]
    assert (full, device, run) == ("No space left on device", "Operation not permitted", "Permission denied")
    assert links == ["done", "No such file or directory", "No such file or directory"]  # the sandbox's own root
    inside = [*platform.data_dir.glob("run/comet-volumes/*/data/link")]
    assert [str(each.readlink()) for each in inside] == ["/etc/shadow"]

    refused = platform.http.delete("/volumes/shared")
    assert (refused.status_code, refused.json()["code"]) == (409, "volume_in_use")
    for name in ("writer", "reader"):
        assert platform.http.delete(f"/functions/{name}").status_code == 200
    assert orbit(platform, "volumes", "delete", "shared", "--yes")[0] == 0
    assert Path("/etc/shadow").exists()


def test_access_is_kept_to(platform):
    made = platform.http.post("/volumes", json={"name": "once", "size_mb": 8, "access": "read_write_once"})
    assert made.status_code == 201, made.text
    platform.deploy("holder", HANDLER, mounts=mount("once"))
    assert platform.output("holder", ["write"])[0] == ["done"]
    body = {"name": "other", "runtime": "python", "code": HANDLER, "mounts": mount("once")}
    refused = platform.http.post("/functions", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "volume_taken")
    assert platform.http.patch("/volumes/once", json={"access": "read_only"}).status_code == 409
    for path in ("/code", "/opt/x", "/proc", "/tmp/x", "/mnt/../etc", "relative"):
        wrong = platform.http.post("/functions", json={**body, "mounts": [{"volume": "once", "path": path}]})
        assert wrong.status_code == 400, path


def test_nobody_mounts_another_tenants_volume(platform):
    assert platform.http.post("/tenants", json={"id": "volume-rival"}).status_code == 201
    rival = {"x-nova-tenant": "volume-rival"}
    assert platform.http.post("/volumes", json={"name": "theirs", "size_mb": 8}, headers=rival).status_code == 201
    assert platform.http.get("/volumes/theirs").status_code == 404
    body = {"name": "thief", "runtime": "python", "code": HANDLER, "mounts": mount("theirs")}
    refused = platform.http.post("/functions", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "volume_unknown")
