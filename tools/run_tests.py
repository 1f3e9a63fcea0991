"""Run every test, in two runs of pytest at the same time: what only computes needs no core that others leave alone.

The tests of sandboxes, planes and whole platforms mostly wait, one after the other; what does nothing but compute runs
beside them on the second core. The last line adds both up, as `N passed, N failed, N skipped`.
usage: tools/run_tests.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter

# No sandbox, no database, no socket but loopback's: nothing here can tell whether the machine is busy.
APART = ("tests/arch", "tests/property", "tests/simulation", "tests/unit")
_PYTEST = (sys.executable, "-m", "pytest", "-q")
_TAIL_BYTES = 4096
_COUNT = re.compile(rb"(\d+) (passed|failed|skipped|error)")


def main() -> int:
    with tempfile.TemporaryFile() as said:
        apart = subprocess.Popen([*_PYTEST, *APART], stdout=said, stderr=subprocess.STDOUT)
        rest = subprocess.Popen([*_PYTEST, "tests", *(f"--ignore={path}" for path in APART)], stdout=subprocess.PIPE)
        rest_tail = _shown(rest)
        statuses = (rest.wait(), apart.wait())
        said.seek(0)
        text = said.read()
    print(f"\n== beside them: {' '.join(APART)}", flush=True)
    _write(text)
    counts = _counts(rest_tail) + _counts(text)
    print(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed, {counts['skipped']} skipped")
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
