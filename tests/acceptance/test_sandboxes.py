"""Interactive sandboxes, as a user has them: made, worked in, forked, ended."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from constellation.client import ApiProblem, Connection, Terminal
from tests.acceptance.conftest import Platform

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(300)]  # a busy machine takes its time

UNKNOWN = "0190a0a0-0000-7000-8000-000000000000"
ECHO_SERVER = """
import base64, hashlib, http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Set-Cookie', 'a=b')
        self.send_header('Constellation-Peer', 'forged')
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.headers.get('Upgrade') == 'websocket':
            return self.web_socket()
        seen = {name.lower() for name in self.headers}
        self.answer(f"{self.path} {sorted(seen & {'x-api-key', 'authorization', 'x-mine'})}".encode())

    def do_POST(self):
        if self.headers.get('Transfer-Encoding') == 'chunked':
            body = b''
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers['Content-Length']))
        self.answer(body[::-1])

    def web_socket(self):
        key = self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        self.send_response(101)
        self.send_header('Upgrade', 'websocket')
        self.send_header('Connection', 'Upgrade')
        self.send_header('Sec-WebSocket-Accept', base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        head = self.rfile.read(2)
        mask = self.rfile.read(4)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(head[1] & 127)))
        self.wfile.write(bytes((0x82, len(data))) + data[::-1])
        self.wfile.write(bytes((0x88, 2, 3, 232)))
        self.close_connection = True

http.server.ThreadingHTTPServer(('127.0.0.1', 8000), Handler).serve_forever()
"""


class Box:
    """One sandbox, and how a test speaks to it."""

    def __init__(self, platform: Platform, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.platform, self.id, self.body = platform, body["id"], body
        self.headers = headers or {}

    def ask(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        return self.platform.http.request(method, f"/sandboxes/{self.id}{path}", headers=self.headers, **options)

    def run(self, command: str, **options: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/exec", json={"command": command, **options})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def output(self, command: str, **options: Any) -> str:
        done = self.run(command, **options)
        assert done["exit_code"] == 0, done
        return done["stdout"]

    def commands(self) -> list[str]:
        return [each["command"] for each in self.ask("GET", "/processes").json()["items"]]

    def terminal(self, **query: str) -> Terminal:
        return Terminal(Connection(server=self.platform.url), f"/sandboxes/{self.id}/terminal", query)

    def state(self) -> str:
        return self.ask("GET").json()["state"]


Make = Callable[..., Box]


@pytest.fixture
def make(platform: Platform) -> Iterator[Make]:
    made: list[Box] = []

    def make(**settings: Any) -> Box:
        small = {"memory_mb": 128, "disk_mb": 32, "processes": 48}
        answer = platform.http.post("/sandboxes", json={**small, **settings})
        assert answer.status_code == 201, answer.text
        made.append(Box(platform, answer.json()))
        return made[-1]

    yield make
    for each in made:
        each.ask("DELETE")


@pytest.fixture(scope="module")
def shared(platform: Platform) -> Iterator[Box]:
    """One for tests that leave nothing which others would notice."""
    answer = platform.http.post("/sandboxes", json={"env": {"GREETING": "hello", "SECRET": "s3cret"}})
    box = Box(platform, answer.json())
    yield box
    box.ask("DELETE")


def test_a_sandbox_is_made_found_and_ended(platform: Platform, make: Make):
    box = make(env={"SECRET": "s3cret"}, files=[{"path": "a/b.txt", "text": "of the beginning", "mode": 0o600}])
    assert box.body["state"] == "running"
    assert box.body["env"] == ["SECRET"]
    assert "s3cret" not in json.dumps(box.ask("GET").json())
    assert box.output("cat a/b.txt; stat -c %a a/b.txt") == "of the beginning600\n"
    assert box.id in {each["id"] for each in platform.http.get("/sandboxes").json()["items"]}
    gone = box.ask("DELETE").json()
    assert (gone["state"], gone["reason"]) == ("ended", "removed")
    assert box.ask("DELETE").json()["state"] == "ended"
    assert box.ask("POST", "/exec", json={"command": "true"}).status_code == 409
    assert box.id not in {each["id"] for each in platform.http.get("/sandboxes").json()["items"]}
    ended = platform.http.get("/sandboxes", params={"state": "ended"}).json()["items"]
    assert box.id in {each["id"] for each in ended}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"backend": "docker"}, 422, "sandbox_backend_unavailable"),
        ({"template": "cobol"}, 422, "template_unavailable"),
        ({"memory_mb": 65_536}, 429, "sandbox_limit"),
        ({"ttl_s": 1e9}, 400, "invalid_request"),
        ({"env": {"not a name": "x"}}, 400, "invalid_request"),
        ({"files": [{"path": "x"}]}, 400, "invalid_request"),
        ({"surprise": 1}, 400, "invalid_request"),
    ],
)
def test_what_can_not_be_made_is_refused(platform: Platform, body: dict[str, Any], status: int, code: str):
    answer = platform.http.post("/sandboxes", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_program_has_input_environment_directory_and_status(shared: Box):
    done = shared.run(
        "cat; echo $GREETING $MORE; pwd; echo oops >&2; exit 5", stdin="in ", cwd="/tmp", env={"MORE": "x"}
    )
    assert done["stdout"] == "in hello x\n/tmp\n"
    assert (done["stderr"], done["exit_code"], done["signal"], done["timed_out"]) == ("oops\n", 5, None, False)
    killed = shared.run("kill -9 $$")
    assert (killed["exit_code"], killed["signal"]) == (137, "SIGKILL")
    assert shared.ask("POST", "/exec", json={"argv": ["/nowhere"]}).status_code == 404
    assert shared.ask("POST", "/exec", json={"argv": ["/bin/true"], "command": "true"}).status_code == 400
    ran = shared.ask("POST", "/code", json={"code": "import sys; print(sys.version_info[0])", "language": "python"})
    assert ran.json()["stdout"] == "3\n"


def test_a_program_that_runs_over_its_time_ends_with_its_children(shared: Box):
    done = shared.run("sleep 4321 & sleep 4322", timeout_s=0.5)
    assert done["timed_out"]
    assert done["exit_code"] == 137
    assert not [each for each in shared.commands() if "sleep 432" in each]


def test_output_comes_as_it_is_written_and_a_hang_up_ends_the_program(platform: Platform, shared: Box):
    body = {"command": "echo first; while [ ! -e go ]; do sleep 0.01; done; echo second; sleep 4323"}
    with platform.http.stream(
        "POST", f"/sandboxes/{shared.id}/exec", json=body, headers={"accept": "application/x-ndjson"}
    ) as answer:
        lines = (json.loads(line) for line in answer.iter_lines())
        pid = next(lines)["pid"]
        assert next(lines) == {"stdout": "first\n"}
        assert shared.ask("PUT", "/files", params={"path": "go"}, content=b"").status_code == 200
        assert next(lines) == {"stdout": "second\n"}
        assert pid in {each["pid"] for each in shared.ask("GET", "/processes").json()["items"]}
    platform.eventually(lambda: not [each for each in shared.commands() if "4323" in each])
    with pytest.raises(httpx.ReadTimeout):
        shared.ask("POST", "/exec", json={"command": "touch began; exec sleep 4328"}, timeout=3)
    assert shared.output("ls began") == "began\n"
    platform.eventually(lambda: not [each for each in shared.commands() if "4328" in each])


def test_a_flood_is_cut_and_a_reader_that_is_slow_stops_the_writer(platform: Platform, shared: Box):
    flood = shared.run("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert flood["stdout_truncated"]
    assert len(flood["stdout"]) == 1 << 20
    assert flood["stderr"] == "end\n"
    body = {"command": "exec yes"}
    with platform.http.stream(
        "POST", f"/sandboxes/{shared.id}/exec", json=body, headers={"accept": "application/x-ndjson"}
    ) as answer:
        lines = answer.iter_lines()  # held: to let go of it would hang up
        pid = json.loads(next(lines))["pid"]

        def cpu_s() -> float:
            found = [each for each in shared.ask("GET", "/processes").json()["items"] if each["pid"] == pid]
            return found[0]["cpu_s"]

        def stands_still() -> bool:
            before = cpu_s()
            time.sleep(0.3)
            return cpu_s() == before

        platform.eventually(stands_still)


def test_files_are_written_read_listed_moved_and_deleted(shared: Box):
    content = os.urandom(300_000)
    made = shared.ask("PUT", "/files", params={"path": "deep/er/data.bin", "mode": "640"}, content=content).json()
    assert (made["size"], made["mode"], made["kind"]) == (300_000, 0o640, "file")
    assert shared.ask("GET", "/files", params={"path": "/home/sandbox/deep/er/data.bin"}).content == content
    part = shared.ask("GET", "/files", params={"path": "deep/er/data.bin", "offset": 100, "length": 70_000})
    assert part.content == content[100:70_100]
    shared.ask("PUT", "/files", params={"path": "deep/er/data.bin", "offset": 299_999}, content=b"ab")
    assert shared.ask("GET", "/files/stat", params={"path": "deep/er/data.bin"}).json()["size"] == 300_001
    assert shared.ask("POST", "/files/mkdir", json={"path": "deep/new/er"}).status_code == 200
    assert shared.ask("POST", "/files/move", json={"path": "deep/er", "to": "deep/new/moved"}).status_code == 200
    names = [each["name"] for each in shared.ask("GET", "/files/list", params={"path": "deep/new"}).json()["items"]]
    assert names == ["er", "moved"]
    assert shared.ask("DELETE", "/files", params={"path": "deep"}).status_code == 409
    assert shared.ask("DELETE", "/files", params={"path": "deep", "recursive": "1"}).status_code == 204
    assert shared.ask("GET", "/files/stat", params={"path": "deep"}).status_code == 404


def test_a_directory_travels_as_an_archive(shared: Box):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("in/side.txt")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"bytes"))
    assert shared.ask("PUT", "/files/archive", params={"path": "box"}, content=packed.getvalue()).status_code == 204
    assert shared.output("cat box/in/side.txt") == "bytes"
    answer = shared.ask("GET", "/files/archive", params={"path": "box"})
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        assert archive.extractfile("./in/side.txt").read() == b"bytes"
    broken = shared.ask("PUT", "/files/archive", params={"path": "box"}, content=b"no archive")
    assert broken.status_code == 422
    assert shared.ask("GET", "/files/archive", params={"path": "nowhere"}).status_code == 404


def test_a_terminal_has_a_size_and_a_status(shared: Box):
    with shared.terminal(rows="30", columns="90", command="stty size; read x; stty size; exit 9") as terminal:
        assert terminal.receive() == b"30 90\r\n"
        terminal.order(size=(41, 121))
        terminal.send(b"\r")
        said = b""
        while isinstance(message := terminal.receive(), bytes):
            said += message
        assert said.endswith(b"41 121\r\n")
        assert isinstance(message, str)
        assert json.loads(message)["exit_code"] == 9
        assert terminal.receive() is None


def test_a_terminal_passes_signals_and_a_login_shell_reads_what_is_typed(shared: Box):
    with shared.terminal() as terminal:
        terminal.send(b"trap 'echo caught' INT; echo rea''dy\r")
        said = b""
        while b"ready" not in said:
            said += terminal.receive()
        terminal.send(b"\x03")
        while said.count(b"caught") < 2:  # the first is the echo of what was typed
            said += terminal.receive()
        terminal.send(b"exit 4\r")
        while isinstance(message := terminal.receive(), bytes):
            pass
        assert json.loads(message)["exit_code"] == 4


def test_without_a_terminal_both_streams_are_told_apart(shared: Box):
    with shared.terminal(tty="0", command="cat; echo err >&2") as program:
        program.send(b"in")
        assert program.receive() == b"\x01in"
        program.order(end=True)
        assert program.receive() == b"\x02err\n"
        assert json.loads(program.receive())["exit_code"] == 0


def test_a_terminal_that_hangs_up_ends_its_program(platform: Platform, shared: Box):
    with shared.terminal(command="echo up; sleep 4324") as terminal:
        assert terminal.receive() == b"up\r\n"
    platform.eventually(lambda: not [each for each in shared.commands() if "4324" in each])


def test_a_web_socket_elsewhere_and_a_page_of_another_origin_are_refused(platform: Platform, shared: Box):
    connection = Connection(server=platform.url)
    for path, status in (("/functions", 426), (f"/sandboxes/{UNKNOWN}/terminal", 404), ("/nowhere", 404)):
        with pytest.raises(ApiProblem) as refused:
            Terminal(connection, path)
        assert refused.value.status == status
    headers = {
        "upgrade": "websocket", "connection": "Upgrade", "origin": "http://evil.example", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    assert platform.http.get(f"/sandboxes/{shared.id}/terminal", headers=headers).status_code == 401
    assert shared.ask("GET", "/terminal").status_code == 426


def test_a_port_is_passed_on_once_it_is_exposed(platform: Platform, make: Make):
    box = make(files=[{"path": "server.py", "text": ECHO_SERVER}])
    box.run("exec python server.py", background=True)
    box.output("until (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.02; done")
    assert box.ask("GET", "/ports/8000/x").status_code == 404
    made = box.ask("POST", "/ports", json={"port": 8000})
    assert made.json() == {"port": 8000, "path": f"/sandboxes/{box.id}/ports/8000/"}
    answer = platform.http.get(made.json()["path"] + "a/../b%2Fc?q=1", headers={"x-mine": "1", "authorization": ""})
    box.headers = {"x-mine": "1"}
    answer = box.ask("GET", "/ports/8000/a/b%2Fc?q=1")
    assert answer.text == "/a/b%2Fc?q=1 ['x-mine']"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert "constellation-peer" not in answer.headers
    body = os.urandom(400_000)
    assert box.ask("POST", "/ports/8000/", content=body).content == body[::-1]
    assert box.ask("POST", "/ports/8000/", content=iter([body[:9], body[9:]])).content == body[::-1]
    with Terminal(Connection(server=platform.url), f"/sandboxes/{box.id}/ports/8000/ws") as socket:
        socket.send(b"abc")
        assert socket.receive() == b"cba"
        assert socket.receive() is None
    assert box.ask("POST", "/ports", json={"port": 8001}).status_code == 201
    refused = box.ask("GET", "/ports/8001/")
    assert refused.status_code == 502
    assert refused.json()["code"] == "port_closed", refused.text
    assert "nothing listens on port 8001" in refused.json()["detail"]
    assert box.ask("DELETE", "/ports/8000").json() == {
        "items": [{"port": 8001, "path": f"/sandboxes/{box.id}/ports/8001/"}]
    }
    assert box.ask("GET", "/ports/8000/").status_code == 404


def test_a_server_that_speaks_no_http_is_a_bad_gateway(make: Make):
    server = "import socket\ns=socket.create_server(('127.0.0.1', 8000))\nwhile True:\n c,_=s.accept(); c.recv(9); c.send(b'SSH-2.0\\r\\n\\r\\n'); c.close()"
    box = make(files=[{"path": "s.py", "text": server}])
    box.run("exec python s.py", background=True)
    box.output("until (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.02; done")
    box.ask("POST", "/ports", json={"port": 8000})
    answer = box.ask("GET", "/ports/8000/")
    assert (answer.status_code, answer.json()["code"]) == (502, "sandbox_answer_invalid")


def test_a_paused_sandbox_stands_still_and_goes_on(make: Make):
    box = make()
    box.run("while :; do date +%s%N >> ticks; sleep 0.02; done", background=True)
    box.output("until [ -s ticks ]; do sleep 0.02; done")
    assert box.ask("POST", "/pause").json()["state"] == "paused"
    assert box.ask("POST", "/exec", json={"command": "true"}).status_code == 409
    time.sleep(1.0)
    assert box.ask("POST", "/resume").json()["state"] == "running"
    lines = int(box.output("wc -l < ticks"))
    box.output(f"until [ $(wc -l < ticks) -gt {lines} ]; do sleep 0.02; done")
    ticks = [int(line) for line in box.output("cat ticks").splitlines()]
    assert max(b - a for a, b in pairwise(ticks)) > 0.9e9


def test_a_fork_has_the_files_and_leaves_the_processes(make: Make):
    box = make(env={"A": "1"})
    box.output(
        "mkdir -p d/e; echo x > d/e/f; chmod 640 d/e/f; ln -s /usr/bin/env link; ln d/e/f hard; mkfifo pipe; echo t > /tmp/t"
    )
    box.ask("POST", "/ports", json={"port": 9})
    box.run("exec sleep 4325", background=True)
    answer = box.ask("POST", "/fork")
    assert answer.status_code == 201, answer.text
    fork = Box(box.platform, answer.json()["sandbox"])
    try:
        assert answer.json()["left_behind"][0] == "processes and their memory"
        assert fork.body["forked_from"] == box.id
        assert fork.body["ports"] == [9]
        assert fork.output("cat d/e/f hard /tmp/t; stat -c '%a %h' d/e/f; readlink link; echo $A; ls") == (
            "x\nx\nt\n640 2\n/usr/bin/env\n1\nd\nhard\nlink\n"
        )
        assert not [each for each in fork.commands() if "4325" in each]
        assert [each for each in box.commands() if "4325" in each], "the source goes on"
        fork.output("echo changed > d/e/f")
        assert box.output("cat d/e/f") == "x\n"
    finally:
        fork.ask("DELETE")


def test_an_idle_sandbox_is_paused_and_the_next_use_resumes_it(platform: Platform, make: Make):
    box = make(idle_timeout_s=1)
    box.output("echo kept > f")
    platform.eventually(lambda: box.state() == "paused")
    assert box.ask("GET").json()["reason"] == "idle"
    assert box.output("cat f") == "kept\n"
    assert box.state() == "running"


def test_a_sandbox_in_use_is_not_idle_and_one_whose_time_is_over_ends(platform: Platform, make: Make):
    box = make(idle_timeout_s=1, on_idle="remove")
    box.output("sleep 4")
    assert box.state() == "running"
    platform.eventually(lambda: box.state() == "ended")
    assert box.ask("GET").json()["reason"] == "nobody used it"
    other = make(ttl_s=600)
    assert other.ask("PATCH", "/keepalive", json={"ttl_s": 1}).status_code == 200
    platform.eventually(lambda: other.state() == "ended")
    assert other.ask("GET").json()["reason"] == "its time was over"
