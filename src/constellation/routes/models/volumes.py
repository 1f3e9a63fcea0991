"""Bodies of the volume routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

VolumeName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
SizeMb = Annotated[int, Meta(ge=8, le=10240, description="of the file system that it is, which keeps to it")]
AccessText = Annotated[
    Literal["read_write", "read_only", "read_write_once"],
    Meta(description="any number of functions; any number, and none writes; one function, in any number of instances"),
]
Description = Annotated[str, Meta(max_length=1024)]


class VolumeCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: VolumeName
    size_mb: SizeMb
    access: AccessText = "read_write"
    description: Description = ""


class VolumeUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change; fields that are absent stay. Instances that run keep the access that they began with."""

    access: AccessText | UnsetType = UNSET
    description: Description | UnsetType = UNSET


class VolumeBody(Struct, kw_only=True, frozen=True):
    name: str
    size_mb: int
    access: str
    description: str
    version: int
    functions: list[str]  # the first 20 of those that mount it, as they are or in a kept version, by name
    functions_count: int
    created_at: datetime
    updated_at: datetime
