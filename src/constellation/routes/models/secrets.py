"""Bodies of secrets and master keys. No value is ever in an answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

SecretName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
SecretValue = Annotated[str, Meta(min_length=1, max_length=65536, description="text of at most 64 KiB, without NUL")]


class SecretCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: SecretName
    value: SecretValue


class SecretPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    value: SecretValue


class SecretBody(Struct, kw_only=True, frozen=True):
    name: str
    version: int  # moves with each new value
    key_version: int  # of the master key that has sealed it
    functions: list[str]  # the first 20 of those that use it, by name
    functions_count: int
    created_at: datetime
    updated_at: datetime  # when its value was set


class MasterKeyBody(Struct, kw_only=True, frozen=True):
    version: int
    is_newest: bool  # it seals
    is_present: bool  # false: nova lacks it, and what it has sealed can not be opened
    secrets_count: int  # of all tenants, that it has sealed
    created_at: datetime
