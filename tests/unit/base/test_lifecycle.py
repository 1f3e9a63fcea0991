"""What a plane asks of the kernel for itself: a process that holds secrets does not show its memory."""

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


FILES = """
import resource
from constellation.base.lifecycle import open_many_files
resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
open_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_plane_may_open_what_its_host_allows():
    code = FILES.replace("SOFT", "256").replace("HARD", "3000")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "(3000, 3000)\n"
