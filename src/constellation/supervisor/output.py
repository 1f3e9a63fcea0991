"""What planes print: kept in bounded files without secrets, shown with a prefix, read back in order of time."""

from __future__ import annotations

import heapq
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from constellation.base.statedir import make_private

FILE_BYTES = 8 << 20  # chosen: a day of an ordinary platform
KEPT_FILES = 3  # besides the one being written
LAST_WORDS = 12  # lines shown when a plane does not start
LINE_BYTES = 16 << 10
_KEY = re.compile(rb"\b(s[ks])_[A-Za-z0-9]{16,}\b")
_TIME = re.compile(r"(?:\x1b\[[0-9;]*m)*(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*)")
_WIDTH = 7


class PlaneLog:
    """Splits a plane's output into lines for its file and, in the foreground, the terminal. Blocks: files are local."""

    def __init__(self, path: Path, *, plane: str, show: Callable[[bytes], None] | None) -> None:
        make_private(path.parent)
        self.path = path
        self._prefix = f"{plane:<{_WIDTH}}| ".encode()
        self._show = show
        self._rest = b""
        self._file = _append_to(path)
        self.last: deque[str] = deque(maxlen=LAST_WORDS)
        self.lost_lines = 0
        self.key: str | None = None  # a key that was printed: it is in no file

    def write(self, chunk: bytes) -> None:
        """Take what was printed."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        while len(self._rest) > LINE_BYTES:
            lines.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        if lines:
            self._keep(lines)

    def flush(self) -> None:
        """Take the last line although it has no end: its process is gone."""
        if self._rest:
            self._keep([self._rest])
            self._rest = b""

    def note(self, text: str) -> None:
        """Write a line of the supervisor's own into the plane's log."""
        self.flush()
        self._keep([f"[supervisor] {text}".encode()])

    def close(self) -> None:
        self.flush()
        os.close(self._file)

    def _keep(self, lines: list[bytes]) -> None:
        if self._show is not None:
            self._show(b"".join(self._prefix + line + b"\n" for line in lines))
        for line in lines:
            found = _KEY.search(line)
            if found is not None and self.key is None:
                self.key = found[0].decode()
            if line.strip():
                self.last.append(_KEY.sub(rb"\1_[hidden]", line).decode(errors="replace"))
        try:
            os.write(self._file, _KEY.sub(rb"\1_[hidden]", b"".join(line + b"\n" for line in lines)))
        except OSError:  # a full disk costs lines of a log, never a plane
            self.lost_lines += len(lines)
        if os.fstat(self._file).st_size > FILE_BYTES:
            os.close(self._file)
            _rotate(self.path)
            self._file = _append_to(self.path)


def show_on_stdout(data: bytes) -> None:
    """Write to the terminal; one that has gone away stops nothing."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except (BrokenPipeError, ValueError):
        return


def merged(paths: Iterable[tuple[str, Path]]) -> Iterator[str]:
    """Yield the kept lines of several planes, prefixed, by the time that they begin with."""
    yield from (
        line for _, line in heapq.merge(*(_timed(plane, path) for plane, path in paths), key=lambda pair: pair[0])
    )


class Follower:
    """Reads what is appended to a plane's log, across rotations."""

    def __init__(self, plane: str, path: Path) -> None:
        self._plane, self._path = plane, path
        self._rest = ""
        self._inode, self._offset = _end_of(path)

    def lines(self) -> list[str]:
        """Return the whole lines that came since the last look."""
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_ino != self._inode or stat.st_size < self._offset:
                    self._inode, self._offset = stat.st_ino, 0
                file.seek(self._offset)
                data = file.read()
                self._offset += len(data)
        except FileNotFoundError:
            return []
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        return [prefixed(self._plane, line) for line in lines]


def prefixed(plane: str, line: str) -> str:
    return f"{plane:<{_WIDTH}}| {line}"


def _timed(plane: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (time, line); a line without a time has that of the line before it."""
    at = ""
    for file in [*(_numbered(path, n) for n in range(KEPT_FILES, 0, -1)), path]:
        try:
            with file.open(errors="replace") as lines:
                for line in lines:
                    found = _TIME.match(line)
                    at = max(at, found[1].replace(" ", "T")) if found else at
                    yield at, prefixed(plane, line.rstrip("\n"))
        except FileNotFoundError:
            continue


def _append_to(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _rotate(path: Path) -> None:
    for number in range(KEPT_FILES - 1, 0, -1):
        if _numbered(path, number).exists():
            _numbered(path, number).replace(_numbered(path, number + 1))
    path.replace(_numbered(path, 1))


def _end_of(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_ino, stat.st_size
