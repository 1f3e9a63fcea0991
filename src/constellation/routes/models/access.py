"""Bodies of keys, tenants and namespaces."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

ScopeName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
TierName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
ServiceAccountName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
RatePerS = Annotated[
    float,
    Meta(
        ge=0,
        le=1_000_000,
        description="calls of functions that it may make in a second; 0: as many as its tenant lets each key",
    ),
]
Burst = Annotated[
    int, Meta(ge=0, le=1_000_000, description="calls at once after a quiet time; 0: one second's worth, at least 1")
]


class ApiKeyCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A key for the caller's tenant. `namespace` "*" is every namespace of it; absent: the request's own.

    `role`: what it may; absent: operator. With `service_account` it acts as that one, and has its roles instead.
    `is_platform`: for every tenant; only a platform administrator may make one.
    """

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    role: str | UnsetType = UNSET
    service_account: ServiceAccountName | UnsetType = UNSET
    namespace: Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")] | UnsetType = UNSET
    expires_in_s: Annotated[int, Meta(ge=1, le=315_360_000)] | UnsetType = UNSET
    is_platform: bool = False
    rate_per_s: RatePerS = 0.0
    burst: Burst = 0


class ApiKeyUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change; fields that are absent stay. A `rate_per_s` of 0 lifts the limit, its burst with it."""

    enabled: bool | UnsetType = UNSET
    role: str | UnsetType = UNSET
    rate_per_s: RatePerS | UnsetType = UNSET
    burst: Burst | UnsetType = UNSET


class ApiKeyBody(Struct, kw_only=True, frozen=True):
    name: str
    tenant: str
    namespace: str
    role: str | None  # None: its service account's
    is_platform: bool
    enabled: bool
    expires_at: datetime | None
    rate_per_s: float  # calls of functions, on each comet; 0: as many as its tenant lets each key
    burst: int  # 0: one second's worth
    created_at: datetime
    service_account: str | None = None
    last_used_at: datetime | None = None  # to some minutes; None: never


class ApiKeyCreated(Struct, kw_only=True, frozen=True):
    """The only time the key itself is shown."""

    name: str
    tenant: str
    namespace: str
    role: str | None
    expires_at: datetime | None
    rate_per_s: float
    burst: int
    key: str
    service_account: str | None = None


class TenantCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    id: ScopeName
    name: Annotated[str, Meta(max_length=200)] = ""
    tier: TierName | UnsetType = UNSET  # absent: the usual one
    seed: Annotated[
        bool,
        Meta(
            description="it begins with the function hello-python and with the service accounts operator, invoker and viewer,"
            " which have the roles of these names"
        ),
    ] = False


class TenantUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    status: str | UnsetType = UNSET
    tier: TierName | UnsetType = UNSET


class TenantBody(Struct, kw_only=True, frozen=True):
    id: str
    name: str
    status: str
    tier: str  # whose limits it has, but for its own
    created_at: datetime
    updated_at: datetime


class NamespaceCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: ScopeName


class NamespaceBody(Struct, kw_only=True, frozen=True):
    tenant: str
    name: str
    created_at: datetime


class WhoAmI(Struct, kw_only=True, frozen=True):
    subject: str
    tenant: str
    namespace: str
    permissions: list[str]
    is_platform_admin: bool
    rate_per_s: float  # calls of functions that it may make, on each comet; 0: any number
    burst: int  # calls at once after a quiet time
