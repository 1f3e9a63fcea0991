"""Users, their sessions, roles of a tenant's own, and who has which role."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.access import GRANTABLE, ROLE_PERMISSIONS, Permission, Role
from constellation.nova.domain.grants import Effect

_USER = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")
_ROLE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SUBJECT = re.compile(r"(?P<kind>[a-z-]+):(?P<name>[\x21-\x7e]{1,255})")
SUBJECT_KINDS = ("user", "platform-user", "service-account", "apikey", "platform-key", "jwt", "platform-jwt")
PASSWORD_CHARACTERS = (8, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One row of `users`, without the password's hash."""

    tenant: str
    name: str
    display_name: str
    is_platform: bool  # acts in any tenant
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def subject(self) -> str:
        return user_subject(self.name, is_platform=self.is_platform)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody as a provider of OpenID Connect tells of it, and what the configuration makes of that."""

    provider: str  # its name in the configuration
    issuer: str
    subject: str  # what the issuer calls it, for ever
    tenant: str
    is_platform: bool
    name: str  # of the user that it is, or would be
    display_name: str
    roles: tuple[str, ...]
    sid: str = ""  # what the issuer calls its own session of this login; "": it does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSession:
    """One row of `provider_sessions`: what one of our sessions is at the provider where its user logged in."""

    tenant: str
    id: UUID  # of our session
    user_name: str
    provider: str  # its name in the configuration
    issuer: str
    subject: str
    sid: str
    id_token: str  # sealed
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLogout:
    """Which sessions a provider says are over: the one of `sid`, or all of `subject`; one of them is there."""

    provider: str
    issuer: str
    subject: str
    sid: str
    issued_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """A session as it is looked up by its token, and what is known of its user."""

    tenant: str
    id: UUID
    user_name: str
    is_platform: bool
    enabled: bool
    expires_at: datetime

    def is_usable(self, *, now: datetime) -> bool:
        return self.enabled and self.expires_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """A session as its user sees it."""

    id: UUID
    address: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """One row of `service_accounts`."""

    tenant: str
    name: str
    description: str
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def subject(self) -> str:
        return service_account_subject(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRole:
    """One row of `roles`."""

    tenant: str
    name: str
    description: str
    permissions: frozenset[Permission]
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One row of `role_bindings`: a subject has a role in some namespaces, for some functions, or is denied it."""

    tenant: str
    id: UUID
    subject: str
    role: str
    effect: Effect
    namespace: str  # a pattern
    functions: tuple[str, ...]  # patterns; (): all
    created_by: str
    created_at: datetime | None = None  # None until the row is written

    @property
    def is_platforms(self) -> bool:
        """Whether it is about who acts in any tenant."""
        return self.subject.startswith("platform-")


def user_subject(name: str, *, is_platform: bool) -> str:
    """Return how a user is called in identities and bindings; a tenant may use a platform user's name."""
    return f"{'platform-user' if is_platform else 'user'}:{name}"


def service_account_subject(name: str) -> str:
    """Return how a service account is called in identities and bindings."""
    return f"service-account:{name}"


def session_ref(tenant: str, session: UUID) -> str:
    """Return how a session is called in identities and changes."""
    return f"{tenant}/{session}"


def session_of(ref: str) -> tuple[str, UUID]:
    """Return the home tenant and the id of a session that an identity came with."""
    tenant, _, session = ref.partition("/")
    return tenant, UUID(session)


def user_of(subject: str) -> str | None:
    """Return the name of the user that a subject is, None for what is no user."""
    kind, _, name = subject.partition(":")
    return name if kind in ("user", "platform-user") else None


def check_user_name(name: str) -> str:
    """Return a user's name in lower case, or raise `InvalidRequest`."""
    lowered = name.strip().lower()
    if _USER.fullmatch(lowered) is None:
        raise InvalidRequest(
            f"name {name[:80]!r} must be 1 to 128 of letters, digits, '.', '_', '@', '+' and '-', "
            "beginning with a letter or digit",
            field="name",
        )
    return lowered


def check_password(password: str, *, user: str, field: str = "password") -> str:
    """Return a new password, or raise `InvalidRequest`; what is wrong is said without repeating it."""
    low, high = PASSWORD_CHARACTERS
    if not low <= len(password) <= high:
        raise InvalidRequest(f"{field} must have {low} to {high} characters", field=field)
    if password.lower() == user:
        raise InvalidRequest(f"{field} must not be the user's name", field=field)
    return password


def check_role_name(name: str) -> str:
    """Return the name of a new role, or raise `InvalidRequest`."""
    if _ROLE.fullmatch(name) is None:
        raise InvalidRequest(
            f"name {name[:80]!r} must be 1 to 64 of lower-case letters, digits, '_' and '-', "
            "beginning with a letter or digit",
            field="name",
        )
    if name in list(Role):
        raise InvalidRequest(f"{name} is a built-in role: choose another name", field="name")
    return name


def check_permissions(texts: list[str]) -> frozenset[Permission]:
    """Return permissions by name, or raise `InvalidRequest` for one that there is not."""
    for text in texts:
        if text not in GRANTABLE:
            raise InvalidRequest(
                f"there is no permission {text[:80]!r}; GET /rbac/permissions lists them", field="permissions"
            )
    if not texts:
        raise InvalidRequest("permissions must not be empty", field="permissions")
    return frozenset(map(Permission, texts))


def check_subject(subject: str) -> str:
    """Return whom a binding is for, or raise `InvalidRequest`."""
    found = _SUBJECT.fullmatch(subject)
    if found is None or found["kind"] not in SUBJECT_KINDS:
        raise InvalidRequest(
            f"subject {subject[:80]!r} must be one of {', '.join(f'{kind}:NAME' for kind in SUBJECT_KINDS)}",
            field="subject",
        )
    return subject


def role_permissions(role: str, own: frozenset[Permission] | None) -> frozenset[Permission]:
    """Return what a role permits: a built-in one, or `own`, the tenant's of that name; None: nobody has such a role."""
    if role in list(Role):
        return ROLE_PERMISSIONS[Role(role)]
    return own or frozenset()


def known_permissions(texts: list[str]) -> frozenset[Permission]:
    """Return those of some stored names that this release knows: one of a newer release grants nothing here."""
    return frozenset(Permission(text) for text in texts if text in GRANTABLE)
