"""When a breaker opens: of a function, or of a gateway's route."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

ErrorPercent = Annotated[
    int, Meta(ge=0, le=100, description="the breaker opens when this share of a window's calls fails; 0: never")
]
MinSamples = Annotated[int, Meta(ge=1, le=100_000, description="a window with fewer calls never opens it")]
WindowSeconds = Annotated[float, Meta(ge=1, le=3600, description="how long calls are counted together")]
OpenSeconds = Annotated[
    float, Meta(ge=0.1, le=3600, description="how long calls are refused before probes are let through")
]
Probes = Annotated[
    int, Meta(ge=1, le=100, description="calls at a time while it finds out whether the function is well again")
]
