"""Archives of code, zip and tar: what is in them, within bounds that are checked before anything is unpacked."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from io import BytesIO

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.domain.function import MAX_CODE_BYTES, MAX_CODE_FILES

# Chosen: source text becomes a tenth, and hardly ever a fiftieth; what becomes less was made to fill a disk.
MAX_RATIO = 200
_RATIO_FROM_BYTES = 1 << 20  # below it a ratio says nothing
_MAX_MEMBERS = 4 * MAX_CODE_FILES  # directories and what is skipped included
_TAR_ROOM_BYTES = 2048  # a file's header, a long name before it, and what fills its last block
_MAX_TAR_BYTES = MAX_CODE_BYTES + _MAX_MEMBERS * _TAR_ROOM_BYTES
_SKIPPED = ("__MACOSX/", ".DS_Store")
_GZIP, _ZIP, _ZIP_ENTRY = b"\x1f\x8b", b"PK", b"PK\x01\x02"
_TAR_AT, _TAR = 257, b"ustar"


def unpack(data: bytes) -> dict[str, bytes]:
    """Return path -> content of the files in a zip, tar or tar.gz. Takes long for large ones: up to a second.

    Whether the paths are good ones is `check_source`'s affair, but none is given twice.

    Raises:
        InvalidRequest: it is none of these, or damaged; it holds a link, a device, something encrypted, or too many files;
            or it is far smaller than what is in it.
        PayloadTooLarge: its files are more than 10 MiB.
    """
    try:
        if data.startswith(_ZIP):
            files = _unzipped(data)
        elif data.startswith(_GZIP):
            files = _untarred(_inflated(data))
        elif data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
            files = _untarred(data)
        else:
            raise _refused("is neither a zip nor a tar, compressed with gzip or not")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise _refused(f"can not be read: {error}") from error
    if not files:
        raise _refused("holds no file")
    total_bytes = sum(map(len, files.values()))
    if total_bytes > max(_RATIO_FROM_BYTES, MAX_RATIO * len(data)):
        raise _refused(f"holds more than {MAX_RATIO} times its own size")
    return files


def _unzipped(data: bytes) -> dict[str, bytes]:
    if data.count(_ZIP_ENTRY) > 5 * _MAX_MEMBERS:  # before each becomes an object; files may hold the mark, too
        raise _too_many()
    files, left_bytes = _Files(), MAX_CODE_BYTES
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > _MAX_MEMBERS:
            raise _too_many()
        for member in members:
            kind = member.external_attr >> 28  # of the Unix mode; 0 where it has none
            if member.is_dir():
                continue
            if kind not in (0, 0o10):
                raise _refused(f"holds {member.filename[:80]!r}, which is no plain file")
            if member.flag_bits & 1:
                raise _refused(f"holds {member.filename[:80]!r}, which is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(f"holds {member.filename[:80]!r}, which is compressed in a way that is not understood")
            with archive.open(member) as file:
                content = file.read(left_bytes + 1)  # what the directory says of sizes is not believed
            left_bytes -= len(content)
            if left_bytes < 0:
                raise PayloadTooLarge(limit_bytes=MAX_CODE_BYTES)
            files.add(member.filename, content)
    return files.found


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)  # with gzip's header
    tar = stream.decompress(data, _MAX_TAR_BYTES + 1)
    if len(tar) > _MAX_TAR_BYTES:
        raise PayloadTooLarge(limit_bytes=MAX_CODE_BYTES)
    if not stream.eof:
        raise EOFError("it ends before its end")
    return tar


def _untarred(data: bytes) -> dict[str, bytes]:
    files, left_bytes = _Files(), MAX_CODE_BYTES
    with tarfile.open(fileobj=BytesIO(data), mode="r:") as archive:
        for count, member in enumerate(archive, 1):
            if count > _MAX_MEMBERS:
                raise _too_many()
            if member.isdir():
                continue
            if not member.isreg():
                raise _refused(f"holds {member.name[:80]!r}, which is no plain file")
            left_bytes -= member.size
            if left_bytes < 0:
                raise PayloadTooLarge(limit_bytes=MAX_CODE_BYTES)
            file = archive.extractfile(member)
            content = b"" if file is None else file.read()
            if len(content) != member.size:
                raise EOFError(f"{member.name[:80]!r} is cut off")
            files.add(member.name, content)
    return files.found


class _Files:
    """What was unpacked so far."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def add(self, path: str, content: bytes) -> None:
        path = path.removeprefix("./")
        if path.startswith(_SKIPPED[0]) or path.rpartition("/")[2] == _SKIPPED[1]:
            return
        if path in self.found:
            raise _refused(f"holds {path[:80]!r} twice")
        if len(self.found) >= MAX_CODE_FILES:
            raise _too_many()
        self.found[path] = content


def _too_many() -> InvalidRequest:
    return _refused(f"holds more than {MAX_CODE_FILES} files")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"the archive {why}", field="archive")
