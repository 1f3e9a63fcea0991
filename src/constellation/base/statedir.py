"""The state directory: where planes of one platform meet (architecture section 1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import anyio

from constellation.base.errors import ConstellationError

_POLL_S = 0.05  # chosen: a start waits for nova once; nothing else polls here


class StateFileMissing(ConstellationError):
    """A file that nova writes did not appear in time."""

    code, http_status, retryable = "state_file_missing", 503, True

    def __init__(self, path: Path, *, waited_s: float) -> None:
        super().__init__(f"{path} did not appear within {waited_s:g} s; is nova running with this state directory?")
        self.path = path


def default_state_dir(env: Mapping[str, str], *, uid: int) -> Path:
    """Return where a platform of this user keeps its state when nothing else is configured."""
    if uid == 0:
        return Path("/var/lib/constellation")
    home = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME", "/nonexistent")) / ".local/state")
    return Path(home) / "constellation"


def make_private(path: Path) -> Path:
    """Create a directory with mode 0700 (and its parents); tighten it when it exists with a wider one."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a secret whole or not at all, mode 0600, durable before it has its name."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


async def read_when_there(path: Path, *, wait_s: float = 30.0) -> str:
    """Return the stripped text of a file that another plane writes.

    Raises:
        StateFileMissing: it did not appear within `wait_s` seconds.
    """
    with anyio.move_on_after(wait_s):
        while True:
            try:
                text = (await anyio.Path(path).read_text()).strip()
            except FileNotFoundError:
                text = ""
            if text:
                return text
            await anyio.sleep(_POLL_S)
    raise StateFileMissing(path, waited_s=wait_s)
