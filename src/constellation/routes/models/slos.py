"""Bodies of the objectives of functions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

_Percent = Annotated[float, Meta(ge=0, le=100)]


class SloObjectives(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the calls of a window should come to; what is null is not looked at."""

    success_rate_pct: Annotated[_Percent | None, Meta(description="at least this share of calls ends well")] = None
    p95_duration_ms: Annotated[
        Annotated[float, Meta(gt=0, le=3_600_000)] | None,
        Meta(description="19 of 20 calls take at most so long, their time in line included"),
    ] = None
    cold_start_rate_pct: Annotated[_Percent | None, Meta(description="at most this share of calls starts cold")] = None


class SloPolicyBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a function is to keep to. People are told when an objective is missed, and when all are kept again."""

    enabled: bool = True
    window_s: Annotated[int, Meta(ge=60, le=86_400, description="how far back calls are looked at")] = 900
    min_samples: Annotated[int, Meta(ge=1, le=100_000, description="a window with fewer calls says nothing")] = 20
    objectives: SloObjectives = SloObjectives()


class SloSnapshot(Struct, kw_only=True, frozen=True):
    """The calls of the window that ends now. Left out are calls whose caller went or sent nonsense, or that were refused."""

    since: datetime
    until: datetime
    calls: int  # at most the newest 100,000 are looked at
    errors: int
    cold_starts: int
    success_rate_pct: float | None  # these are null where there were no calls
    p95_duration_ms: float | None
    cold_start_rate_pct: float | None


class SloBreach(Struct, kw_only=True, frozen=True):
    objective: str  # success_rate_pct, p95_duration_ms or cold_start_rate_pct
    limit: float
    actual: float


class SloStatus(Struct, kw_only=True, frozen=True):
    """How a function does. `state` follows `breaches` after a few looks that agree, so that it does not flap."""

    function: str
    enabled: bool
    state: str  # off; unknown: too few calls; met; breached: people were told
    breached: list[str]  # the objectives that people were told of
    breached_at: datetime | None
    policy: SloPolicyBody
    snapshot: SloSnapshot
    has_enough_samples: bool
    breaches: list[SloBreach]  # what the snapshot misses by itself; none with too few samples
