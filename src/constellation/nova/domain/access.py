"""Who may do what: permissions, the roles that bundle them, and the one check.

A caller's grants (`grants`) are settled once for a namespace; the check afterwards is a look into a set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import ceil

from constellation.base.errors import Forbidden, InvalidRequest
from constellation.nova.domain.globs import fits_any

ANY = "*"


class Permission(StrEnum):
    """What a route asks of its caller; each route declares exactly one."""

    PUBLIC = "public"  # nobody is asked who they are
    AUTHENTICATED = "authenticated"  # any valid credential
    FUNCTION_CREATE = "function:create"
    FUNCTION_READ = "function:read"
    FUNCTION_UPDATE = "function:update"
    FUNCTION_DELETE = "function:delete"
    FUNCTION_INVOKE = "function:invoke"
    RUNTIME_READ = "runtime:read"
    SCHEDULE_MANAGE = "schedule:manage"
    APIKEY_MANAGE = "apikey:manage"
    TENANT_READ = "tenant:read"
    TENANT_MANAGE = "tenant:manage"
    SANDBOX_READ = "sandbox:read"
    SANDBOX_USE = "sandbox:use"  # make them, run in them, end them
    LOG_READ = "log:read"
    METRICS_READ = "metrics:read"
    CONFIG_READ = "config:read"
    CONFIG_WRITE = "config:write"  # settings of the platform, and of tenants
    STATE_READ = "state:read"
    STATE_WRITE = "state:write"
    TOPIC_READ = "topic:read"  # messages, subscriptions and deliveries too
    TOPIC_MANAGE = "topic:manage"
    TOPIC_PUBLISH = "topic:publish"
    USER_MANAGE = "user:manage"
    RBAC_MANAGE = "rbac:manage"  # roles, and who has them
    AUDIT_READ = "audit:read"
    SECRET_READ = "secret:read"  # noqa: S105  # names, never values
    SECRET_MANAGE = "secret:manage"  # noqa: S105
    AI_USE = "ai:use"  # ask the model; what it is shown needs its own permission
    NOTIFICATION_READ = "notification:read"
    LAYER_READ = "layer:read"
    LAYER_MANAGE = "layer:manage"
    DATABASE_READ = "database:read"  # and the log of what functions asked of them
    DATABASE_MANAGE = "database:manage"
    VOLUME_READ = "volume:read"
    VOLUME_MANAGE = "volume:manage"
    GATEWAY_READ = "gateway:read"
    GATEWAY_MANAGE = "gateway:manage"  # domains, and the routes under them


GRANTABLE = frozenset(Permission) - {Permission.PUBLIC, Permission.AUTHENTICATED}
# What concerns a tenant as a whole: nobody has it by a grant in some namespaces.
TENANT_WIDE = frozenset({Permission.TENANT_MANAGE, Permission.USER_MANAGE, Permission.RBAC_MANAGE})


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    INVOKER = "invoker"
    VIEWER = "viewer"


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: GRANTABLE,
    Role.OPERATOR: GRANTABLE
    - TENANT_WIDE
    - {Permission.APIKEY_MANAGE, Permission.CONFIG_READ, Permission.CONFIG_WRITE, Permission.AUDIT_READ},
    Role.INVOKER: frozenset(
        {Permission.FUNCTION_READ, Permission.FUNCTION_INVOKE, Permission.LOG_READ, Permission.TOPIC_PUBLISH}
    ),
    Role.VIEWER: frozenset(
        {
            Permission.FUNCTION_READ,
            Permission.RUNTIME_READ,
            Permission.SANDBOX_READ,
            Permission.LOG_READ,
            Permission.METRICS_READ,
            Permission.STATE_READ,
            Permission.TOPIC_READ,
            Permission.GATEWAY_READ,
            Permission.NOTIFICATION_READ,
            Permission.LAYER_READ,
            Permission.VOLUME_READ,
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One row of `api_keys`, without the hash; the key itself is nowhere."""

    tenant: str
    namespace: str  # "*": any of its tenant
    name: str
    role: str | None  # a built-in one, or one of its tenant's; None: it acts as its service account
    is_platform: bool = False  # acts in any tenant
    enabled: bool = True
    expires_at: datetime | None = None
    rate_per_s: float = 0.0  # calls of functions, on each comet; 0: any number
    burst: int = 0  # calls at once, after a quiet time; 0: `burst_of` says how many
    version: int = 1  # of the row; moves with each change
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None
    service_account: str | None = None  # whom it acts as, with that one's roles
    last_used_at: datetime | None = None  # to some minutes

    @property
    def subject(self) -> str:
        """Who acts with it: a tenant may use the name of a platform's key."""
        if self.service_account is not None:
            return f"service-account:{self.service_account}"
        return f"{'platform-key' if self.is_platform else 'apikey'}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Permissions that are held for some functions of a namespace only: whose name fits `only` and does not fit `never`."""

    permissions: frozenset[Permission]
    only: tuple[str, ...]
    never: tuple[str, ...] = ()

    def lets(self, permission: Permission, function: str) -> bool:
        return permission in self.permissions and fits_any(self.only, function) and not fits_any(self.never, function)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A principal acting in one tenant and namespace, for a minute; what planes pass to each other."""

    tenant: str
    namespace: str
    subject: str
    permissions: frozenset[Permission]  # held for everything in the namespace
    is_platform_admin: bool  # may manage tenants other than its own
    expires_at_s: int  # Unix time
    rate_per_s: float = 0.0  # calls of functions by this subject; 0: any number
    burst: int = 0
    limits: tuple[Limit, ...] = ()
    tenant_wide: frozenset[Permission] = frozenset()  # of the permissions: held in every namespace of the tenant
    session: str = ""  # the id of the session that it came with

    def may(self, permission: Permission, function: str | None = None) -> bool:
        """Tell whether it holds a permission, for one function or (None) for everything in its namespace."""
        if permission in self.permissions:
            return True
        return function is not None and any(limit.lets(permission, function) for limit in self.limits)

    def limit_of(self, permission: Permission) -> Limit | None:
        """Return which functions it holds a permission for; None: for all, or for none."""
        return next((limit for limit in self.limits if permission in limit.permissions), None)

    def may_for_some(self, permission: Permission) -> bool:
        """Tell whether there could be a function that it holds the permission for."""
        return permission in self.permissions or any(permission in limit.permissions for limit in self.limits)


def check_rate(*, rate_per_s: float, burst: int) -> None:
    """Let a rate and its burst through, or raise `InvalidRequest`: a burst limits nothing without a rate."""
    if burst and not rate_per_s:
        raise InvalidRequest(f"burst {burst} needs a rate_per_s above 0", field="burst")


def lowered(key: ApiKey, *, most_per_s: float, most_burst: int) -> ApiKey:
    """Return a key as it may be used where no key may make more than `most_per_s` calls; 0: any number."""
    if not most_per_s:
        return key
    most = burst_of(rate_per_s=most_per_s, burst=most_burst)
    if not key.rate_per_s:
        return replace(key, rate_per_s=most_per_s, burst=most)
    own = burst_of(rate_per_s=key.rate_per_s, burst=key.burst)
    return replace(key, rate_per_s=min(key.rate_per_s, most_per_s), burst=min(own, most))


def burst_of(*, rate_per_s: float, burst: int) -> int:
    """Return how many calls a rate lets through at once: what was set, else one second's worth, at least one."""
    if not rate_per_s:
        return 0
    return burst or max(ceil(rate_per_s), 1)


def authorize(identity: Identity, permission: Permission, function: str | None = None) -> None:
    """Let the identity through, or raise `Forbidden`. `function`: the one that it is about; None: about none by name."""
    if permission in (Permission.PUBLIC, Permission.AUTHENTICATED) or identity.may(permission, function):
        return
    raise Forbidden(identity.subject, permission=permission.value)
