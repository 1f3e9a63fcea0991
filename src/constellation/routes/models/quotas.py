"""Bodies of tiers, quotas and usage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

DimensionName = Literal[
    "invocations_per_s",
    "key_invocations_per_s",
    "invocations_per_day",
    "invocations_per_month",
    "concurrent_invocations",
    "publishes_per_s",
    "queue_depth",
    "functions",
    "memory_mb",
    "vcpu_milli",
    "database_mb",
]
Value = Annotated[float, Meta(ge=0, le=1e15)]
Burst = Annotated[
    int,
    Meta(ge=0, le=1_000_000, description="of a rate: at once after a quiet time; 0: one second's worth, at least 1"),
]


class QuotaSet(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A tenant's own limit. A `limit` of null: none, whatever its tier says."""

    limit: Value | None
    burst: Burst = 0


class QuotaBody(Struct, kw_only=True, frozen=True):
    dimension: DimensionName
    about: str  # what is counted, and in which unit
    limit: float | None  # None: none
    burst: int
    source: Literal["tenant", "tier", "none"]  # whose limit it is


class UsageBody(Struct, kw_only=True, frozen=True):
    dimension: DimensionName
    about: str
    used: float | None  # None: each comet counts it for itself
    limit: float | None
    burst: int
    resets_at: datetime | None  # when `used` begins at 0 again


class TierLimit(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    dimension: DimensionName
    limit: Value
    burst: Burst = 0


class TierPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """All limits of a tier; a dimension that is absent has none."""

    description: Annotated[str, Meta(max_length=200)] = ""
    limits: Annotated[list[TierLimit], Meta(max_length=16)] = []


class TierBody(Struct, kw_only=True, frozen=True):
    name: str
    description: str
    limits: list[TierLimit]
    created_at: datetime
    updated_at: datetime
