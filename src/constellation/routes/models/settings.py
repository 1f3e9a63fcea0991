"""Bodies of the settings that can be set at run time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

Note = Annotated[str, Meta(max_length=500, description="why, for the history")]


class SettingBody(Struct, kw_only=True, frozen=True):
    key: str
    about: str
    kind: str
    default: str
    at_least: str | None
    at_most: str | None
    choices: list[str]
    planes: list[str]  # that take it at once
    per_tenant: bool  # a tenant can have a value of its own
    tenant: str  # whose value this is; empty: the platform's
    value: str  # that holds
    source: str  # run time, run time (platform), or where nova's own configuration has it from
    is_set: bool  # at run time, for this tenant or (empty) the platform
    configured: str  # what holds when nothing is set at run time, as nova was started
    version: int  # of what is set; 0: it never was
    updated_by: str
    updated_at: datetime | None


class SettingPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    value: Annotated[str, Meta(max_length=1000)] | bool | int | float  # as in the configuration's file: "30s", "128MiB"
    note: Note = ""


class SettingRevert(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    version: Annotated[int, Meta(ge=0, le=2**53, description="of the history; 0: before the first change")]
    note: Note = ""


class SettingChangeBody(Struct, kw_only=True, frozen=True):
    key: str
    tenant: str
    version: int  # of the setting, after the change
    was: str | None  # null: as configured
    value: str | None
    note: str
    actor: str
    at: datetime
