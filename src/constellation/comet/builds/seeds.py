"""What a toolchain makes once for all builds on this host: a compiled standard library, say.

Each is a directory that appears whole or not at all and stays over restarts; another version of the tools has another.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

_LEFT_S = 3600.0  # chosen: nothing takes that long to make, so whoever made it was killed


class Seeds:
    """Makes each when it is first asked for; whoever asks meanwhile waits."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks: dict[str, anyio.Lock] = {}

    def keep(self, keys: Collection[str]) -> None:
        """Remove the others: of tools that this host had before. Blocks."""
        for path in self._root.iterdir() if self._root.is_dir() else ():
            if _is_left(path) if path.name.startswith(".") else path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)

    async def get(self, key: str, make: Callable[[Path], Awaitable[None]]) -> Path:
        """Return where it is. `make` fills an empty directory; what it raises is raised here, and the next one tries again."""
        path = self._root / key
        async with self._locks.setdefault(key, anyio.Lock()):
            if await anyio.to_thread.run_sync(path.is_dir):
                return path
            partial = await anyio.to_thread.run_sync(_empty, self._root, key)
            try:
                await make(partial)
                await anyio.to_thread.run_sync(_settle, partial, path)
            except BaseException:
                with anyio.CancelScope(shield=True):  # bounded by the size of a build's output
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(partial, ignore_errors=True))
                raise
        return path


def _settle(partial: Path, path: Path) -> None:
    """Put it in its place; where another process was quicker, its own is as good."""
    try:
        partial.rename(path)
    except OSError:
        if not path.is_dir():
            raise
        shutil.rmtree(partial)


def _is_left(partial: Path) -> bool:
    """Whether nobody makes it any more. Of another process it may be gone meanwhile."""
    with suppress(FileNotFoundError):
        return partial.stat().st_mtime < time.time() - _LEFT_S
    return False


def _empty(root: Path, key: str) -> Path:
    """Make an empty directory for it, and remove what a killed run has left of the same."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in root.glob(f".{key}.*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=root))
    made.chmod(0o755)  # read in sandboxes, by other users
    return made
