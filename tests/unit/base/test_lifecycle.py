"""A process that holds secrets does not show its memory."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import ctypes, resource
from constellation.base.lifecycle import hide_memory
hide_memory()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_a_hidden_process_can_not_be_dumped():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split("\n")[0] == "(0, 0) 0"
