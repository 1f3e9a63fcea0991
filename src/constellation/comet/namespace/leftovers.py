"""What a comet that was killed left behind, found at the next start and ended."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog

from constellation.native.cgroups import CgroupSupport, Leaf

_log = structlog.get_logger()
_GRACE_S = 5.0  # chosen: SIGKILL takes effect within milliseconds unless a process hangs in the kernel
_POLL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    processes: int
    groups: int


def process_start(pid: int) -> str:
    """Return what tells this process from a later one with its pid: field 22 of /proc/<pid>/stat; "" when gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


async def reap(run_dir: Path, cgroups: CgroupSupport | None) -> Reaped:
    """End every process of an earlier run and remove its control groups and files.

    Fork servers die with their comet by themselves; those that did not are killed by pid and start time, and their
    sandboxes die with them. Processes in our control groups are killed whoever their parent is.
    """
    zygotes = [record for record in run_dir.glob("*.json") if _kill_recorded(record)]
    groups = 0
    if cgroups is not None:
        for name in _leaf_names(cgroups):
            groups += await _end_leaf(Leaf(cgroups, name))
    for record in zygotes:
        await _until_gone(record)
    for path in run_dir.iterdir():
        if path.is_file() or path.is_socket():
            path.unlink(missing_ok=True)
    reaped = Reaped(processes=len(zygotes), groups=groups)
    if reaped != Reaped(processes=0, groups=0):
        _log.warning("leftovers.reaped", zygotes=reaped.processes, groups=reaped.groups)
    return reaped


def _leaf_names(cgroups: CgroupSupport) -> set[str]:
    names: set[str] = set()
    for directory in cgroups.dirs:
        names |= {entry.name for entry in Path(directory).glob("s[0-9]*") if entry.is_dir()}
    return names


async def _end_leaf(leaf: Leaf) -> bool:
    with anyio.move_on_after(_GRACE_S):
        while True:
            leaf.kill()
            if leaf.remove():
                return True
            await anyio.sleep(_POLL_S)
    _log.error("leftovers.stuck", group=leaf.name)
    return False


def _recorded(record: Path) -> tuple[int, str]:
    try:
        data = json.loads(record.read_text())
        return int(data["pid"]), str(data["start"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""


def _kill_recorded(record: Path) -> bool:
    pid, start = _recorded(record)
    if not start or process_start(pid) != start:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


async def _until_gone(record: Path) -> None:
    pid, start = _recorded(record)
    with anyio.move_on_after(_GRACE_S):
        while process_start(pid) == start:
            await anyio.sleep(_POLL_S)
