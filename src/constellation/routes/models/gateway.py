"""Bodies of custom domains and their routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

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
FunctionName = Annotated[str, Meta(min_length=1, max_length=64)]
AuthName = Annotated[
    Literal["none", "api_key", "any"],
    Meta(
        description="none: everybody is served; api_key, any: whoever has a key, or any credential, that may invoke here"
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
    function: FunctionName
    methods: Methods = ()
    auth: AuthName = "api_key"
    enabled: bool = True


class GatewayRouteUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`version`: of the route that is to be changed; another one is a conflict."""

    path: Path | UnsetType = UNSET
    function: FunctionName | UnsetType = UNSET
    methods: Methods | UnsetType = UNSET
    auth: AuthName | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
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
    version: int
    created_at: datetime
    updated_at: datetime


class ServedRouteBody(Struct, kw_only=True, frozen=True):
    """What nova tells gateways of an enabled route."""

    id: UUID
    path: str
    methods: tuple[str, ...]
    function: str
    auth: str
    version: int


class ServedDomainBody(Struct, kw_only=True, frozen=True):
    host: str
    tenant: str
    namespace: str
    is_suspended: bool
    routes: tuple[ServedRouteBody, ...]


class ServedDomains(Struct, kw_only=True, frozen=True):
    items: tuple[ServedDomainBody, ...]
    is_last: bool
