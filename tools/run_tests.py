"""Run every test, in two runs of pytest at the same time: most wait, one after the other, and one run leaves a core idle.

Platforms, planes and attempts to escape are in one; each backend and language, and what only computes, in the other. Each
has a database server and data directories of its own. The last line adds both up, in the words of pytest's own.
usage: tools/run_tests.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

# Chosen so that both take about as long.
APART = (
    "tests/arch",
    "tests/contract",
    "tests/integration/base",
    "tests/integration/nova",
    "tests/integration/postgres",
    "tests/integration/rpc",
    "tests/integration/zenith",
    "tests/migration",
    "tests/property",
    "tests/runtimes",
    "tests/simulation",
    "tests/unit",
)
_PYTEST = (sys.executable, "-m", "pytest", "-q")
_TAIL_BYTES = 4096
_COUNT = re.compile(rb"(\d+) (passed|failed|skipped|error)")


def main() -> int:
    return run([*_PYTEST, *APART], [*_PYTEST, "tests", *(f"--ignore={path}" for path in APART)])


def run(beside: Sequence[str], rest: Sequence[str]) -> int:
    """Run both and return the status of one that failed; what `beside` says is shown when the rest is over."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        second = subprocess.Popen(beside, stdout=said, stderr=subprocess.STDOUT)
        first = subprocess.Popen(rest, stdout=subprocess.PIPE)
        first_tail = _shown(first)
        statuses = (first.wait(), second.wait())
        said.seek(0)
        text = said.read()
    _write(b"\n== beside them\n" + text)
    counts = _counts(first_tail) + _counts(text)
    failed = counts["failed"] + counts["error"] or sum(map(bool, statuses))  # one that was ended has no closing line
    told = {"failed": failed, "passed": counts["passed"], "skipped": counts["skipped"]}
    words = ", ".join(f"{count} {what}" for what, count in told.items() if count)
    _write(f"{words} in {time.monotonic() - began:.2f}s\n".encode())
    return next((status for status in statuses if status), 0)


def _shown(run: subprocess.Popen[bytes]) -> bytes:
    """Pass on what it says as it comes, and return the last of it."""
    assert run.stdout is not None
    tail = b""
    while piece := run.stdout.read1(_TAIL_BYTES):
        _write(piece)
        tail = (tail + piece)[-_TAIL_BYTES:]
    return tail


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _counts(text: bytes) -> Counter[str]:
    """Return what pytest's closing line counts."""
    last = text.rstrip().rpartition(b"\n")[2]
    return Counter({what.decode(): int(count) for count, what in _COUNT.findall(last)})


if __name__ == "__main__":
    sys.exit(main())
