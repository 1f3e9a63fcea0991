"""Files that functions share, from a directory to a handler's imports; and what nobody gets out of them."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import sys
import zipfile
from base64 import b64encode
from pathlib import Path

import pytest

ORBIT = Path(sys.executable).with_name("orbit")
HANDLER = """
import os, subprocess

def handler(event, context):
    import shared, own
    try:
        open("/opt/python/new.py", "w")
        wrote = "it could be written to"
    except OSError as error:
        wrote = error.strerror
    said = subprocess.run(["tool"], capture_output=True, text=True).stdout
    return [shared.VALUE, own.VALUE, said, wrote, sorted(os.listdir("/opt"))]
"""
PRELOADED = """
import sys
FOUND = "shared" in sys.modules

def handler(event, context):
    import shared
    return [FOUND, shared.VALUE]
"""


def orbit(platform, *words):
    done = subprocess.run(
        [ORBIT, "--server", platform.url, *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def put(platform, name, files, headers=None):
    body = {"files": {path: b64encode(text.encode()).decode() for path, text in files.items()}}
    return platform.http.put(f"/layers/{name}", json=body, headers=headers or {})


def test_a_layer_is_put_used_updated_and_deleted(platform, tmp_path):
    for path, text in {
        "python/shared.py": "VALUE = 1",
        "python/own.py": "VALUE = 'own'",
        "bin/tool": "#!/bin/sh\necho hi",
    }.items():
        file = tmp_path / "base" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    code, said = orbit(platform, "layers", "put", "base", tmp_path / "base")
    assert (code, "base:1 has 3 files" in said) == (0, True), said
    assert put(platform, "over", {"python/shared.py": "VALUE = 2"}).json()["version"] == 1
    function = tmp_path / "layered"
    function.mkdir()
    (function / "main.py").write_text(HANDLER)
    (function / "function.yaml").write_text(
        "name: layered\nruntime: python\nhandler: main.handler\nlayers: [base, over]\n"
    )
    code, said = orbit(platform, "deploy", function)
    assert code == 0, said
    assert platform.output("layered", {}) == [2, "own", "hi\n", "Read-only file system", ["bin", "python"]]
    assert "unchanged" in orbit(platform, "deploy", function)[1]

    # What is deployed stays as it was until it is deployed again
    assert put(platform, "over", {"python/shared.py": "VALUE = 3"}).json()["version"] == 2
    assert platform.http.get("/functions/layered").json()["layers"] == ["base:1", "over:1"]
    code, said = orbit(platform, "deploy", function)
    assert "over:2" in said, said
    platform.eventually(lambda: platform.output("layered", {})[0] == 3)
    back = platform.http.post("/functions/layered/rollback", json={"version": 1})
    assert back.status_code == 200, back.text
    platform.eventually(lambda: platform.output("layered", {})[0] == 2)

    refused = platform.http.delete("/layers/over", params={"version": "2"})
    assert (refused.status_code, refused.json()["code"]) == (409, "layer_in_use")
    assert refused.json()["users"] == ["default/layered version 2"]
    code, said = orbit(platform, "layers", "delete", "base", "--yes")
    assert (code != 0, "default/layered" in said) == (True, True), said
    assert platform.http.delete("/functions/layered").status_code == 200
    for name in ("base", "over"):
        assert orbit(platform, "layers", "delete", name, "--yes")[0] == 0
    gone = platform.eventually(lambda: not [*platform.data_dir.glob("layers/default/*")], within_s=60)
    assert gone


def test_modules_of_a_layer_can_be_preloaded(platform):
    put(platform, "pre", {"python/shared.py": "VALUE = 7"})
    platform.deploy("preloaded", PRELOADED, layers=["pre"], preload=["shared"], mode="isolated")
    platform.eventually(lambda: platform.output("preloaded", {}) == [True, 7])


def test_node_finds_modules_of_a_layer(platform):
    put(platform, "njs", {"nodejs/node_modules/hey/index.js": "module.exports = 'hey'", "lib/note": ""})
    code = "exports.handler = async () => [require('hey'), process.env.LD_LIBRARY_PATH]"
    made = platform.http.post(
        "/functions",
        json={"name": "njs", "runtime": "node", "code": code, "layers": ["njs"]},
    )
    assert made.status_code == 201, made.text
    assert platform.output("njs", {}) == ["hey", "/opt/lib"]


JAVA = """
import java.util.Map;

public class Main {
    static Object handler(Map<String, Object> event) throws Exception {
        return Class.forName("snow.Snow").getMethod("fall").invoke(null);
    }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK (on Debian: default-jdk-headless)")
def test_java_finds_archives_of_a_layer(platform, tmp_path):
    (tmp_path / "Snow.java").write_text(
        'package snow; public class Snow { public static String fall() { return "soft"; } }'
    )
    for command in (("javac", "-d", "classes", "Snow.java"), ("jar", "cf", "snow.jar", "-C", "classes", ".")):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    files = {"java/lib/snow.jar": b64encode((tmp_path / "snow.jar").read_bytes()).decode()}
    assert platform.http.put("/layers/jars", json={"files": files}).status_code == 200
    body = {"name": "jars", "runtime": "java", "code": JAVA, "handler": "Main.handler", "layers": ["jars"]}
    made = platform.http.post("/functions", json={**body, "memory_mb": 256})
    assert made.status_code in (201, 202), made.text
    platform.eventually(lambda: platform.output("jars", {}) == "soft", within_s=90)


def test_nobody_gets_at_another_tenants_layer(platform):
    assert platform.http.post("/tenants", json={"id": "layer-rival"}).status_code == 201
    rival = {"x-nova-tenant": "layer-rival"}
    assert put(platform, "private", {"python/private.py": "KEY = 1"}, headers=rival).status_code == 200
    for path in ("", "/files", "/versions", "/functions"):
        assert platform.http.get(f"/layers/private{path}").status_code == 404
    assert platform.http.delete("/layers/private").status_code == 404
    refused = platform.http.post(
        "/functions", json={"name": "thief", "runtime": "python", "code": HANDLER, "layers": ["private:1"]}
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "layer_unknown")
    assert platform.http.get("/layers", params={"search": "private"}).json()["items"] == []


def test_a_hostile_archive_is_refused(platform):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("python")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        archive.writestr("python/passwd", "x")
    refused = platform.http.put("/layers/bad", json={"archive": b64encode(out.getvalue()).decode()})
    assert (refused.status_code, refused.json()["field"]) == (400, "archive")
    assert platform.http.get("/layers/bad").status_code == 404
