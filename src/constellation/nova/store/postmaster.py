"""What the process table says about the server of one data directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What `postmaster.pid` says."""

    pid: int
    is_ready: bool  # it lets clients in


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Return what the server wrote about itself; None when there is no file, or one that is just being written."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdecimal():
        return None
    return PidFile(pid=int(lines[0]), is_ready=len(lines) >= 8 and lines[7].strip() == "ready")


def works_in(pid: int, data_dir: Path) -> bool:
    """Tell whether a process is a server or session of this data directory.

    Every process of PostgreSQL stands in its data directory, whatever path its mount namespace has for it; a number
    that was given to another process since, or a zombie, does not.
    """
    try:
        place, own = Path(f"/proc/{pid}/cwd").stat(), data_dir.stat()
        program = Path(f"/proc/{pid}/exe").readlink()
    except OSError:  # gone, or somebody else's
        return False
    return (place.st_dev, place.st_ino) == (own.st_dev, own.st_ino) and program.name.startswith("postgres")


def running(data_dir: Path) -> PidFile | None:
    """Return the live server of a data directory."""
    said = read_pid_file(data_dir)
    return said if said is not None and works_in(said.pid, data_dir) else None


def leftovers(data_dir: Path) -> tuple[int, ...]:
    """Return the processes that still work in a data directory; after the server's death, its orphaned sessions."""
    if not data_dir.exists():
        return ()
    numbers = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal())
    return tuple(pid for pid in numbers if works_in(pid, data_dir))


def forget(data_dir: Path, socket_dir: Path) -> None:
    """Remove the lock files of a server that is known to be dead.

    PostgreSQL would remove them itself, unless their number meanwhile belongs to another process of the same user.
    """
    (data_dir / "postmaster.pid").unlink(missing_ok=True)
    for lock in socket_dir.glob(".s.PGSQL.*"):
        lock.unlink(missing_ok=True)
