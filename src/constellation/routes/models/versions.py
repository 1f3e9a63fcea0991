"""Bodies of versions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.routes.models.functions import FunctionBody

VersionNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class VersionSummary(Struct, kw_only=True, frozen=True):
    """What a function was from one change of its code or configuration to the next. It never changes."""

    version: int
    is_live: bool  # a call that names no version runs it
    code_version: int
    code_hash: str
    runtime: str
    handler: str
    memory_mb: int
    timeout_s: float
    description: str
    created_at: datetime


class VersionBody(VersionSummary, kw_only=True, frozen=True):
    configuration: FunctionBody  # as the function was; name, switches and times are those it has now


class SettingChangeBody(Struct, kw_only=True, frozen=True, rename={"before": "from", "after": "to"}):
    """One setting; null stands for one that is not there."""

    field: str  # nested ones with dots
    before: Any
    after: Any


class FileChangeBody(Struct, kw_only=True, frozen=True):
    path: str
    state: Literal["added", "removed", "changed"]
    diff: str | None  # unified; null: it is no text, or too long


class VersionDiff(Struct, kw_only=True, frozen=True):
    function: str
    version: int
    other: int
    changes: list[SettingChangeBody]
    files: list[FileChangeBody]


class Rollback(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    version: VersionNumber | UnsetType = UNSET


Percent = Annotated[int, Meta(ge=0, le=100)]
_STICKY = "calls with the same X-Nova-Sticky, or the same cookie nova-sticky, get the same version"


class AliasPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a name stands for: one `version`, or `weights`, percent by version that make 100 together."""

    version: VersionNumber | UnsetType = UNSET
    weights: Annotated[dict[VersionNumber, Percent], Meta(min_length=1, max_length=16)] | UnsetType = UNSET
    is_sticky: Annotated[bool, Meta(description=_STICKY)] = False
    description: Annotated[str, Meta(max_length=2000)] = ""


class AliasBody(Struct, kw_only=True, frozen=True):
    """A name under which versions of a function are called."""

    function: str
    alias: str
    weights: dict[int, int]  # percent, by version
    is_sticky: bool
    description: str
    created_at: datetime
    updated_at: datetime


class AliasPromote(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The version that is to get every call; absent: the newest of those that the alias names."""

    version: VersionNumber | UnsetType = UNSET
