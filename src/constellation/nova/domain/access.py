"""Who may do what: permissions, the roles that bundle them, and the one check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil

from constellation.base.errors import Forbidden, InvalidRequest

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
    STATE_READ = "state:read"
    STATE_WRITE = "state:write"
    TOPIC_READ = "topic:read"  # messages, subscriptions and deliveries too
    TOPIC_MANAGE = "topic:manage"
    TOPIC_PUBLISH = "topic:publish"


_GRANTABLE = frozenset(Permission) - {Permission.PUBLIC, Permission.AUTHENTICATED}


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    INVOKER = "invoker"
    VIEWER = "viewer"


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: _GRANTABLE,
    Role.OPERATOR: _GRANTABLE - {Permission.APIKEY_MANAGE, Permission.TENANT_MANAGE, Permission.CONFIG_READ},
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
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller that proved who it is. `tenant` or `namespace` "*" means any."""

    subject: str  # "apikey:ci", "platform-key:ops", "local:admin", "schedule:<id>"
    tenant: str
    namespace: str
    role: Role
    expires_at_s: float | None = None  # Unix time at which its credential ends
    rate_per_s: float = 0.0  # calls of functions that its credential may make; 0: any number
    burst: int = 0  # calls at once, after a quiet time; at least 1 with a rate

    def may_act_in(self, tenant: str, namespace: str) -> bool:
        return self.tenant in (ANY, tenant) and self.namespace in (ANY, namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One row of `api_keys`, without the hash; the key itself is nowhere."""

    tenant: str
    namespace: str  # "*": any of its tenant
    name: str
    role: Role
    is_platform: bool = False  # acts in any tenant
    enabled: bool = True
    expires_at: datetime | None = None
    rate_per_s: float = 0.0  # calls of functions, on each comet; 0: any number
    burst: int = 0  # calls at once, after a quiet time; 0: `burst_of` says how many
    version: int = 1  # of the row; moves with each change
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A principal acting in one tenant and namespace, for a minute; what planes pass to each other."""

    tenant: str
    namespace: str
    subject: str
    permissions: frozenset[Permission]
    is_platform_admin: bool  # may manage tenants other than its own
    expires_at_s: int  # Unix time
    rate_per_s: float = 0.0  # calls of functions by this subject; 0: any number
    burst: int = 0


def check_rate(*, rate_per_s: float, burst: int) -> None:
    """Let a rate and its burst through, or raise `InvalidRequest`: a burst limits nothing without a rate."""
    if burst and not rate_per_s:
        raise InvalidRequest(f"burst {burst} needs a rate_per_s above 0", field="burst")


def burst_of(*, rate_per_s: float, burst: int) -> int:
    """Return how many calls a rate lets through at once: what was set, else one second's worth, at least one."""
    if not rate_per_s:
        return 0
    return burst or max(ceil(rate_per_s), 1)


def authorize(identity: Identity, permission: Permission) -> None:
    """Let the identity through, or raise `Forbidden`."""
    if permission in (Permission.PUBLIC, Permission.AUTHENTICATED):
        return
    if permission not in identity.permissions:
        raise Forbidden(identity.subject, permission=permission.value)
