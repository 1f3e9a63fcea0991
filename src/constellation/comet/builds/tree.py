"""A built tree as one packed file, and back. Neither what a build left nor what is stored is trusted.

The pack is a tar of the tree in the order of its names, without times, owners or anything else of the host, compressed
by gzip at its fastest. Its hash is that of the tar, so equal trees meet whatever the compressor's version is.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any

from constellation.base.files import new_file
from constellation.comet.builds.contract import BuildFailed

MAX_PACKED_BYTES = 256 << 20
MAX_TREE_BYTES = 1 << 30
MAX_ENTRIES = 200_000  # chosen: a large node_modules has some 50,000
MAX_NAME_BYTES = 4000  # of a path in the tree; below PATH_MAX with the directory in front of it
_LEVEL = 1  # chosen: 100 MiB/s; the database compresses nothing more
_PIECE_BYTES = 256 << 10
_NO_TREE = "the built tree"


class TreeRefused(Exception):
    """A packed tree that is damaged, or would leave its directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A packed tree in a file."""

    path: Path
    hash: str
    size_bytes: int


class _Hashing:
    """A file that takes the hash of all that goes through it."""

    def __init__(self, file: IO[bytes], *, limit_bytes: int) -> None:
        self._file, self._limit_bytes = file, limit_bytes
        self._digest, self._size_bytes = sha256(), 0

    def write(self, data: bytes) -> int:
        self._count(data)
        return self._file.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, _PIECE_BYTES) if size >= 0 else _PIECE_BYTES)
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self._size_bytes += len(data)
        if self._size_bytes > self._limit_bytes:
            raise TreeRefused(f"unpacks to more than {self._limit_bytes} bytes")

    def hash(self) -> str:
        return self._digest.hexdigest()


# The tar's own blocks around a tree of the greatest size.
_TAR_LIMIT_BYTES = MAX_TREE_BYTES + MAX_ENTRIES * (2 * tarfile.BLOCKSIZE + 2 * MAX_NAME_BYTES)


def pack(tree: Path, into: Path) -> Packed:
    """Pack what a build left in a directory that nothing writes to any more. Blocks: call it in a thread.

    Raises:
        BuildFailed: there is nothing, it is too large, or holds what can not be code: a device, a link that leads out.
    """
    entries = sorted(_entries(tree), key=lambda entry: entry.name)
    if not entries:
        raise BuildFailed("the build left nothing behind")
    try:
        with into.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as compressed:
            hashing = _Hashing(compressed, limit_bytes=_TAR_LIMIT_BYTES)  # type: ignore[arg-type]  # it writes bytes
            with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.GNU_FORMAT, bufsize=_PIECE_BYTES) as tar:  # type: ignore[call-overload]  # it needs no more of a file
                for entry in entries:
                    _add(tar, tree, entry)
                    if file.tell() > MAX_PACKED_BYTES:
                        raise BuildFailed(f"the built tree packs to more than {MAX_PACKED_BYTES >> 20} MiB")
    except OSError as error:
        raise BuildFailed(f"{_NO_TREE} can not be read: {error.strerror}") from error
    size_bytes = into.stat().st_size
    if size_bytes > MAX_PACKED_BYTES:
        raise BuildFailed(f"the built tree packs to more than {MAX_PACKED_BYTES >> 20} MiB")
    return Packed(path=into, hash=hashing.hash(), size_bytes=size_bytes)


def unpack(packed: Path, into: Path, *, digest: str) -> int:
    """Make the tree of a packed file in a new directory; return how many bytes its files have. Blocks.

    Directories are 0755 and files 0644 or 0755, whatever the umask is. The caller throws the directory away when this
    raises, and looks at nothing in it before it returns.

    Raises:
        TreeRefused: it is not what its hash says, or holds what `pack` never writes.
    """
    links: list[tuple[Path, str]] = []
    size_bytes, count = 0, 0
    try:
        with gzip.open(packed, "rb") as file:
            hashing = _Hashing(file, limit_bytes=_TAR_LIMIT_BYTES)  # type: ignore[arg-type]  # it reads bytes
            with tarfile.open(fileobj=hashing, mode="r|", bufsize=_PIECE_BYTES) as tar:  # type: ignore[call-overload]  # as above
                for member in tar:
                    count += 1
                    if count > MAX_ENTRIES:
                        raise TreeRefused(f"has more than {MAX_ENTRIES} entries")
                    target = into.joinpath(*_parts(member.name))
                    if member.isdir():
                        _make_directory(target)
                    elif member.issym():
                        links.append((target, member.linkname))
                    elif member.isreg():
                        size_bytes += member.size
                        if size_bytes > MAX_TREE_BYTES:
                            raise TreeRefused(f"has more than {MAX_TREE_BYTES} bytes")
                        _write_file(tar, member, target)
                    else:
                        raise TreeRefused(f"holds {member.name!r}, which is neither file, directory nor link")
            while hashing.read(_PIECE_BYTES):
                continue
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError, ValueError) as error:
        raise TreeRefused(f"can not be unpacked: {error}") from error
    if hashing.hash() != digest:
        raise TreeRefused("does not have its hash")
    _make_links(into, links)
    return size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    name: str  # with surrogates for bytes that are no UTF-8
    mode: int
    size_bytes: int


def _entries(tree: Path) -> Iterator[_Entry]:
    """Yield what lies below a directory, checked against what may be kept."""
    size_bytes = count = 0
    stack = [""]
    while stack:
        directory = stack.pop()
        try:
            found = list(os.scandir(tree / directory))
        except OSError as error:
            raise BuildFailed(f"{_NO_TREE} holds {directory!r}, which can not be read: {error.strerror}") from error
        for item in found:
            name = f"{directory}/{item.name}" if directory else item.name
            facts = item.stat(follow_symlinks=False)
            mode, count = facts.st_mode, count + 1
            if count > MAX_ENTRIES:
                raise BuildFailed(f"the built tree has more than {MAX_ENTRIES} files")
            if len(os.fsencode(name)) > MAX_NAME_BYTES:
                raise BuildFailed(f"the built tree has a path of more than {MAX_NAME_BYTES} bytes: {name[:80]!r}...")
            if stat.S_ISREG(mode):
                size_bytes += facts.st_size
            elif stat.S_ISDIR(mode):
                stack.append(name)
            elif not stat.S_ISLNK(mode):
                raise BuildFailed(f"the built tree holds {name!r}, which is neither file, directory nor link")
            elif not _stays_inside(tree, tree / name):
                raise BuildFailed(
                    f"the link {name!r} in the built tree leads out of it: {str((tree / name).readlink())!r}"
                )
            if size_bytes > MAX_TREE_BYTES:
                raise BuildFailed(f"the built tree has more than {MAX_TREE_BYTES >> 20} MiB")
            yield _Entry(name=name, mode=mode, size_bytes=facts.st_size)


def _add(tar: tarfile.TarFile, tree: Path, entry: _Entry) -> None:
    info = tarfile.TarInfo(entry.name)
    if stat.S_ISDIR(entry.mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISLNK(entry.mode):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, str((tree / entry.name).readlink())
        tar.addfile(info)
    else:
        info.mode = 0o755 if entry.mode & 0o111 else 0o644
        info.size = entry.size_bytes
        fd = os.open(tree / entry.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as content:
            tar.addfile(info, content)


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise TreeRefused(f"has the path {name[:80]!r}")
    return parts


def _make_directory(target: Path) -> None:
    target.mkdir()  # its parent came before it; nothing else is there, and no link is made before all is written
    target.chmod(0o755)


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    mode = 0o755 if member.mode & 0o111 else 0o644
    content: Any = tar.extractfile(member)
    with new_file(target, mode=mode) as file:
        shutil.copyfileobj(content, file, _PIECE_BYTES)


def _make_links(into: Path, links: list[tuple[Path, str]]) -> None:
    """Make the links last, so that nothing was written through one; then see where each really leads."""
    try:
        for target, text in links:
            target.symlink_to(text)
    except (OSError, ValueError) as error:
        raise TreeRefused(f"can not be unpacked: {error}") from error
    for target, text in links:
        if not _stays_inside(into, target):
            raise TreeRefused(f"holds the link {target.name!r}, which leads out of it: {text[:80]!r}")


def _stays_inside(tree: Path, link: Path) -> bool:
    """Does a link lead to a place in the tree, as it is written and through whatever links there are on the way?

    One that leads nowhere is judged by where it would lead; an absolute one means another place in the sandbox than here.
    """
    text = link.readlink()
    written = os.path.normpath(os.path.join(os.path.relpath(link.parent, tree), text))  # noqa: PTH118  # as text
    if text.is_absolute() or written == ".." or written.startswith("../"):
        return False
    root, real = os.path.realpath(tree), os.path.realpath(link)
    return real == root or real.startswith(root + os.sep)
