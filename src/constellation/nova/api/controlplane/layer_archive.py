"""The files of a layer as they travel: paths to base64, or a ZIP archive in base64. Hostile until checked."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from constellation.base.errors import InvalidRequest
from constellation.nova.api.controlplane.encoded import decoded
from constellation.nova.domain.layer import MAX_LAYER_BYTES, MAX_LAYER_FILES, check_files
from constellation.nova.domain.zip_archive import Bounds, unzipped

BOUNDS = Bounds(max_files=MAX_LAYER_FILES, max_members=2 * MAX_LAYER_FILES, max_bytes=MAX_LAYER_BYTES)


def files_of(*, files: Mapping[str, str] | UnsetType, archive: str | UnsetType) -> dict[str, bytes]:
    """Return the checked files of a request. Takes long for large ones.

    Raises:
        InvalidRequest: neither or both are given, or what is given is no layer.
        PayloadTooLarge: they are too large once they are unpacked.
    """
    if (files is UNSET) == (archive is UNSET):
        raise InvalidRequest("give exactly one of files and archive", field="files")
    if isinstance(archive, str):
        found = unzipped(decoded(archive, "archive", field="archive"), BOUNDS)
    else:
        assert not isinstance(files, UnsetType)
        found = {path: decoded(text, "files", field="files") for path, text in files.items()}
    check_files(found)
    return found
