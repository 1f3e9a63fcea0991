"""ZIP archives of strangers: read within bounds, before what they say of themselves costs anything."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO

from constellation.base.errors import InvalidRequest, PayloadTooLarge

# Chosen: source text becomes a tenth, and hardly ever a fiftieth; what becomes less was made to fill a disk.
MAX_RATIO = 200
RATIO_FROM_BYTES = 1 << 20  # below it a ratio says nothing
_ENTRY = b"PK\x01\x02"
_MARKS_A_MEMBER = 5  # chosen: files may hold the mark of an entry, too
_PART_BYTES = 1 << 20
_PLAIN = (0, 0o10)  # of a Unix mode; 0 where an archive has none
_SKIPPED_DIR, _SKIPPED_NAME = "__MACOSX/", ".DS_Store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an archive may hold."""

    max_files: int
    max_members: int  # directories and what is skipped included
    max_bytes: int  # unpacked


class Files:
    """What was unpacked so far of an archive, each path once; what file managers leave is skipped."""

    def __init__(self, bounds: Bounds) -> None:
        self.found: dict[str, bytes] = {}
        self._bounds = bounds

    def add(self, path: str, content: bytes) -> None:
        """Take a file in. Raises `InvalidRequest`: its path is there already, or it is one too many."""
        path = path.removeprefix("./")
        if path.startswith(_SKIPPED_DIR) or path.rpartition("/")[2] == _SKIPPED_NAME:
            return
        if path in self.found:
            raise refused(f"holds {path[:80]!r} twice")
        if len(self.found) >= self._bounds.max_files:
            raise too_many(self._bounds)
        self.found[path] = content


def unzipped(data: bytes, bounds: Bounds) -> dict[str, bytes]:
    """Return path -> content of the files in a ZIP archive. Takes long for large ones.

    Nothing that it says of sizes, counts and modes is believed, and whether paths are good ones is not looked at.

    Raises:
        InvalidRequest: it is none, or damaged; it holds a link, a device, something encrypted or compressed in a rare
            way, a path twice, or too many files; or it is far smaller than what is in it.
        PayloadTooLarge: its files are too large together.
    """
    if data.count(_ENTRY) > _MARKS_A_MEMBER * bounds.max_members:  # before each becomes an object
        raise too_many(bounds)
    files = Files(bounds)
    left_bytes = limit_bytes = min(bounds.max_bytes, max(RATIO_FROM_BYTES, MAX_RATIO * len(data)))
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > bounds.max_members:
                raise too_many(bounds)
            for member in members:
                if not _is_file(member):
                    continue
                content = _content(archive, member, left_bytes)
                if content is None:
                    raise PayloadTooLarge(limit_bytes=limit_bytes) if limit_bytes == bounds.max_bytes else too_dense()
                left_bytes -= len(content)
                files.add(member.filename, content)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError, OSError) as error:
        raise refused(f"can not be read: {error}") from error
    return files.found


def _is_file(member: zipfile.ZipInfo) -> bool:
    """Tell files from directories. Raises `InvalidRequest` for all else, and for what is not read."""
    name = member.filename[:80]
    kind = member.external_attr >> 28
    if member.is_dir() and kind in (0, 0o4):
        return False
    if kind not in _PLAIN:
        raise refused(f"holds {name!r}, which is no plain file; put the file itself there")
    if member.flag_bits & 1:
        raise refused(f"holds {name!r}, which is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(f"holds {name!r}, which is compressed in a way that is not understood")
    return True


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left_bytes: int) -> bytes | None:
    """Return what a member holds; None when that is more than is left."""
    parts: list[bytes] = []
    with archive.open(member) as stream:
        while part := stream.read(min(_PART_BYTES, left_bytes + 1)):
            left_bytes -= len(part)
            if left_bytes < 0:
                return None
            parts.append(part)
    return b"".join(parts)


def refused(why: str) -> InvalidRequest:
    """Return what an archive is refused with."""
    return InvalidRequest(f"the archive {why}", field="archive")


def too_many(bounds: Bounds) -> InvalidRequest:
    return refused(f"holds more than {bounds.max_files} files")


def too_dense() -> InvalidRequest:
    return refused(f"holds more than {MAX_RATIO} times its own size")
