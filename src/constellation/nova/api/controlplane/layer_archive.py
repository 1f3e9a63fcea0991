"""The files of a layer as they travel: paths to base64, or a ZIP archive in base64. Hostile until checked."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.api.controlplane.encoded import decoded
from constellation.nova.domain.layer import MAX_LAYER_BYTES, MAX_LAYER_FILES, check_files

MAX_RATIO = 200  # unpacked to packed; chosen: text packs by 20, zeros by 1000
_SLACK_BYTES = 1 << 20  # a small archive of a long blank file is no attack
_PART_BYTES = 1 << 20


def files_of(*, files: Mapping[str, str] | UnsetType, archive: str | UnsetType) -> dict[str, bytes]:
    """Return the checked files of a request. Takes long for large ones.

    Raises:
        InvalidRequest: neither or both are given, or what is given is no layer.
        PayloadTooLarge: they are too large once they are unpacked.
    """
    if (files is UNSET) == (archive is UNSET):
        raise InvalidRequest("give exactly one of files and archive", field="files")
    if isinstance(archive, str):
        found = _unpacked(decoded(archive, "archive", field="archive"))
    else:
        assert not isinstance(files, UnsetType)
        found = {path: decoded(text, "files", field="files") for path, text in files.items()}
    check_files(found)
    return found


def _unpacked(packed: bytes) -> dict[str, bytes]:
    """Unpack without believing what the archive says of its sizes; what is no file or directory is refused."""
    limit_bytes = min(MAX_LAYER_BYTES, len(packed) * MAX_RATIO + _SLACK_BYTES)
    files: dict[str, bytes] = {}
    left_bytes = limit_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = archive.infolist()
            if len(members) > 2 * MAX_LAYER_FILES:
                raise InvalidRequest(f"the archive has {len(members)} entries, too many", field="archive")
            for member in members:
                _check_kind(member)
                if member.is_dir():
                    continue
                if member.filename in files:
                    raise InvalidRequest(f"the archive has {member.filename[:80]!r} twice", field="archive")
                files[member.filename] = content = _content(archive, member, left_bytes, limit_bytes)
                left_bytes -= len(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise InvalidRequest(f"the archive can not be unpacked: {error}", field="archive") from error
    return files


def _check_kind(member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "neither a file nor a directory"
        raise InvalidRequest(
            f"{member.filename[:80]!r} in the archive is {what}; put the file itself there", field="archive"
        )


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left_bytes: int, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    with archive.open(member) as stream:
        while part := stream.read(_PART_BYTES):
            left_bytes -= len(part)
            if left_bytes < 0:
                if limit_bytes < MAX_LAYER_BYTES:
                    raise InvalidRequest(f"the archive unpacks to over {MAX_RATIO} times its size", field="archive")
                raise PayloadTooLarge(limit_bytes=MAX_LAYER_BYTES)
            parts.append(part)
    return b"".join(parts)
