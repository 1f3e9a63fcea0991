"""Body of the routes about who may call a function."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

_Cidr = Annotated[str, Meta(min_length=2, max_length=50)]


class IngressPolicyBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who may call a function, beside needing the permission to. An empty list restricts nothing; `deny` wins over `allow`.

    What is refused answers 403 `ingress_denied`. A call that is accepted for later comes in twice: as who asks, and as
    `queue` when it runs.
    """

    callers: Annotated[
        tuple[Literal["url", "api", "function", "schedule", "queue"], ...],
        Meta(
            max_length=5,
            description="by which way: its URL; the API; other functions; schedules; what was accepted for later",
        ),
    ] = ()
    functions: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=65)], ...],
        Meta(max_length=64, description='functions of the namespace that may call it; "order-*": all that begin so'),
    ] = ()
    allow: Annotated[
        tuple[_Cidr, ...],
        Meta(max_length=64, description="networks that calls of its URL and of the API come from: 10.1.0.0/16"),
    ] = ()
    deny: Annotated[tuple[_Cidr, ...], Meta(max_length=64)] = ()
