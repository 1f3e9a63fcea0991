"""What a comet that was killed left behind, found at the next start and ended."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from constellation.comet.network.forwarding import RECORD, shut_host
from constellation.comet.network.places import Names
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


def reap(run_dir: Path, cgroups: CgroupSupport | None) -> Reaped:
    """End every process of an earlier run and remove its control groups and files. Blocks: call it in a thread.

    Fork servers and the network helper die with their comet by themselves; those that did not are killed by pid and start time, and their
    sandboxes, or the wires of those, die with them. Processes in our control groups are killed whoever their parent is.
    """
    records = [_recorded(path) for path in run_dir.glob("*.json")]
    killed = [record for record in records if _kill(*record)]
    groups = 0
    if cgroups is not None:
        for name in _leaf_names(cgroups):
            groups += _end_leaf(Leaf(cgroups, name))
    for pid, start in killed:
        _wait(partial(_is_gone, pid, start))
    shut_host(run_dir / RECORD, uplink=Names.of(run_dir).uplink)
    for path in run_dir.iterdir():
        if path.is_file() or path.is_socket():
            path.unlink(missing_ok=True)
    reaped = Reaped(processes=len(killed), groups=groups)
    if reaped != Reaped(processes=0, groups=0):
        _log.warning("leftovers.reaped", zygotes=reaped.processes, groups=reaped.groups)
    return reaped


def _leaf_names(cgroups: CgroupSupport) -> set[str]:
    names: set[str] = set()
    for directory in cgroups.dirs:
        names |= {entry.name for entry in Path(directory).glob("s[0-9]*") if entry.is_dir()}
    return names


def _end_leaf(leaf: Leaf) -> bool:
    def is_removed() -> bool:
        leaf.kill()
        return leaf.remove()

    if _wait(is_removed):
        return True
    _log.error("leftovers.stuck", group=leaf.name)
    return False


def _recorded(path: Path) -> tuple[int, str]:
    try:
        data = json.loads(path.read_text())
        return int(data["pid"]), str(data["start"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""


def _kill(pid: int, start: str) -> bool:
    if not start or process_start(pid) != start:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_gone(pid: int, start: str) -> bool:
    return process_start(pid) != start


def _wait(is_done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _GRACE_S
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
