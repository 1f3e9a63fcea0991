"""Interactive sandboxes under kills, hostile guests and strangers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from constellation.client import ApiProblem, Connection, Terminal
from constellation.supervisor.record import process_of
from tests.acceptance.conftest import Platform
from tests.acceptance.test_sandboxes import Box

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(300)]  # a busy machine takes its time

SMALL = {"memory_mb": 128, "disk_mb": 16, "processes": 48}


def made(platform: Platform, *, headers: dict[str, str] | None = None, **settings: Any) -> Box:
    answer = platform.http.post("/sandboxes", json={**SMALL, **settings}, headers=headers)
    assert answer.status_code == 201, answer.text
    return Box(platform, answer.json(), headers)


def keeper_of(platform: Platform) -> int:
    return json.loads((platform.data_dir / "run/sandboxes/keeper.json").read_text())["pid"]


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def below(pid: int) -> set[int]:
    """A process and all that it has started, as the host sees them."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, more = set(), {pid}
    while more:
        found |= more
        more = {child for child, parent in parents.items() if parent in more} - found
    return found


def test_a_comet_that_is_killed_leaves_sandboxes_running_and_the_next_one_has_them(own_platform: Platform):
    platform = own_platform
    box, paused = made(platform), made(platform)
    box.ask("POST", "/ports", json={"port": 8000})
    box.run("echo kept > f; exec python -m http.server 8000", background=True)
    box.output("until (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.02; done")
    pids = {each["pid"] for each in box.ask("GET", "/processes").json()["items"]}
    paused.ask("POST", "/pause")
    for _ in range(2):
        os.kill(platform.planes()["comet"]["pid"], signal.SIGKILL)
        platform.eventually(lambda: box.ask("GET", "/ports/8000/f").text == "kept\n", within_s=60)
        assert {each["pid"] for each in box.ask("GET", "/processes").json()["items"]} == pids
        assert paused.state() == "paused"
    assert paused.ask("POST", "/resume").json()["state"] == "running"
    assert paused.output("echo alive") == "alive\n"
    assert box.ask("DELETE").json()["state"] == "ended"


def test_a_keeper_that_is_killed_ends_its_sandboxes_and_the_next_one_starts_clean(own_platform: Platform):
    platform = own_platform
    box = made(platform)
    box.run("exec sleep 4326", background=True)
    keeper = keeper_of(platform)
    family = {pid: process_of(pid) for pid in below(keeper)}
    os.kill(keeper, signal.SIGKILL)  # what it keeps ends with it, one process after the other
    platform.eventually(lambda: box.ask("POST", "/exec", json={"command": "true"}).status_code in (404, 409, 502))
    platform.eventually(lambda: box.state() == "ended")
    platform.eventually(lambda: not any(each is not None and each.is_alive for each in family.values()))
    again = made(platform)
    assert again.output("echo again") == "again\n"
    server = json.loads((platform.data_dir / "run/sandboxes/s/exec.json").read_text())["pid"]
    os.kill(server, signal.SIGKILL)  # what makes them, and ends with them
    platform.eventually(lambda: again.state() == "ended")
    assert made(platform).output("echo more") == "more\n"
    keeper = keeper_of(platform)
    assert len(list((platform.data_dir / "run/sandboxes/s").glob("*-*.sock"))) == 1
    platform.stop()
    assert process_of(keeper) is None, "down ends it too"


def test_nothing_is_left_of_what_was_removed(platform: Platform):
    first = made(platform)  # so that the keeper runs, and has made what it keeps
    keeper = keeper_of(platform)
    before = below(keeper)
    descriptors = descriptors_of(keeper)
    for _ in range(3):
        boxes = [made(platform) for _ in range(2)]
        for box in boxes:
            box.run("exec sleep 4327", background=True)
            box.ask("POST", "/pause")
        for box in boxes:
            assert box.ask("DELETE").json()["state"] == "ended"
    platform.eventually(lambda: below(keeper) == before)
    platform.eventually(lambda: descriptors_of(keeper) == descriptors)
    assert [path.name for path in (platform.data_dir / "run/sandboxes/s").glob("*-*.sock")] == [f"{first.id}.sock"]
    first.ask("DELETE")


def test_a_sandbox_is_its_tenants_alone(platform: Platform):
    for tenant in ("box-a", "box-b"):
        assert platform.http.post("/tenants", json={"id": tenant}).status_code == 201
    box = made(platform, headers={"x-nova-tenant": "box-a"})
    box.ask("POST", "/ports", json={"port": 80})
    stranger = Box(platform, box.body, {"x-nova-tenant": "box-b"})
    tries = [
        ("GET", "", None), ("DELETE", "", None), ("PATCH", "/keepalive", {"ttl_s": 9}), ("POST", "/pause", None),
        ("POST", "/resume", None), ("POST", "/fork", None), ("POST", "/exec", {"command": "id"}),
        ("POST", "/code", {"code": "1"}), ("GET", "/files?path=/etc/passwd", None), ("GET", "/files/list", None),
        ("GET", "/files/archive", None), ("DELETE", "/files?path=x", None), ("GET", "/processes", None),
        ("DELETE", "/processes/2", None), ("GET", "/ports", None), ("POST", "/ports", {"port": 81}),
        ("DELETE", "/ports/80", None), ("GET", "/ports/80/", None),
    ]  # fmt: skip
    for method, path, body in tries:
        answer = stranger.ask(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    assert stranger.ask("PUT", "/files", params={"path": "x"}, content=b"x").status_code == 404
    assert platform.http.get("/sandboxes", headers=stranger.headers).json()["items"] == []
    with pytest.raises(ApiProblem) as refused:
        Terminal(Connection(server=platform.url, tenant="box-b"), f"/sandboxes/{box.id}/terminal")
    assert refused.value.status == 404
    assert box.ask("GET").json()["ports"] == [80]
    assert platform.http.delete("/tenants/box-a").status_code == 200
    socket = platform.data_dir / f"run/sandboxes/s/{box.id}.sock"
    platform.eventually(lambda: not socket.exists())  # a tenant that is deleted takes its sandboxes along
    platform.http.delete("/tenants/box-b")


def test_a_key_may_what_its_role_says(platform: Platform):
    keys = {}
    for role in ("viewer", "invoker", "operator"):
        answer = platform.http.post("/apikeys", json={"name": f"box-{role}", "role": role})
        keys[role] = {"x-api-key": answer.json()["key"]}
    box = made(platform)
    for role, reads, uses in (("viewer", 200, 403), ("invoker", 403, 403), ("operator", 200, 200)):
        seen = Box(platform, box.body, keys[role])
        assert seen.ask("GET").status_code == reads
        assert seen.ask("POST", "/exec", json={"command": "true"}).status_code == uses
        with_socket = Connection(server=platform.url, api_key=keys[role]["x-api-key"])
        if uses == 403:
            with pytest.raises(ApiProblem) as refused:
                Terminal(with_socket, f"/sandboxes/{box.id}/terminal")
            assert refused.value.status == 403
        platform.http.delete(f"/apikeys/box-{role}")
    box.ask("DELETE")


def test_bombs_hurt_their_own_sandbox_alone(platform: Platform):
    box, neighbour = made(platform), made(platform)
    box.run("bomb() { bomb | bomb & }; bomb", background=True)
    platform.eventually(lambda: len(box.commands()) >= 30)
    assert neighbour.output("echo well") == "well\n"
    assert box.ask("DELETE").json()["state"] == "ended"
    hog = made(platform)
    done = hog.run("exec python -c 'x = bytearray(1 << 30)'")
    assert done["exit_code"] in (1, 137)
    assert hog.output("echo well") == "well\n"
    full = hog.ask("PUT", "/files", params={"path": "big"}, content=bytes(4 << 20))
    assert full.status_code == 200
    assert "No space left" in hog.run("head -c 64M /dev/zero > bigger")["stderr"]
    refused = hog.ask("PUT", "/files", params={"path": "more"}, content=bytes(4 << 20))
    assert (refused.status_code, refused.json()["code"]) == (507, "sandbox_full")
    assert hog.ask("GET", "/files/list").json()["items"][-1]["name"] == "bigger"
    hog.ask("DELETE")
    neighbour.ask("DELETE")


def test_paths_lead_nowhere_but_into_the_sandbox(platform: Platform):
    secret = platform.data_dir / "service.token"
    assert secret.is_file()
    box = made(platform)
    box.output(f"ln -s {secret} token; ln -s / root; mkfifo pipe; ln -s loop loop")
    for path, status in (
        ("token", 404), (str(secret), 404), (f"root{secret}", 404), ("../../../.." + str(secret), 404), ("pipe", 400),
        ("/dev/zero", 400), ("/tmp", 409), ("loop", 409), ("/proc/1/root" + str(secret), 404),
    ):  # fmt: skip
        answer = box.ask("GET", "/files", params={"path": path})
        assert answer.status_code == status or answer.content == b"", (path, answer.status_code, answer.text[:200])
    kernel = box.ask("GET", "/files", params={"path": "/proc/kcore"})
    assert kernel.status_code in (403, 404) or kernel.content == b""
    for path in ("/usr/x", "/etc/passwd", "/run/agent/agent.py", "/proc/sys/kernel/core_pattern"):
        answer = box.ask("PUT", "/files", params={"path": path}, content=b"x")
        assert answer.status_code in (403, 404), (path, answer.text)
    assert box.ask("GET", "/files", params={"path": "a\0b"}).status_code == 400
    assert box.ask("DELETE", "/processes/1").status_code == 400
    assert box.ask("DELETE", f"/processes/{os.getpid()}").status_code in (404, 204)
    outside = box.output("cat /proc/1/environ | tr '\\0' '\\n'; cat /proc/net/dev")
    assert "NOVA" not in outside
    assert "token" not in outside
    box.ask("DELETE")


def test_a_link_that_is_swapped_while_files_are_read_and_copied_shows_nothing(platform: Platform):
    box = made(platform, disk_mb=64)
    secret = (platform.data_dir / "service.token").read_text().strip()
    box.run(
        f"mkdir real; echo inside > real/service.token; while :; do ln -sfn real d; ln -sfn {platform.data_dir} d; done",
        background=True,
    )
    box.output("until [ -L d ]; do :; done")
    for _ in range(100):
        answer = box.ask("GET", "/files", params={"path": "d/service.token"})
        assert answer.status_code in (200, 404)
        assert secret not in answer.text
    fork = Box(platform, box.ask("POST", "/fork").json()["sandbox"])
    assert fork.output("cat real/service.token") == "inside\n"
    assert secret not in fork.run("cat d/service.token; grep -r . . 2>/dev/null")["stdout"]
    fork.ask("DELETE")
    box.ask("DELETE")


def test_an_agent_that_is_taken_over_lies_to_its_own_user_alone(platform: Platform):
    """Pid 1 inside has no more power than any program there, so it is as hostile as they are."""
    box = made(platform)
    # Fill its listening queue: nobody inside can reach the socket by its name, which is the host's.
    assert (
        box.output("ls /run; ls /proc/1/fd >/dev/null && echo listed") == "agent\nmasked\nmasked.d\nprograms\nlisted\n"
    )
    assert box.run("exec 3<>/proc/1/fd/3")["exit_code"] != 0
    box.ask("DELETE")


def test_many_requests_at_once_are_each_answered(platform: Platform):
    box = made(platform)
    outputs: list[str] = []

    def ask(number: int) -> None:
        outputs.append(box.output(f"echo {number}"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(map(int, outputs)) == list(range(16))
    box.ask("DELETE")


def test_orbit_works_in_a_sandbox(platform: Platform, tmp_path: Path):
    env = {**os.environ, "ZENITH_URL": platform.url, "HOME": str(tmp_path)}

    def orbit(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [Path(__file__).parents[2] / "bin" / "orbit", "sandbox", *args]
        return subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, timeout=60, check=False)

    box = orbit("create", "--memory", "128", "--disk", "16", "-e", "A=b").stdout.strip()
    try:
        done = orbit("exec", box, "echo $A; exit 7")
        assert (done.stdout, done.returncode) == ("b\n", 7)
        (tmp_path / "here").write_text("there and back")
        assert orbit("cp", str(tmp_path / "here"), f"{box}:there").returncode == 0
        assert orbit("cp", f"{box}:there", str(tmp_path / "back")).returncode == 0
        assert (tmp_path / "back").read_text() == "there and back"
        assert "there" in orbit("ls", box).stdout
        assert "agent.py" in orbit("ps", box).stdout
        assert orbit("expose", box, "8000").stdout.strip() == f"{platform.url}/sandboxes/{box}/ports/8000/"
        shell = orbit("shell", box, stdin="echo $((6*7))\nexit 3\n")
        assert "42" in shell.stdout
        assert shell.returncode == 3
        assert orbit("pause", box).returncode == 0
        assert "paused" in orbit("list").stdout
        assert orbit("resume", box).returncode == 0
        fork = orbit("fork", box).stdout.strip()
        assert orbit("exec", fork, "cat there").stdout == "there and back"
        assert orbit("rm", fork, "--yes").returncode == 0
    finally:
        assert orbit("rm", box, "--yes").returncode == 0
    assert "ended" in orbit("get", box).stdout


def test_the_example_finds_the_best_solution(platform: Platform):
    before = platform.http.get("/sandboxes").json()["items"]
    example = Path(__file__).parents[2] / "examples/sandbox-tournament/tournament.py"
    done = subprocess.run(
        [sys.executable, example, "20000"], env={**os.environ, "ZENITH_URL": platform.url}, capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["sieve", "division", "wrong"]
    assert platform.http.get("/sandboxes").json()["items"] == before
