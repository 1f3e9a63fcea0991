"""A database's way from a terminal to a handler in its sandbox, and what that handler can not do with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.acceptance.conftest import eventually

ROOT = Path(__file__).parents[2]
ORBIT = Path(sys.executable).with_name("orbit")
EXAMPLE = ROOT / "examples" / "guest-book"
# A hostile guest: it says who it would like to be, and shows what there is of credentials and sockets.
HOSTILE = """
import os, socket, struct

def talk(path, packet, *messages):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    s.sendall(struct.pack("!I", len(packet) + 4) + packet)
    said = b""
    for message in (*messages, b"X\\0\\0\\0\\4"):
        s.sendall(message)
    while piece := s.recv(65536):
        said += piece
    return said.decode("latin-1")

def query(sql):
    body = sql.encode() + b"\\0"
    return b"Q" + struct.pack("!I", len(body) + 4) + body

def startup(**given):
    return struct.pack("!I", 3 << 16) + b"".join(f"{k}\\0{v}\\0".encode() for k, v in given.items()) + b"\\0"

def handler(event, context):
    path = "/run/db/guests/.s.PGSQL.5432"
    asks = "SELECT 'I am ' || session_user || ' ' || (SELECT rolsuper OR rolinherit FROM pg_roles WHERE rolname = session_user)"
    try:
        open("/run/db/guests/mine", "w")
        wrote = True
    except OSError:
        wrote = False
    return {
        "env": dict(os.environ),
        "me": talk(path, startup(user="postgres", options="-c role=postgres -c session_authorization=postgres"), query(asks)),
        "set": talk(path, startup(user="u"), query("SET ROLE postgres")),
        "other": talk(path, startup(user="u", database="postgres")),
        "long": talk(path, startup(user="u"), query("SET statement_timeout = 0"), query("SELECT pg_sleep(60)")),
        "rows": talk(path, startup(user="u"), query("SELECT * FROM generate_series(1, 100000)"))[-400:],
        "seen": sorted(os.path.join(top, name) for top, _, names in os.walk("/run/db") for name in names),
        "wrote": wrote,
    }
"""


def orbit(platform, *words, code=0):
    done = subprocess.run(
        [ORBIT, "--server", platform.url, *words], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"NOVA_NAMESPACE": "default"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_a_function_keeps_its_visitors_in_a_database(platform):
    orbit(platform, "databases", "create", "guests", "--statement-timeout", "1", "--max-rows", "1000")
    orbit(platform, "deploy", EXAMPLE)
    for number in (1, 2):
        said = json.loads(orbit(platform, "invoke", "guest-book", "-d", f"@{EXAMPLE / 'event.json'}", "-o", "json"))
        answer = said.get("output", said)
        assert answer["visitors"] == number
        assert answer["last"][0] == json.loads((EXAMPLE / "event.json").read_text())

    made = platform.http.post(
        "/functions",
        json={
            "name": "hostile",
            "runtime": "python",
            "code": HOSTILE,
            "env": {"DB": "$DATABASE:guests"},
            "timeout_s": 60,
        },
    )
    assert made.status_code == 201, made.text
    found = platform.http.post("/functions/hostile/invoke", json={}).json()["output"]
    role = platform.http.get("/databases/guests").json()["role_name"]
    assert f"I am {role} false" in found["me"]
    assert "42501" in found["set"] or "22023" in found["set"], found["set"]
    assert "3D000" in found["other"]
    assert "57014" in found["long"]
    assert "54000" in found["rows"]
    assert found["seen"] == ["/run/db/guests/.s.PGSQL.5432"]
    assert not found["wrote"]
    assert found["env"]["DB"] == "postgresql:///guests?host=/run/db/guests"
    password = (platform.data_dir / "databases" / "postgres.password").read_text().strip()
    assert password not in json.dumps(found)

    def logged():
        rows = platform.http.get("/databases/guests/requests?limit=500").json()["items"]
        return rows if any(each["code"] == "54000" for each in rows) else None

    rows = eventually(logged)
    by_statement = {each["statement"]: each for each in rows}
    insert = by_statement["INSERT INTO guests (name, says) VALUES ($1, $2)"]
    assert (insert["outcome"], insert["rows"], insert["function_name"]) == ("succeeded", 1, "guest-book")
    assert by_statement["SELECT pg_sleep(?)"]["outcome"] == "cut"
    assert "Ada" not in json.dumps(rows)

    assert "guest-book" in orbit(platform, "databases", "delete", "guests", "--yes", code=4)
    changed = platform.http.patch("/databases/guests", json={"limits": {"max_rows": 200_000}})
    assert changed.status_code == 200, changed.text
    for name in ("guest-book", "hostile"):
        assert platform.http.delete(f"/functions/{name}").status_code == 200
    assert "deleted guests" in orbit(platform, "databases", "delete", "guests", "--yes")


def test_sessions_end_with_their_instances_and_new_limits_reach_new_ones(platform):
    orbit(platform, "databases", "create", "brief", "--max-rows", "10")
    code = HOSTILE.replace("/run/db/guests/", "/run/db/brief/").replace(
        "def handler(event, context):",
        "def handler(event, context):\n    return talk('/run/db/brief/.s.PGSQL.5432', startup(user='u'), query(event))\n\ndef old(event, context):",
    )
    body = {"name": "brief", "runtime": "python", "code": code, "env": {"DB": "$DATABASE:brief"}}
    assert platform.http.post("/functions", json=body).status_code == 201

    def asked():
        return platform.output("brief", "SELECT * FROM generate_series(1, 50)")

    assert "54000" in asked()
    assert platform.http.patch("/databases/brief", json={"limits": {"max_rows": 100}}).status_code == 200
    eventually(lambda: "SELECT 50" in asked())
    assert platform.http.delete("/functions/brief").status_code == 200
    sockets = platform.data_dir / "run" / "comet-databases"
    eventually(lambda: not list(sockets.glob("*/brief")))
    assert platform.http.delete("/databases/brief").status_code == 200


def test_a_full_database_says_so_to_whoever_writes(platform):
    code = HOSTILE.split("def handler", maxsplit=1)[0] + (
        "def handler(event, context):\n"
        "    return talk('/run/db/small/.s.PGSQL.5432', startup(user='u'), query(event))\n"
    )
    orbit(platform, "databases", "create", "small", "--size-mb", "16")
    made = {
        "name": "writes",
        "runtime": "python",
        "handler": "main.handler",
        "code": code,
        "env": {"DB": "$DATABASE:small"},
    }
    answer = platform.http.post("/functions", json=made)
    assert answer.status_code == 201, answer.text

    def ask(sql):
        return platform.invoke("writes", sql).json()["output"] or ""

    fill = "INSERT INTO t SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 20000) AS n"
    assert "INSERT 0 20000" in ask("CREATE TABLE t (a integer, b text);" + fill)
    said = eventually(lambda: "C53100" in (answer := ask("INSERT INTO t VALUES (1)")) and answer, within_s=60)
    assert "the database small is full (" in said
    assert " of 16 MB): functions can read and delete, and add nothing" in said
    assert "permission denied for table t" in said
    assert "orbit databases limit small --size-mb 32" in said
