"""Bodies of logins, users, roles and bindings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.routes.models.access import ScopeName, ServiceAccountName

UserName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
RoleName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="built-in or the tenant's own")]
Password = Annotated[str, Meta(min_length=1, max_length=256)]
NewPassword = Annotated[str, Meta(min_length=8, max_length=256)]
Patterns = Annotated[list[str], Meta(max_length=32)]


class Login(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    user: UserName
    password: Password
    tenant: ScopeName = "default"


class LoggedInBody(Struct, kw_only=True, frozen=True):
    """The only time that the session's token is shown. It is a credential: `Authorization: Bearer TOKEN`."""

    token: str
    expires_at: datetime
    subject: str
    tenant: str


class LoginProviderBody(Struct, kw_only=True, frozen=True):
    name: str
    issuer: str


class LoginProviders(Struct, kw_only=True, frozen=True):
    providers: list[LoginProviderBody]


class OidcBegin(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`challenge`: the SHA-256, in base64url, of a secret that the program keeps and shows with the code.

    `port`: where the program waits on the browser's own machine (127.0.0.1); null: the browser shows the code.
    """

    challenge: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]
    port: Annotated[int, Meta(ge=1024, le=65535)] | None = None


class OidcBegun(Struct, kw_only=True, frozen=True):
    url: str  # for the browser
    expires_at: datetime


class OidcFinish(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The code that the browser brought, and the secret whose challenge began the login."""

    code: Annotated[str, Meta(min_length=1, max_length=4096)]
    verifier: Annotated[str, Meta(min_length=43, max_length=128)]


class OidcLogout(Struct, kw_only=True, frozen=True):
    """What a provider posts when one of its sessions is over (OpenID Connect Back-Channel Logout 1.0)."""

    logout_token: Annotated[str, Meta(min_length=1, max_length=32_768)]


class Done(Struct, kw_only=True, frozen=True):
    status: str


class LoggedOut(Struct, kw_only=True, frozen=True):
    """The session is over here. Who logged in at a provider may be logged in there still."""

    status: str
    logout_url: Annotated[
        str | None, Meta(description="where a browser ends the provider's session, too; null: there is no such place")
    ] = None


class PasswordChange(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The caller's own password. Its other sessions end."""

    current: Password
    new: NewPassword


class PasswordReset(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Another user's password. Its sessions end."""

    password: NewPassword


class SessionBody(Struct, kw_only=True, frozen=True):
    id: UUID
    address: str  # where the login came from
    is_current: bool
    created_at: datetime
    expires_at: datetime


class UserCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A user of the caller's tenant, who has `role` in all of it; null: none yet.

    It logs in with its `password`, or at a `provider` (`GET /auth/providers`) that calls it by this name.
    `is_platform`: acts in every tenant; only a platform administrator may make one.
    """

    name: UserName
    password: NewPassword | UnsetType = UNSET
    provider: Annotated[str, Meta(max_length=32)] | UnsetType = UNSET
    display_name: Annotated[str, Meta(max_length=200)] = ""
    role: RoleName | None = "viewer"
    is_platform: bool = False


class UserUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change; fields that are absent stay. Who is disabled is logged out everywhere."""

    display_name: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class UserBody(Struct, kw_only=True, frozen=True):
    name: str
    tenant: str
    subject: str  # how bindings call it
    display_name: str
    is_platform: bool
    enabled: bool
    created_at: datetime
    updated_at: datetime


class ServiceAccountCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An account for a program. It has no role and no key until it is given some."""

    name: ServiceAccountName
    description: Annotated[str, Meta(max_length=1000)] = ""


class ServiceAccountUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change; fields that are absent stay. No key of a disabled one is good."""

    description: Annotated[str, Meta(max_length=1000)] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class ServiceAccountBody(Struct, kw_only=True, frozen=True):
    name: str
    tenant: str
    subject: str  # how bindings call it
    description: str
    enabled: bool
    created_at: datetime
    updated_at: datetime


class PermissionBody(Struct, kw_only=True, frozen=True):
    """A permission, and the routes that ask for it."""

    permission: str
    routes: list[str]


class Permissions(Struct, kw_only=True, frozen=True):
    permissions: list[PermissionBody]


class LimitedPermissions(Struct, kw_only=True, frozen=True):
    """Permissions for the functions whose name fits a pattern of `only` and none of `never`."""

    permissions: list[str]
    only: list[str]
    never: list[str]


class MyPermissions(Struct, kw_only=True, frozen=True):
    """What the caller may do in this namespace."""

    subject: str
    tenant: str
    namespace: str
    permissions: list[str]  # for everything in the namespace
    limited: list[LimitedPermissions]
    tenant_wide: list[str]  # in every namespace of the tenant
    is_platform_admin: bool


class RoleCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    name: RoleName
    permissions: Annotated[list[str], Meta(max_length=256)]
    description: Annotated[str, Meta(max_length=1000)] = ""


class RoleUpdate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change; fields that are absent stay."""

    permissions: Annotated[list[str], Meta(max_length=256)] | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=1000)] | UnsetType = UNSET


class RoleBody(Struct, kw_only=True, frozen=True):
    name: str
    description: str
    permissions: list[str]
    is_builtin: bool


class BindingCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Gives a subject a role, or (`deny`) takes away what the role permits; a denial wins over whatever allows.

    `namespace` and `functions` are patterns: `*` any run of characters, `?` any one, `[a-c]` and `[!a-c]` sets.
    """

    subject: Annotated[
        str,
        Meta(
            max_length=300,
            description="user:NAME, service-account:NAME, apikey:NAME, jwt:ISSUER/NAME; of the platform's own platform-user:NAME, platform-key:NAME",
        ),
    ]
    role: RoleName
    effect: Literal["allow", "deny"] = "allow"
    namespace: Annotated[str, Meta(max_length=64)] = "*"
    functions: Patterns = []


class BindingBody(Struct, kw_only=True, frozen=True):
    id: UUID
    subject: str
    role: str
    effect: str
    namespace: str
    functions: list[str]
    created_by: str
    created_at: datetime
