"""Bodies of the layer routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.routes.models.functions import CodeFiles

LayerName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Archive = Annotated[
    str,
    Meta(
        description="a ZIP archive in base64, instead of files; what it holds is unpacked to at most 64 MiB and 5,000 files, "
        "and links in it are refused"
    ),
]
Description = Annotated[str, Meta(max_length=1024)]
RuntimeIds = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
    Meta(max_length=32, description="that may use the layer; none: all"),
]


class LayerPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The files of a new version: exactly one of `files` and `archive`.

    Files below bin/, scripts and programs become executable.
    """

    files: CodeFiles | UnsetType = UNSET
    archive: Archive | UnsetType = UNSET
    description: Description = ""
    runtimes: RuntimeIds = ()


class LayerCreate(LayerPut, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: LayerName


class LayerBody(Struct, kw_only=True, frozen=True):
    name: str
    version: int
    hash: str  # SHA-256 of the files
    description: str
    runtimes: tuple[str, ...]
    size_bytes: int
    files_count: int
    created_at: datetime


class LayerFileBody(Struct, kw_only=True, frozen=True):
    path: str
    size_bytes: int


class LayerUserBody(Struct, kw_only=True, frozen=True):
    """Who uses a layer."""

    namespace: str
    function: str
    function_version: int | None  # None: the function as it is now
    layer_version: int


class LayerDeleted(Struct, kw_only=True, frozen=True):
    status: str
    name: str
    version: int | None  # None: all of them
