"""Archives of code, zip and tar: what is in them, within bounds that are checked before anything is unpacked."""

from __future__ import annotations

import tarfile
import zlib
from io import BytesIO

from constellation.base.errors import PayloadTooLarge
from constellation.nova.domain.function import MAX_CODE_BYTES, MAX_CODE_FILES
from constellation.nova.domain.zip_archive import (
    MAX_RATIO,
    RATIO_FROM_BYTES,
    Bounds,
    Files,
    refused,
    too_dense,
    too_many,
    unzipped,
)

_BOUNDS = Bounds(max_files=MAX_CODE_FILES, max_members=4 * MAX_CODE_FILES, max_bytes=MAX_CODE_BYTES)
_TAR_ROOM_BYTES = 2048  # a file's header, a long name before it, and what fills its last block
_MAX_TAR_BYTES = MAX_CODE_BYTES + _BOUNDS.max_members * _TAR_ROOM_BYTES
_GZIP, _ZIP = b"\x1f\x8b", b"PK"
_TAR_AT, _TAR = 257, b"ustar"


def unpack(data: bytes) -> dict[str, bytes]:
    """Return path -> content of the files in a zip, tar or tar.gz. Takes long for large ones: up to a second.

    Whether the paths are good ones is `check_source`'s affair, but none is given twice.

    Raises:
        InvalidRequest: it is none of these, or damaged; it holds a link, a device, something encrypted, or too many files;
            or it is far smaller than what is in it.
        PayloadTooLarge: its files are more than 10 MiB.
    """
    files = unzipped(data, _BOUNDS) if data.startswith(_ZIP) else _from_tar(data)
    if not files:
        raise refused("holds no file")
    return files


def _from_tar(data: bytes) -> dict[str, bytes]:
    try:
        if data.startswith(_GZIP):
            files = _untarred(_inflated(data))
        elif data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
            files = _untarred(data)
        else:
            raise refused("is neither a zip nor a tar, compressed with gzip or not")
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise refused(f"can not be read: {error}") from error
    if sum(map(len, files.values())) > max(RATIO_FROM_BYTES, MAX_RATIO * len(data)):
        raise too_dense()
    return files


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)  # with gzip's header
    tar = stream.decompress(data, _MAX_TAR_BYTES + 1)
    if len(tar) > _MAX_TAR_BYTES:
        raise PayloadTooLarge(limit_bytes=MAX_CODE_BYTES)
    if not stream.eof:
        raise EOFError("it ends before its end")
    return tar


def _untarred(data: bytes) -> dict[str, bytes]:
    files, left_bytes = Files(_BOUNDS), MAX_CODE_BYTES
    with tarfile.open(fileobj=BytesIO(data), mode="r:") as archive:
        for count, member in enumerate(archive, 1):
            if count > _BOUNDS.max_members:
                raise too_many(_BOUNDS)
            if member.isdir():
                continue
            if not member.isreg():
                raise refused(f"holds {member.name[:80]!r}, which is no plain file")
            left_bytes -= member.size
            if left_bytes < 0:
                raise PayloadTooLarge(limit_bytes=MAX_CODE_BYTES)
            file = archive.extractfile(member)
            content = b"" if file is None else file.read()
            if len(content) != member.size:
                raise EOFError(f"{member.name[:80]!r} is cut off")
            files.add(member.name, content)
    return files.found
