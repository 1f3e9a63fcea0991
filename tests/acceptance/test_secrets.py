"""A secret's way from a terminal to a handler, and everywhere that it must not be on it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import anyio
import pytest

from constellation.nova.store.pool import connect

ORBIT = Path(sys.executable).with_name("orbit")
HANDLER = """
import hashlib, os, time

def handler(event, context):
    time.sleep(event.get("sleep_s", 0))
    return {"sha256": hashlib.sha256(os.environ["PASSWORD"].encode()).hexdigest(), "pid": open("/proc/self/stat").read()[:9]}
"""


def orbit(platform, *words, given=""):
    done = subprocess.run(
        [ORBIT, "--server", platform.url, *words], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


async def rows_of(data_dir):
    """Return every row of every table as text, as the owner of the database reads it."""
    nova = (data_dir / "nova.dsn").read_text()
    password = (data_dir / "owner.password").read_text()
    from constellation.nova.store.pool import with_credentials
    from constellation.nova.store.roles import role_of

    async with connect(with_credentials(nova, role_of("owner"), password), application="tests", max_size=1) as db:
        tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = {}
        for table in sorted(row["tablename"] for row in tables):
            rows = await db.fetch(f'SELECT t::text AS row FROM "{table}" AS t')
            found[table] = "\n".join(row["row"] for row in rows)
        return found


def files_with(directory, planted):
    found = []
    for path in directory.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink() and any(each in path.read_bytes() for each in planted):
                found.append(path)
        except FileNotFoundError:  # of what ended meanwhile
            continue
    return found


@pytest.mark.parametrize("backend", ["namespace"])
def test_a_value_goes_to_the_handler_and_nowhere_else(platform, backend):
    old, new = (f"pl4nted-{uuid.uuid4().hex}" for _ in range(2))
    said = []
    answers = []

    def ask(method, path, **more):
        answer = platform.http.request(method, path, **more)
        answers.append(answer)
        return answer

    env = {"PASSWORD": "$SECRET:db.password"}
    refused = ask("POST", "/functions", json={"name": "keeper", "runtime": "python", "code": HANDLER, "env": env})
    assert (refused.status_code, refused.json()["code"]) == (422, "secret_unknown")
    code, text = orbit(platform, "secrets", "put", "db.password", given=old + "\n")
    said.append(text)
    assert code == 0, text
    made = ask(
        "POST",
        "/functions",
        json={
            "name": "keeper",
            "runtime": "python",
            "code": HANDLER,
            "env": env,
            "backend": backend,
            "min_replicas": 1,
        },
    )
    assert made.status_code == 201, made.text
    assert made.json()["env"] == env
    assert platform.output("keeper", {})["sha256"] == sha256(old)

    # A call in hand keeps what it began with; what begins behind the change has the new value.
    in_hand = []
    slow = threading.Thread(target=lambda: in_hand.append(platform.output("keeper", {"sleep_s": 1.5})))
    slow.start()
    platform.eventually(lambda: platform.http.get("/stats").json()["functions"])
    assert ask("PUT", "/secrets/db.password", json={"value": new}).status_code == 200
    platform.eventually(lambda: platform.output("keeper", {})["sha256"] == sha256(new))
    slow.join()
    assert in_hand[0]["sha256"] == sha256(old)
    assert all(platform.output("keeper", {})["sha256"] == sha256(new) for _ in range(5))

    for path in ("/secrets", "/secrets/db.password", "/functions/keeper", "/functions", "/functions/keeper/logs",
                 "/functions/keeper/invocations", "/functions/keeper/code", "/metrics/timeseries", "/openapi.json"):  # fmt: skip
        assert ask("GET", path).status_code == 200
    in_use = ask("DELETE", "/secrets/db.password")
    assert (in_use.status_code, in_use.json()["functions"]) == (409, ["keeper"])
    assert ask("PUT", "/secrets/db.password", json={"value": new + "\0"}).status_code == 400
    assert ask("PUT", "/secrets/db.password", json={"value": [new]}).status_code == 400
    assert ask("PUT", "/secrets/db.password", content=b'{"value": "' + new.encode()).status_code in (400, 415)

    code, text = orbit(platform, "secrets", "rotate")
    said.append(text)
    assert code == 0, text
    code, text = orbit(platform, "secrets", "list", "-o", "json")
    said.append(text)
    assert [each["key_version"] for each in json.loads(text)] == [2]
    assert platform.output("keeper", {})["sha256"] == sha256(new)

    # Who did it, and who was refused: an event each, which says which fields came and never what.
    bad_key = {"X-API-Key": "sk_" + new.replace("-", "")[:40]}
    assert ask("PUT", "/secrets/db.password", json={"value": new}, headers=bad_key).status_code == 401
    audited = platform.eventually(
        lambda: (
            (found := ask("GET", "/audit", params={"resource": "/secrets/db.password"}).json()["items"])
            and len(found) >= 5
            and found
        )
    )
    assert {(each["action"], each["outcome"]) for each in audited} == {
        ("put_secret", "succeeded"),
        ("put_secret", "failed"),
        ("delete_secret", "failed"),
    }
    assert all(each["actor"] == "local:admin" and each["peer"] == "127.0.0.1" for each in audited)
    assert ["value"] in [each["fields"] for each in audited]
    made = ask("GET", "/audit", params={"action": "create_function", "resource": "/functions/keeper"}).json()["items"]
    assert [(each["outcome"], "env" in each["fields"]) for each in made] == [("succeeded", True)]
    refused = platform.eventually(
        lambda: ask("GET", "/audit", params={"all_tenants": "1", "outcome": "refused", "action": "put_secret"}).json()[
            "items"
        ]
    )
    assert (refused[0]["actor"], refused[0]["status"], refused[0]["code"]) == ("", 401, "unauthenticated")
    code, text = orbit(platform, "audit", "--resource", "/functions/keeper", "--since", "1h")
    said.append(text)
    assert code == 0
    assert "create_function" in text

    planted = [old.encode(), new.encode(), bad_key["X-API-Key"].encode()]
    shown = [answer.content + repr(answer.headers.raw).encode() for answer in answers] + [
        text.encode() for text in said
    ]
    assert not [text for text in shown if any(each in text for each in planted)]
    rows = anyio.run(rows_of, platform.data_dir)
    assert len(rows) > 20
    assert not [table for table, text in rows.items() if any(each.decode() in text for each in planted)]
    assert not files_with(platform.data_dir, planted)


FILES = """
import os

def attempt(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__ + str(error.errno)
    return "done"

def handler(event, context):
    path = os.environ["CERT"]
    found = os.stat(path)
    return {
        "path": path, "text": open(path).read(), "mode": oct(found.st_mode & 0o777), "is_own": found.st_uid == os.getuid(),
        "listed": os.listdir("/run/secrets"),
        "write": attempt(lambda: open(path, "w")), "add": attempt(lambda: open("/run/secrets/x", "w")),
        "chmod": attempt(lambda: os.chmod(path, 0o777)),
    }
"""


def test_a_secret_is_a_file_that_only_the_function_reads(platform):
    value = f"pl4nted-{uuid.uuid4().hex}\n" + "certificate " * 1000
    http = platform.http
    assert http.put("/secrets/tls.pem", json={"value": value}).status_code == 200
    env = {"CERT": "$SECRET_FILE:tls.pem"}
    platform.deploy("reader", FILES, env=env)
    found = platform.output("reader", {})
    assert found.pop("text") == value
    assert found.pop("write").startswith(("PermissionError", "OSError"))
    assert found.pop("add").startswith(("PermissionError", "OSError"))
    assert found.pop("chmod") != "done"
    assert found == {"path": "/run/secrets/tls.pem", "mode": "0o400", "is_own": True, "listed": ["tls.pem"]}
    assert http.put("/secrets/tls.pem", json={"value": "second"}).status_code == 200
    platform.eventually(lambda: platform.output("reader", {})["text"] == "second")
    assert http.delete("/secrets/tls.pem").json()["functions"] == ["reader"]
    refused = http.post(
        "/functions", json={"name": "boxed", "runtime": "python", "code": FILES, "env": env, "backend": "docker"}
    )
    assert (refused.status_code, "docker can not show secrets as files" in refused.text) == (400, True)
    assert http.put("/secrets/tls.pem", json={"value": "x" * 40_000}).status_code == 200
    too_much = platform.eventually(lambda: (a := platform.invoke("reader", {})).status_code == 502 and a)
    assert too_much.json()["code"] == "secrets_refused"
    assert http.put("/secrets/tls.pem", json={"value": "third"}).status_code == 200
    platform.eventually(lambda: platform.output("reader", {})["text"] == "third")
    assert not files_with(platform.data_dir, [value[:40].encode()])


def test_planes_leave_no_core(platform):
    for plane in platform.planes().values():
        limits = Path(f"/proc/{plane['pid']}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"], line
