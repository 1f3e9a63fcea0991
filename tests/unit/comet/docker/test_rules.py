"""What follows from the daemon's answers."""

from __future__ import annotations

import msgspec
import pytest

from constellation.comet.docker.engine import Info, State, Usage
from constellation.comet.docker.instance import cause_of
from constellation.comet.docker.probe import is_remapped, lacks, limits_of

GOOD = {"ServerVersion": "20.10", "OSType": "linux", "SecurityOptions": ["name=seccomp,profile=default"]}


def info(**facts) -> Info:
    return msgspec.convert(GOOD | facts, Info)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, ""),
        ({"SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin"]}, ""),
        ({"OSType": "windows"}, "of windows, not of Linux"),
        ({"SecurityOptions": None}, "seccomp"),
        ({"SecurityOptions": ["name=apparmor"]}, "seccomp"),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "seccomp"),
    ],
)
def test_a_daemon_that_lacks_what_isolation_needs_is_refused(facts, reason):
    said = lacks(info(**facts))
    assert reason in said
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("facts", "limits"),
    [
        ({}, {"memory": "none", "cpu": "none", "pids": "none", "sockets": "none"}),
        (
            {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True, "CgroupVersion": "2"},
            dict.fromkeys(("memory", "cpu", "pids", "sockets"), "cgroup v2"),
        ),
        (
            {"MemoryLimit": True, "PidsLimit": True, "CgroupVersion": "1"},
            {"memory": "cgroup v1", "cpu": "none", "pids": "cgroup v1", "sockets": "none"},
        ),
    ],
)
def test_a_limit_that_the_daemon_can_not_hold_is_said(facts, limits):
    assert limits_of(info(**facts)) == limits


def test_users_of_a_remapping_daemon_are_others():
    assert not is_remapped(info())
    for name in ("name=userns", "name=rootless"):
        assert is_remapped(info(SecurityOptions=[name]))


@pytest.mark.parametrize(
    ("code", "is_out_of_memory", "words", "cause"),
    [
        (0, False, b"", "exit status 0"),
        (3, True, b"", "exit status 3"),  # a child of it was killed earlier
        (128, False, b"", "exit status 128"),
        (139, False, b"", "signal 11"),
        (137, False, b"", "signal 9"),
        (137, True, b"", "out of memory"),
        (139, True, b"", "signal 11"),
        (134, False, b"FATAL: heap out of memory", "out of memory"),
        (255, False, b"", "exit status 255"),
    ],
)
def test_why_a_container_ended(code, is_out_of_memory, words, cause):
    state = State(exit_code=code, is_out_of_memory=is_out_of_memory)
    assert cause_of(state, words, (b"heap out of memory",)) == cause


@pytest.mark.parametrize(
    ("stats", "memory_bytes"),
    [
        ({}, None),
        ({"memory_stats": {"usage": 100, "stats": {"inactive_file": 30}}}, 70),
        ({"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 30}}}, 60),
        ({"memory_stats": {"usage": 10, "stats": {"inactive_file": 30}}}, 0),
    ],
)
def test_pages_of_files_are_not_a_containers_memory(stats, memory_bytes):
    assert msgspec.convert(stats, Usage).memory_bytes == memory_bytes
