"""Identity tokens: minted once a principal and scope, signed, good for a minute (architecture section 8)."""

from __future__ import annotations

import msgspec

from constellation.base.errors import Unauthenticated
from constellation.base.signing import sign, unsign
from constellation.nova.domain.access import ANY, Identity, Limit, Permission
from constellation.nova.domain.grants import Principal, rights_in

IDENTITY_TTL_S = 60


class _Claims(msgspec.Struct, array_like=True, frozen=True):
    tenant: str
    namespace: str
    subject: str
    permissions: list[str]
    is_platform_admin: bool
    expires_at_s: int
    rate_per_s: float = 0.0
    burst: int = 0
    limits: list[tuple[list[str], tuple[str, ...], tuple[str, ...]]] = []  # permissions, only, never
    tenant_wide: list[str] | None = None  # None: all of the permissions
    session: str = ""


def identity_of(principal: Principal, *, tenant: str, namespace: str, now_s: float) -> Identity:
    """Return the principal's identity in one scope. The caller has checked `may_act_in`."""
    rights = rights_in(namespace, principal.grants, is_bound=principal.namespace != ANY)
    return Identity(
        tenant=tenant,
        namespace=namespace,
        subject=principal.subject,
        permissions=rights.permissions,
        limits=rights.limits,
        tenant_wide=rights.tenant_wide,
        session=principal.session,
        is_platform_admin=principal.tenant == ANY,
        expires_at_s=int(now_s) + IDENTITY_TTL_S,
        rate_per_s=principal.rate_per_s,
        burst=principal.burst,
    )


def mint(key: bytes, identity: Identity) -> str:
    """Return the token that carries an identity between planes."""
    claims = _Claims(
        identity.tenant,
        identity.namespace,
        identity.subject,
        sorted(identity.permissions),
        identity.is_platform_admin,
        identity.expires_at_s,
        identity.rate_per_s,
        identity.burst,
        [(sorted(limit.permissions), limit.only, limit.never) for limit in identity.limits],
        None if identity.tenant_wide == identity.permissions else sorted(identity.tenant_wide),
        identity.session,
    )
    return sign(key, msgspec.json.encode(claims))


def verify(key: bytes, token: str, *, now_s: float) -> Identity:
    """Return the identity inside a token of ours.

    Raises:
        Unauthenticated: the token was not signed with `key`, is malformed, or has expired.
    """
    payload = unsign(key, token)
    if payload is None:
        raise Unauthenticated("the identity token is not ours")
    try:
        claims = msgspec.json.decode(payload, type=_Claims)
        permissions = _permissions(claims.permissions)
        limits = tuple(
            Limit(permissions=_permissions(held), only=only, never=never) for held, only, never in claims.limits
        )
        tenant_wide = permissions if claims.tenant_wide is None else _permissions(claims.tenant_wide)
    except (msgspec.DecodeError, ValueError) as error:
        raise Unauthenticated("the identity token is malformed") from error
    if claims.expires_at_s < now_s:
        raise Unauthenticated("the identity token has expired")
    return Identity(
        tenant=claims.tenant,
        namespace=claims.namespace,
        subject=claims.subject,
        permissions=permissions,
        is_platform_admin=claims.is_platform_admin,
        expires_at_s=claims.expires_at_s,
        rate_per_s=claims.rate_per_s,
        burst=claims.burst,
        limits=limits,
        tenant_wide=tenant_wide,
        session=claims.session,
    )


def _permissions(texts: list[str]) -> frozenset[Permission]:
    return frozenset(map(Permission, texts))


class VerifiedTokens:
    """Verifies each token once and then knows it by its bytes. Bounded; the oldest is forgotten first."""

    def __init__(self, key: bytes, *, capacity: int = 4096) -> None:
        self._key, self._capacity = key, capacity
        self._known: dict[str, Identity] = {}

    def identity(self, token: str, *, now_s: float) -> Identity:
        """Return the token's identity, or raise `Unauthenticated`."""
        known = self._known.get(token)
        if known is None:
            known = verify(self._key, token, now_s=now_s)
            while len(self._known) >= self._capacity:
                self._known.pop(next(iter(self._known)))
            self._known[token] = known
        elif known.expires_at_s < now_s:
            del self._known[token]
            raise Unauthenticated("the identity token has expired")
        return known
