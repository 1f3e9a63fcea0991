"""Facts from /proc."""

from __future__ import annotations

import os
import subprocess
import sys

import machine


def test_facts_are_there():
    found = machine.facts()
    assert set(found) == {"cpu", "cores", "memory_mib", "kernel", "python"}
    assert all(found.values())
    assert int(found["cores"]) >= 1


def test_descendants_are_found_and_measured():
    command = "import subprocess, sys; subprocess.run(['cat']); "
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        found: list[int] = []
        while len(found) < 2:
            found = list(machine.descendants(child.pid))
        assert found[0] == child.pid
        assert found[1] in list(machine.descendants(os.getpid()))
        assert machine.pss_bytes(child.pid)["pss"] > 0
        child.stdin.close()


def test_process_that_is_gone_counts_nothing():
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert machine.pss_bytes(child.pid) == {"pss": 0, "private": 0}
    assert machine.cpu_s(child.pid) == 0.0
    assert machine.name_of(child.pid) == "?"
