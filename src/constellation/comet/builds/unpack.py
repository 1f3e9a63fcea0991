"""The tree that a build has made, as it comes out of its sandbox (native/tools/build_main.c) and onto the host's disk.

Whoever sends it is hostile. It can name directories and files and nothing else; a path is made of plain names, so nothing
lies outside; a name comes once, so nothing is written through what was sent before; numbers and sizes are bounded.
"""

from __future__ import annotations

import struct
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from constellation.base.files import new_file

_HEAD = struct.Struct(">cBHQ")
_PATH_BYTES = 1024
_DEPTH = 64
_NAME_BYTES = 255


class Kind(Enum):
    DIRECTORY = b"d"
    FILE = b"f"
    PROGRAM = b"x"
    END = b"e"


class TreeRefused(Exception):
    """What came is not a tree, or is too much."""


class TreeWriter:
    """Writes a tree below an empty directory as its bytes come. Blocks on the disk; use it in threads, one at a time."""

    def __init__(self, root: Path, *, most_bytes: int, most_entries: int) -> None:
        self._root = root
        self._left_bytes, self._left_entries = most_bytes, most_entries
        self._held = bytearray()  # a head that has not wholly come
        self._file: BinaryIO | None = None
        self._file_left = 0
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TreeRefused: they are wrong, or too many.
            OSError: the disk.
        """
        view = memoryview(data)
        while view:
            if self.is_complete:
                raise TreeRefused("bytes after its end")
            view = self._write(view) if self._file is not None else self._head(view)

    def close(self) -> None:
        """Let go of the file in hand; safe to call again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, view: memoryview) -> memoryview:
        assert self._file is not None
        piece = view[: self._file_left]
        self._file.write(piece)
        self._file_left -= len(piece)
        if not self._file_left:
            self.close()
        return view[len(piece) :]

    def _head(self, view: memoryview) -> memoryview:
        """Take what is missing of a head, and act on it once it is whole."""
        needed = _HEAD.size
        if len(self._held) >= needed:
            needed += self._path_len()
        taken = view[: needed - len(self._held)]
        self._held += taken
        if len(self._held) >= _HEAD.size and len(self._held) == _HEAD.size + self._path_len():
            kind, _, _, size = _HEAD.unpack_from(self._held)
            path = bytes(self._held[_HEAD.size :])
            self._held.clear()
            self._begin(kind, path, size)
        return view[len(taken) :]

    def _path_len(self) -> int:
        length: int = _HEAD.unpack_from(self._held)[2]
        if length > _PATH_BYTES:
            raise TreeRefused("a path that is too long")
        return length

    def _begin(self, letter: bytes, raw: bytes, size: int) -> None:
        try:
            kind = Kind(letter)
        except ValueError:
            raise TreeRefused("an unknown kind of entry") from None
        if kind is Kind.END:
            self.is_complete = True
            return
        path = self._checked(raw)
        self._left_entries -= 1
        self._left_bytes -= size
        if self._left_entries < 0:
            raise TreeRefused("too many files")
        if self._left_bytes < 0:
            raise TreeRefused("too many bytes")
        target = self._root / path
        try:
            if kind is Kind.DIRECTORY:
                target.mkdir()
                target.chmod(0o755)  # whatever the umask is
                return
            self._file = new_file(target, mode=0o755 if kind is Kind.PROGRAM else 0o644)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise TreeRefused(f"an entry out of place: {path[:200]!r}") from error
        self._file_left = size
        if not size:
            self.close()

    @staticmethod
    def _checked(raw: bytes) -> str:
        names = raw.split(b"/")
        if len(names) > _DEPTH or b"\0" in raw:
            raise TreeRefused("a malformed path")
        if any(name in (b"", b".", b"..") or len(name) > _NAME_BYTES for name in names):
            raise TreeRefused("a malformed path")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise TreeRefused("a path that is not UTF-8") from None
