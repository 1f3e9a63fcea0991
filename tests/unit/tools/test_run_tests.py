"""Two runs at a time are told as one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
GOOD = "print('....\\n12 passed, 2 skipped in 3.21s')"
BAD = "print('.F.\\nFAILED a::b - 7 passed\\n1 failed, 4 passed, 2 errors in 3.21s'); sys.exit(1)"
CRASHED = "print('..'); sys.exit(3)"


@pytest.mark.parametrize(
    ("beside", "rest", "status", "told"),
    [
        (GOOD, GOOD, 0, "24 passed, 4 skipped"),
        (GOOD, BAD, 1, "3 failed, 16 passed, 2 skipped"),
        (BAD, GOOD, 1, "3 failed, 16 passed, 2 skipped"),
        (CRASHED, GOOD, 3, "1 failed, 12 passed, 2 skipped"),
    ],
)
def test_the_last_line_and_the_status_are_of_both(beside, rest, status, told):
    runs = ", ".join(f"[sys.executable, '-c', {'import sys; ' + text!r}]" for text in (beside, rest))
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import run_tests; sys.exit(run_tests.run({runs}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    words, _, took = done.stdout.splitlines()[-1].partition(" in ")
    assert (done.returncode, words, took[-1]) == (status, told, "s"), done.stderr


def test_what_runs_beside_the_rest_is_there():
    sys.path.insert(0, str(TOOLS))
    try:
        import run_tests
    finally:
        sys.path.remove(str(TOOLS))
    root = TOOLS.parent
    assert all((root / path).is_dir() for path in run_tests.APART)
