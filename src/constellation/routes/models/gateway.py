"""Bodies of custom domains and their routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.nova.domain.alias import target
from constellation.routes.models.gateway_policy import RoutePolicy

Host = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=254,
        description="shop.example.org, or *.example.org for every name with one label more than example.org",
    ),
]
Path = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        description="segments that are plain, {name} for any one, and at the end {name+} or * for all that are left",
    ),
]
Methods = Annotated[
    tuple[Annotated[str, Meta(max_length=16)], ...], Meta(max_length=16, description="none: any method")
]
Target = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=129,
        description="a function, or a version or alias of it: users, users:3, users:prod. Callers of a sticky alias get a cookie",
    ),
]
AuthName = Annotated[
    Literal["none", "api_key", "session", "jwt", "any"],
    Meta(
        description="none: everybody is served; else who has an API key, a session, a token (JWT) of a trusted issuer, or any of "
        "these, and may invoke the function"
    ),
]


class DomainCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Serve a host. It belongs to one tenant in the whole platform, with all that a wildcard covers."""

    host: Host


class DomainBody(Struct, kw_only=True, frozen=True):
    tenant: str
    namespace: str
    host: str
    created_at: datetime


class GatewayRouteCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Let a function answer a path of a domain."""

    host: Host
    path: Path
    function: Target
    methods: Methods = ()
    auth: AuthName = "api_key"
    enabled: bool = True
    policy: RoutePolicy = RoutePolicy()


class GatewayRouteUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`version`: of the route that is to be changed; another one is a conflict."""

    path: Path | UnsetType = UNSET
    function: Target | UnsetType = UNSET
    methods: Methods | UnsetType = UNSET
    auth: AuthName | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    policy: Annotated[RoutePolicy, Meta(description="in place of the whole one before")] | UnsetType = UNSET
    version: int | UnsetType = UNSET


class GatewayRouteBody(Struct, kw_only=True, frozen=True):
    id: UUID
    tenant: str
    namespace: str
    host: str
    path: str
    methods: tuple[str, ...]
    function: str
    auth: str
    enabled: bool
    policy: RoutePolicy
    version: int
    created_at: datetime
    updated_at: datetime


class GatewayRouteSet(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A route of a domain that the path of the request names."""

    path: Path
    function: Target
    methods: Methods = ()
    auth: AuthName = "api_key"
    enabled: bool = True
    policy: RoutePolicy = RoutePolicy()


class GatewayRoutesPut(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """All routes of a domain: what is not here is deleted."""

    routes: Annotated[tuple[GatewayRouteSet, ...], Meta(max_length=500)]
    dry_run: Annotated[bool, Meta(description="check all of it and say what would change, and change nothing")] = False


class GatewayRoutesChanged(Struct, kw_only=True, frozen=True):
    """What became of a domain's routes; one is the same whose path and methods are."""

    host: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: int
    is_dry_run: bool


class GatewayMatchBody(Struct, kw_only=True, frozen=True):
    """Which route serves a request, and what the names in its path stand for."""

    route: GatewayRouteBody
    path_params: dict[str, str]


class RouteBreakerBody(Struct, kw_only=True, frozen=True):
    """A route's breaker on the gateway that answers."""

    state: Annotated[str, Meta(description="closed, open or half_open")]
    good: Annotated[int, Meta(description="calls of the window that ended well")]
    bad: int
    probes: Annotated[int, Meta(description="calls that find out whether it is well again")]
    opened: Annotated[int, Meta(description="how often, since the gateway knows the route")]
    left_s: Annotated[float, Meta(description="open: until probes are let through")]


class GatewayRouteStatus(Struct, kw_only=True, frozen=True):
    """How the gateway that answers serves a route."""

    id: UUID
    host: str
    path: str
    function: str
    version: int
    breaker: Annotated[RouteBreakerBody | None, Meta(description="none when the route's policy has none")]


class ServedRouteBody(Struct, kw_only=True, frozen=True):
    """What nova tells gateways of an enabled route."""

    id: UUID
    path: str
    methods: tuple[str, ...]
    function: str
    auth: str
    version: int
    policy: RoutePolicy = RoutePolicy()
    qualifier: str = ""
    is_sticky: bool = False

    @property
    def target(self) -> str:
        return target(self.function, self.qualifier)


class ServedDomainBody(Struct, kw_only=True, frozen=True):
    host: str
    tenant: str
    namespace: str
    is_suspended: bool
    routes: tuple[ServedRouteBody, ...]


class ServedDomains(Struct, kw_only=True, frozen=True):
    items: tuple[ServedDomainBody, ...]
    is_last: bool
