"""The files of a layer, packed to be sent."""

from __future__ import annotations

import io
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from constellation.orbit.bundle import Matcher
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import size

MAX_BYTES = 64 << 20  # the platform's limit for what a layer holds
MAX_PACKED_BYTES = 20 << 20  # and for its archive
MAX_FILES = 5000
_EXCLUDED = Matcher(("**/.git/**", "**/.DS_Store", "**/__pycache__/**", "**/*.pyc"))
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def pack(root: Path) -> str:
    """Return the files below a directory as a ZIP archive in base64; links that stay inside become what they lead to.

    Raises:
        OrbitError: there are none, too many, they are too large, or a link leads out of the directory.
    """
    packed = io.BytesIO()
    count = total_bytes = 0
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(root, root.resolve()):
            content = path.read_bytes()
            count, total_bytes = count + 1, total_bytes + len(content)
            if count > MAX_FILES or total_bytes > MAX_BYTES:
                raise OrbitError(f"{root} holds more than {size(MAX_BYTES)} or {MAX_FILES} files")
            member = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    if not count:
        raise OrbitError(f"{root} has no files")
    return _encoded(packed.getvalue(), root)


def archive_of(path: Path) -> str:
    """Return a ZIP archive that is there already in base64."""
    return _encoded(path.read_bytes(), path)


def _encoded(packed: bytes, source: Path) -> str:
    if len(packed) > MAX_PACKED_BYTES:
        raise OrbitError(f"{source} packs to {size(len(packed))}; {size(MAX_PACKED_BYTES)} is the most")
    return b64encode(packed).decode("ascii")


def _files(root: Path, home: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if _EXCLUDED(name) or not path.is_file():
            continue
        if not path.resolve().is_relative_to(home):
            raise OrbitError(f"{path} is a link that leads out of {root}", hint="Copy the file.")
        yield path
