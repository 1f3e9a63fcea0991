"""The worker's care for processes that lost their parent, tried in a process that adopts them as pid 1 would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUNTIME = Path(__file__).parents[3] / "src/constellation/comet/runtimes/python"

ADOPT = """
import ctypes, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from worker_orphans import Orphans, _zombies
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
orphans = Orphans(look_s=0, age_s=0)
orphans.reap()
subprocess.run(['/bin/sh', '-c', 'sleep 0.05 & sleep 0.05 &'], check=True)
own = subprocess.Popen(['/bin/sh', '-c', 'exit 7'])
while len(_zombies()) < 3:
    time.sleep(0.01)
young = Orphans(look_s=0)
young.reap()
print(len(_zombies()), end=' ')
orphans.reap()
print(_zombies() == [own.pid], own.wait(), _zombies())
"""


def test_orphans_are_waited_for_and_a_popen_keeps_its_status():
    done = subprocess.run(
        [sys.executable, "-I", "-c", ADOPT, str(RUNTIME)], stdout=subprocess.PIPE, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["3", "True", "7", "[]"]
