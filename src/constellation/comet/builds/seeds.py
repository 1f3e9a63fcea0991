"""What a toolchain makes once for all builds on this host: a compiled standard library, say.

Each is a directory that appears whole or not at all and stays over restarts; another version of the tools has another.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import anyio
import anyio.to_thread


class Seeds:
    """Makes each when it is first asked for; whoever asks meanwhile waits."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks: dict[str, anyio.Lock] = {}

    def keep(self, keys: Collection[str]) -> None:
        """Remove the others: of tools that this host had before. Blocks."""
        for path in self._root.iterdir() if self._root.is_dir() else ():
            if path.name not in keys:
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
                await anyio.to_thread.run_sync(partial.rename, path)
            except BaseException:
                with anyio.CancelScope(shield=True):  # bounded by the size of a build's output
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(partial, ignore_errors=True))
                raise
        return path


def _empty(root: Path, key: str) -> Path:
    """Make an empty directory for it, and remove what a killed run has left of the same."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in root.glob(f".{key}.*"):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=root))
    made.chmod(0o755)  # read in sandboxes, by other users
    return made
