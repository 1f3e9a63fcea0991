"""The short form of `make leaks`: instances made and ended, comet killed in between, nothing left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "leaks.py"


@pytest.mark.slow
@pytest.mark.timeout(320)  # half a minute when nothing else runs; the kills wait for a comet each
@pytest.mark.sandbox
def test_instances_and_kills_leave_nothing_behind():
    done = subprocess.run(
        [sys.executable, BENCH, "--cycles", "150", "--kills", "5", "--verbose"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
