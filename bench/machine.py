"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path


def facts() -> dict[str, str]:
    """Return CPU, cores, memory, kernel and Python of this machine."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_mib": str(int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def print_facts() -> None:
    for name, value in facts().items():
        print(f"# {name}: {value}")


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and everything below it, as /proc shows it at this instant."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent(entry)
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += children.get(found, [])


def _parent(process: Path) -> int | None:
    try:
        stat = (process / "stat").read_text()
    except OSError:  # it ended between the listing and now
        return None
    return int(stat.rpartition(")")[2].split()[1])


def pss_bytes(pid: int) -> dict[str, int]:
    """Return `pss` (shared pages divided by their users) and `private` bytes; zeros for a process that is gone."""
    found = {"pss": 0, "private": 0}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "Pss":
            found["pss"] = int(rest.split()[0]) * 1024
        elif name in ("Private_Clean", "Private_Dirty"):
            found["private"] += int(rest.split()[0]) * 1024
    return found


def sandbox_of(pid: int) -> str | None:
    """Return the pid namespace of a process that has another than ours, which is how an instance is known."""
    try:
        namespace = Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return None
    return None if namespace == Path("/proc/self/ns/pid").readlink() else str(namespace)


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def name_of(pid: int) -> str:
    """Return a process's name as `ps` shows it."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
