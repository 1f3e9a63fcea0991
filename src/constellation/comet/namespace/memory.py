"""Resident sizes, where no control group limits memory: looked at now and then, and acted upon."""

from __future__ import annotations

import re
from pathlib import Path

_RESIDENT = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)
_MAX_PROCESSES = 4096  # chosen: a walk ends even if processes appear faster than they are counted


def resident_bytes(pid: int) -> int:
    """Return the resident size of a process and all below it, files aside; what has ended counts nothing.

    Memory that they share counts for each of them: shared anonymous memory must not be a way to have it for nothing.
    """
    total, seen, found = 0, 0, [pid]
    while found and seen < _MAX_PROCESSES:
        process = found.pop()
        seen += 1
        try:
            status = Path(f"/proc/{process}/status").read_text()
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
        total += sum(int(kib) << 10 for kib in _RESIDENT.findall(status))
    return total
