"""`run/platform.json`: what runs, for everybody who is not the supervisor. And who a pid really is."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from constellation.base.statedir import make_private, write_private


class Process(msgspec.Struct, frozen=True):
    """A process for good: its pid alone may be somebody else's tomorrow."""

    pid: int
    born_ticks: int  # proc(5), stat field 22: clock ticks from boot to its start

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; one that ended and waits to be buried does not."""
        return born_ticks(self.pid) == self.born_ticks


class PlaneRecord(msgspec.Struct, kw_only=True):
    name: str
    state: str  # starting, running, restarting, stopped
    address: str
    process: Process | None


class PlatformRecord(msgspec.Struct, kw_only=True):
    state: str  # starting, running, stopping
    urls: list[str]
    auth: str
    supervisor: Process
    has_embedded_postgres: bool
    planes: list[PlaneRecord]


def born_ticks(pid: int) -> int | None:
    """Return when a live process was born, in clock ticks after boot; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # a Path would be made for each of many looks
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def process_of(pid: int) -> Process | None:
    """Return the identity of a live process."""
    born = born_ticks(pid)
    return None if born is None else Process(pid, born)


def record_path(data_dir: Path) -> Path:
    return data_dir / "run" / "platform.json"


def read_record(data_dir: Path) -> PlatformRecord | None:
    """Return what the last supervisor wrote; None when there was none or it is not understood."""
    try:
        return msgspec.json.decode(record_path(data_dir).read_bytes(), type=PlatformRecord)
    except (OSError, msgspec.DecodeError):
        return None


def write_record(data_dir: Path, record: PlatformRecord) -> None:
    make_private(data_dir / "run")
    write_private(record_path(data_dir), msgspec.json.format(msgspec.json.encode(record)).decode())


def remove_record(data_dir: Path) -> None:
    record_path(data_dir).unlink(missing_ok=True)


def myself() -> Process:
    found = process_of(os.getpid())
    assert found is not None
    return found
