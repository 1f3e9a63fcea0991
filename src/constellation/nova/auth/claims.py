"""What a token's claims mean here: pure, the signature was checked before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from constellation.base.errors import InvalidRequest, Unauthenticated
from constellation.nova.config.issuers import Issuer
from constellation.nova.domain.access import ANY
from constellation.nova.domain.names import DEFAULT_TENANT, check_scope_name

LEEWAY_S = 30.0  # chosen: what two clocks may differ by
_SUBJECT = re.compile(r"[\x21-\x7e]{1,200}")
_MAX_ROLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Who a token says its bearer is."""

    subject: str
    tenant: str  # "*": any
    home: str  # where its roles and bindings are looked up
    roles: tuple[str, ...]
    expires_at_s: float


def claimed_by(issuer: Issuer, claims: Mapping[str, object], *, now: datetime) -> Claimed:
    """Return who the bearer is.

    Raises:
        Unauthenticated: the token is expired, not yet valid, for somebody else, or lacks what the mapping needs.
    """
    now_s = now.timestamp()
    expires_at_s = _time(claims, "exp")
    if expires_at_s is None:
        raise Unauthenticated("the token never expires: it needs exp")
    if expires_at_s + LEEWAY_S <= now_s:
        raise Unauthenticated("the token has expired")
    not_before_s = _time(claims, "nbf")
    if not_before_s is not None and not_before_s - LEEWAY_S > now_s:
        raise Unauthenticated("the token is not valid yet")
    if claims.get("iss") != issuer.issuer:
        raise Unauthenticated("the token is another issuer's")
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise Unauthenticated("the token is for another audience")
    name = claims.get(issuer.subject_claim)
    if not isinstance(name, str) or _SUBJECT.fullmatch(name) is None:
        raise Unauthenticated(f"the token's claim {issuer.subject_claim} names nobody")
    tenant = issuer.tenant or _tenant(claims, issuer.tenant_claim)
    is_platform = tenant == ANY
    return Claimed(
        subject=f"{'platform-jwt' if is_platform else 'jwt'}:{issuer.name}/{name}",
        tenant=tenant,
        home=DEFAULT_TENANT if is_platform else tenant,
        roles=_roles(issuer, claims),
        expires_at_s=expires_at_s + LEEWAY_S,
    )


def _time(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e11:
        raise Unauthenticated(f"the token's {name} is no time")
    return float(value)


def _tenant(claims: Mapping[str, object], claim: str) -> str:
    value = _at(claims, claim)
    try:
        return check_scope_name("tenant", value if isinstance(value, str) else "")
    except InvalidRequest as error:  # "*" too: no token makes itself the platform's
        raise Unauthenticated(f"the token's claim {claim} names no tenant") from error


def _roles(issuer: Issuer, claims: Mapping[str, object]) -> tuple[str, ...]:
    value = _at(claims, issuer.roles_claim)
    texts = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    named = [text for text in texts[:_MAX_ROLES] if isinstance(text, str)]
    if issuer.roles:
        named = [issuer.roles[text] for text in named if text in issuer.roles]
    return tuple(dict.fromkeys(named))


def _at(claims: Mapping[str, object], path: str) -> object:
    """Return the claim of that name, or what a path of names with dots between them leads to."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
