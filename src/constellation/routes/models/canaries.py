"""Bodies of canaries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from constellation.routes.models.versions import VersionNumber


class CanaryStart(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Move an alias, which stands for one version, to another in steps, and back when that one does worse."""

    alias: Annotated[str, Meta(min_length=1, max_length=64)]
    version: VersionNumber  # that is to get the calls
    steps: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=99)], ...],
        Meta(min_length=1, max_length=20, description="percent of the calls, ascending; after the last it gets all"),
    ] = (10, 25, 50)
    step_s: Annotated[float, Meta(ge=1, le=604_800, description="how long a step lasts at least")] = 60.0
    min_calls: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="of the new version in a step: with fewer it goes neither on nor back"),
    ] = 20
    max_error_percent: Annotated[
        float,
        Meta(ge=0, le=100, description="how far its share of failed calls may be above the old version's, in points"),
    ] = 5.0
    max_p95_ratio: Annotated[
        float, Meta(ge=1, le=1000, description="how many times the old version's p95 its own may be")
    ] = 1.5


class CanaryBody(Struct, kw_only=True, frozen=True):
    id: UUID
    function: str
    alias: str
    old_version: int
    new_version: int
    state: str  # running, promoted, rolled_back or cancelled
    reason: str  # why it ended
    percent: int  # of the alias's calls that the new version gets
    step: int  # from 0 on
    steps: list[int]
    step_s: float
    min_calls: int
    max_error_percent: float
    max_p95_ratio: float
    stepped_at: datetime
    created_at: datetime
    ended_at: datetime | None


class CanarySample(Struct, kw_only=True, frozen=True):
    """The calls of a version in the step; those whose caller went are left out, and from p95 cold starts."""

    calls: int
    errors: int
    p95_ms: float | None


class CanaryDetail(CanaryBody, kw_only=True, frozen=True):
    old: CanarySample
    new: CanarySample
