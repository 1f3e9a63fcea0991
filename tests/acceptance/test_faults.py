"""Any process may be killed at any instruction: nothing accepted is lost, nothing leaks, all come back by themselves."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

ECHO = "import time\ndef handler(event, context):\n    time.sleep(0.02)\n    return event\n"


def _back(platform, name, old_pid):
    def check():
        plane = platform.planes()[name]
        return plane["pid"] != old_pid and plane["state"] == "running" and plane["pid"]

    return platform.eventually(check, within_s=30)


@pytest.mark.parametrize("name", ["nova", "comet", "corona", "nebula", "aurora", "zenith", "postgres"])
def test_a_killed_plane_comes_back_and_the_others_recover(own_platform, name):
    platform = own_platform
    assert platform.output("hello-python", {"name": "Ada"})
    pid = platform.planes()[name]["pid"]
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    _back(platform, name, pid)
    platform.eventually(lambda: platform.http.get("/health").status_code == 200, within_s=30)
    print(f"{name}: back and healthy after {time.monotonic() - began:.2f} s")
    platform.eventually(lambda: platform.output("hello-python", {"name": "Ada"}))
    platform.deploy("after", ECHO)
    assert platform.output("after", 1) == 1
    made = platform.http.post("/functions/after/invoke-async", json={"payload": 2}).json()
    platform.eventually(lambda: platform.http.get(f"/async-invocations/{made['id']}").json()["status"] == "succeeded")


def _descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = set(), [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def _said(platform, plane: str) -> str:
    """The last of a plane's log."""
    return (platform.data_dir / "logs" / f"{plane}.log").read_text()[-8000:]


def _mounts(platform) -> set[str]:
    """The mounts on or of anything of this platform: others run on the same machine."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if str(platform.data_dir) in line}


def _cgroups() -> set[str]:
    return {str(p.parent) for p in Path("/sys/fs/cgroup").rglob("cgroup.procs") if "constellation" in str(p)}


def test_killing_comet_under_load_loses_no_job_and_leaks_nothing(own_platform):
    platform = own_platform
    platform.deploy("work", ECHO, max_replicas=20)
    assert platform.output("work", 0) == 0
    # the shape of the platform at rest with one idle instance, to compare with afterwards
    mounts = _mounts(platform)
    comet = platform.planes()["comet"]["pid"]
    children = _descendants(comet)
    accepted: list[str] = []

    def call(n: int):
        if n % 2:
            answer = platform.http.post("/functions/work/invoke-async", json={"payload": n, "max_attempts": 10})
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])
        else:
            answer = platform.invoke("work", n)
        assert answer.status_code in (200, 202, 429, 502, 503), f"{answer.text}\n{_said(platform, 'zenith')}"

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        calls = [pool.submit(call, n) for n in range(400)]
        # In the middle of it, however slow the machine: some jobs are accepted, and most calls have no answer yet.
        platform.eventually(lambda: len(accepted) >= 10, within_s=30)
        assert sum(done.done() for done in calls) < 400
        os.kill(comet, signal.SIGKILL)
        for done in calls:
            done.result()
    new_comet = _back(platform, "comet", comet)
    platform.eventually(lambda: platform.output("work", 1) == 1, within_s=30)
    assert accepted

    def all_done():
        states = [platform.http.get(f"/async-invocations/{i}").json()["status"] for i in accepted]
        return all(state == "succeeded" for state in states)

    platform.eventually(all_done, within_s=90)

    def nothing_left():
        left = {p for p in children if Path(f"/proc/{p}").exists()}
        assert not left, left
        idle = _descendants(new_comet)
        leaked = [p for p in _orphans(platform) if p not in idle]
        assert not leaked, leaked
        return True

    platform.eventually(nothing_left, within_s=30)
    # A namespace lives as long as a process or a mount of it: the first are accounted for above.
    assert _mounts(platform) == mounts
    for group in _cgroups():
        assert Path(group).exists()
    sockets = list((platform.data_dir / "run").glob("**/*.sock"))
    assert len(sockets) <= 9, sockets


def _orphans(platform) -> list[int]:
    """Processes of sandboxes (host uids of instances) that are there now."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            uid = int(re.search(r"^Uid:\s+(\d+)", status.read_text(), re.MULTILINE)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if uid >= 1_000_000 and _belongs(platform, int(status.parent.name)):
            found.append(int(status.parent.name))
    return found


def _belongs(platform, pid: int) -> bool:
    """Whether a sandbox's process is this platform's: only platforms of this test's session run here otherwise."""
    try:
        cgroup = Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    comets = {m[1] for m in re.finditer(r"/(constellation[^/\n]*)/", cgroup)}
    mine = {m[1] for p in _descendants(platform.planes()["comet"]["pid"])
            for m in re.finditer(r"/(constellation[^/\n]*)/", _read(f"/proc/{p}/cgroup"))}  # fmt: skip
    return bool(comets & mine)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_killed_supervisor_leaves_nothing_behind_and_up_starts_again(own_platform, request):
    platform = own_platform
    from tests.acceptance.conftest import COMMAND

    pids = {name: plane["pid"] for name, plane in platform.planes().items()}
    zenith = pids["zenith"]
    supervisor = int(Path(f"/proc/{zenith}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    platform.eventually(lambda: not any(_alive(p) for name, p in pids.items() if name != "postgres"), within_s=30)
    port = platform.url.rsplit(":", 1)[1]
    subprocess.run(
        [COMMAND, "up", "--listen", f"127.0.0.1:{port}", "--data-dir", platform.data_dir, "--detach"],
        check=True, timeout=120,
    )  # fmt: skip
    assert platform.output("hello-python", {"name": "Ada"})


def _alive(pid: int) -> bool:
    state = _read(f"/proc/{pid}/stat")
    return bool(state) and state.rsplit(")", 1)[1].split()[0] != "Z"
