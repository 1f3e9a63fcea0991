"""What comet and its keeper of sandboxes say to each other: one line of JSON each way, a connection a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

QUESTION_BYTES = 256 << 10


SOCKETS = "s"  # below the keeper's directory


def socket_of(run_dir: Path, sandbox_id: str) -> Path:
    """Return where the agent of a sandbox accepts connections."""
    return run_dir / SOCKETS / f"{sandbox_id}.sock"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox as comet wants it; paths are the host's."""

    id: str
    tenant: str
    memory_mb: int
    cpu_millis: int
    processes: int
    disk_mb: int
    agent_argv: list[str]
    binds: list[tuple[str, str]]  # source, target
    prefixes: list[str]
    links: list[tuple[str, str]]  # text, target


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that lives."""

    id: str
    is_paused: bool


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One that ended by itself, told until it is asked to be removed."""

    id: str
    reason: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    op: str  # create, list, pause, resume, remove, copy
    id: str = ""
    source: str = ""  # of copy
    wanted: Wanted | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    error: str = ""  # "" when it is done
    code: str = ""
    kept: list[Kept] = []
    ended: list[Ended] = []


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"
