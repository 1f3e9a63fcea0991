"""Resident sizes, where no control group limits memory: looked at now and then, and acted upon."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MAX_PROCESSES = 4096  # chosen: a walk ends even if processes appear faster than they are counted


def resident_bytes(pid: int) -> int:
    """Return the unshared resident size of a process and all below it; what has ended counts nothing."""
    total, seen, found = 0, 0, [pid]
    while found and seen < _MAX_PROCESSES:
        process = found.pop()
        seen += 1
        try:
            fields = Path(f"/proc/{process}/statm").read_text().split()
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
        total += (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
    return total
