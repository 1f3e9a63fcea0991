"""Directories of a sandbox that stands still, copied into another through the agent there. Blocks.

Nothing in the source runs meanwhile, so what is looked at is what is read. No link is followed.
"""

from __future__ import annotations

import os
import socket
import stat
import tarfile
from collections.abc import Mapping, Sequence
from io import RawIOBase
from pathlib import Path
from typing import IO, cast

import msgspec

from constellation.base.sockets import reachable
from constellation.comet.sandboxes.frames import CONTROL, DATA, END, ERROR, FRAME_BYTES, HEAD, framed

_ENTRIES = 300_000
_DEPTH = 200  # chosen: deeper than any tree that is not made to break something


class CopyFailed(Exception):
    """It was not copied whole."""


class _Frames(RawIOBase):
    """Sends what is written as data frames."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(cast("bytes", data))
        for at in range(0, len(view), FRAME_BYTES):
            self._connection.sendall(framed(DATA, bytes(view[at : at + FRAME_BYTES])))
        return len(view)


def copy(sources: Mapping[str, int], to: Path, *, argv: Sequence[str], most_bytes: int, within_s: float) -> None:
    """Copy directories, each open, to where they are in the sandbox whose socket is `to`.

    Raises:
        CopyFailed
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(within_s)
        try:
            with reachable(to) as near:
                connection.connect(near)
            request = {"op": "exec", "argv": [*argv, "unpack", "/"], "env": {}, "timeout_s": within_s}
            connection.sendall(framed(HEAD, msgspec.json.encode(request)))
            _expect_head(connection)
            with tarfile.open(
                fileobj=cast("IO[bytes]", _Frames(connection)), mode="w|", bufsize=FRAME_BYTES
            ) as archive:
                walk = _Walk(archive, most_bytes)
                for place, fd in sources.items():
                    walk.add(fd, place.lstrip("/"), depth=0)
            connection.sendall(framed(END, b""))
            _expect_exit(connection)
        except (OSError, tarfile.TarError, msgspec.MsgspecError) as error:
            raise CopyFailed(str(error) or type(error).__name__) from error


class _Walk:
    def __init__(self, archive: tarfile.TarFile, most_bytes: int) -> None:
        self._archive, self._left_bytes, self._left_entries = archive, most_bytes, _ENTRIES
        self._seen: dict[tuple[int, int], str] = {}  # files with several names

    def add(self, dir_fd: int, path: str, *, depth: int) -> None:
        if depth > _DEPTH:
            raise CopyFailed(f"directories are nested more than {_DEPTH} deep")
        for name in sorted(os.listdir(dir_fd)):
            self._left_entries -= 1
            if self._left_entries < 0:
                raise CopyFailed(f"it has more than {_ENTRIES} files")
            found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            self._add_one(dir_fd, name, f"{path}/{name}", found, depth=depth)

    def _add_one(self, dir_fd: int, name: str, path: str, found: os.stat_result, *, depth: int) -> None:
        entry = tarfile.TarInfo(path)
        entry.mode, entry.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
        if stat.S_ISLNK(found.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=dir_fd)
            self._archive.addfile(entry)
        elif stat.S_ISDIR(found.st_mode):
            entry.type = tarfile.DIRTYPE
            self._archive.addfile(entry)
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                self.add(fd, path, depth=depth + 1)
            finally:
                os.close(fd)
        elif stat.S_ISREG(found.st_mode):
            self._add_file(dir_fd, name, entry, found)
        # sockets and pipes belong to processes, which are not copied

    def _add_file(self, dir_fd: int, name: str, entry: tarfile.TarInfo, found: os.stat_result) -> None:
        key = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and key in self._seen:
            entry.type, entry.linkname = tarfile.LNKTYPE, self._seen[key]
            self._archive.addfile(entry)
            return
        self._left_bytes -= found.st_size
        if self._left_bytes < 0:
            raise CopyFailed("its files are longer than its disk: one has holes, and those are not copied")
        entry.size = found.st_size
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        with os.fdopen(fd, "rb") as file:
            self._archive.addfile(entry, file)
        self._seen[key] = entry.name


def _frame(connection: socket.socket) -> tuple[int, bytes]:
    head = _exactly(connection, 5)
    length = int.from_bytes(head[:4], "big")
    if length > FRAME_BYTES:
        raise CopyFailed("the agent does not speak our language")
    return head[4], _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise CopyFailed("the new sandbox ended")
        data += piece
    return data


def _expect_head(connection: socket.socket) -> None:
    kind, body = _frame(connection)
    if kind != HEAD or "code" in msgspec.json.decode(body, type=dict[str, object]):
        raise CopyFailed(f"the new sandbox refuses: {body[:300]!r}")


def _expect_exit(connection: socket.socket) -> None:
    said = b""
    for _ in range(1000):
        kind, body = _frame(connection)
        if kind == ERROR:
            said = (said + body)[-500:]
        elif kind == CONTROL:
            if msgspec.json.decode(body, type=dict[str, object]).get("exit_code") != 0:
                raise CopyFailed(said.decode("utf-8", "replace").strip() or "it was not taken whole")
            return
    raise CopyFailed("the agent does not come to an end")
