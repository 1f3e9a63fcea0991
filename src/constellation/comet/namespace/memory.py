"""How much memory processes hold, where no control group counts it."""

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


def proportional_bytes(pid: int, *, with_children: bool = True) -> int:
    """Return what a process, and all below it, hold, shared pages counted by share; what is gone holds nothing."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
    if not with_children:
        return own
    return own + sum(proportional_bytes(int(child)) for child in children)
