"""The supervisor over real processes: order, restarts, stops, and what is left when it is killed itself."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from constellation.supervisor.plan import PLANES
from constellation.supervisor.record import process_of, read_record
from constellation.supervisor.show import statuses
from constellation.supervisor.stop import stop_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a busy machine takes its time

SMALL_UP = Path(__file__).with_name("small_up.py")


class Running:
    """One supervisor in a process of its own."""

    def __init__(self, data_dir: Path, *moods: str) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, SMALL_UP, data_dir, *moods],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def word(self) -> dict[str, object]:
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def pids(self) -> dict[str, int]:
        return {plane.name: plane.pid for plane in statuses(self.data_dir)}

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=100)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setattr("constellation.supervisor.stop._ORPHANS_S", 1.0)
    running: list[Running] = []

    def begin(*moods: str, name: str = "data") -> Running:
        running.append(Running(tmp_path / name, *moods))
        return running[-1]

    yield begin
    for one in running:
        one.end()
        anyio.run(stop_platform, one.data_dir)


def until(check, *, within_s: float = 100.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s")


def is_gone(pid: int) -> bool:
    return process_of(pid) is None


def test_all_planes_come_up_in_order_and_go_down_in_reverse(start):
    one = start()
    word = one.word()
    assert len(word["urls"]) == 1
    planes = statuses(one.data_dir)
    assert [plane.name for plane in planes] == list(PLANES)
    assert {plane.state for plane in planes} == {"running"}
    assert all(plane.address for plane in planes if plane.name not in ("corona", "nebula"))
    births = [read_record(one.data_dir).planes[n].process.born_ticks for n in range(6)]
    assert births == sorted(births)
    one.end()
    assert one.process.returncode == 0
    assert all(is_gone(plane.pid) for plane in planes)
    assert (one.data_dir / "ended").read_text().split() == list(reversed(PLANES))
    assert statuses(one.data_dir) == []


def test_a_killed_plane_is_started_again_and_no_other(start):
    one = start()
    one.word()
    before = one.pids()
    os.kill(before["comet"], signal.SIGKILL)
    until(lambda: one.pids().get("comet") not in (None, before["comet"]))
    until(lambda: {plane.state for plane in statuses(one.data_dir)} == {"running"})
    after = one.pids()
    assert {name for name in PLANES if after[name] != before[name]} == {"comet"}
    assert "ended with SIGKILL" in (one.data_dir / "logs" / "comet.log").read_text()
    # again and again: never given up, only slower
    for _ in range(2):
        pid = one.pids()["comet"]
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: one.pids().get("comet") not in (None, pid))


def test_a_plane_that_can_not_start_is_named_with_its_last_words(start):
    one = start("corona=broken")
    assert one.process.wait(timeout=100) != 0
    said = one.process.stderr.read()
    assert "corona ended with status 7 before it was ready" in said
    assert "can not find its spanner" in said
    assert statuses(one.data_dir) == []
    ended = (one.data_dir / "ended").read_text().split()
    assert ended[-2:] == ["comet", "nova"]


def test_a_plane_that_is_never_ready_is_not_waited_for_for_ever(start):
    one = start("zenith=deaf")
    assert one.process.wait(timeout=100) != 0
    assert "zenith was not ready within 1 s" in one.process.stderr.read()


def test_a_plane_that_ignores_its_end_is_killed(start):
    one = start("aurora=stubborn")
    one.word()
    pid = one.pids()["aurora"]
    one.end()
    assert is_gone(pid)
    assert "aurora" not in (one.data_dir / "ended").read_text().split()


def test_a_second_up_finds_the_first(start):
    one = start()
    first = one.word()
    other = start()
    second = other.word()
    assert second["was_running"]
    assert second["urls"] == first["urls"]
    assert other.process.wait(timeout=100) == 0
    assert {plane.state for plane in statuses(one.data_dir)} == {"running"}


def test_two_that_start_at_once_make_one_platform(start):
    one, other = start(), start()
    words = [one.word(), other.word()]
    assert sorted(word["was_running"] for word in words) == [False, True]
    assert words[0]["urls"] == words[1]["urls"]


def test_what_a_killed_supervisor_leaves_is_cleared_by_the_next(start):
    one = start("nebula=stubborn")
    one.word()
    before = one.pids()
    one.process.kill()
    one.process.wait(timeout=100)
    # the kernel tells the planes; one that does not listen is still there when the next platform starts
    until(lambda: all(is_gone(pid) for name, pid in before.items() if name != "nebula"))
    assert not is_gone(before["nebula"])
    two = start()
    two.word()
    assert is_gone(before["nebula"])
    assert set(two.pids().values()).isdisjoint(before.values())


def test_down_works_when_the_supervisor_is_dead(start):
    one = start("nova=stubborn")
    one.word()
    before = one.pids()
    one.process.kill()
    one.process.wait(timeout=100)
    assert anyio.run(stop_platform, one.data_dir)
    assert all(is_gone(pid) for pid in before.values())
    assert not anyio.run(stop_platform, one.data_dir)


def test_down_stops_just_one_of_two(start):
    one, other = start(name="one"), start(name="other")
    first, second = one.word(), other.word()
    assert first["urls"] != second["urls"]
    taken = [{plane.address for plane in statuses(each.data_dir) if plane.address} for each in (one, other)]
    assert taken[0].isdisjoint(taken[1])
    gone = one.pids()
    assert anyio.run(stop_platform, one.data_dir)
    assert all(is_gone(pid) for pid in gone.values())
    assert {plane.state for plane in statuses(other.data_dir)} == {"running"}


def test_a_reused_pid_is_not_taken_for_a_plane(start, tmp_path):
    one = start()
    one.word()
    path = one.data_dir / "run" / "platform.json"
    record = json.loads(path.read_text())
    one.end()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        for process in [record["supervisor"], *(plane["process"] for plane in record["planes"])]:
            process["pid"] = bystander.pid
        path.write_text(json.dumps(record))
        anyio.run(stop_platform, one.data_dir)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_keys_are_shown_once_and_kept_in_no_file(start):
    one = start()
    key = one.word()["key"]
    assert key == "sk_" + "A" * 40
    log = one.data_dir / "logs" / "nova.log"
    assert "sk_[hidden]" in log.read_text()
    for file in one.data_dir.rglob("*"):
        if file.is_file():
            assert key not in file.read_text(errors="replace"), file
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(one.data_dir.stat().st_mode) == 0o700
