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
    expires_at_s = check_registered(claims, issuer=issuer.issuer, audience=issuer.audience, now=now)
    name = claims.get(issuer.subject_claim)
    if not isinstance(name, str) or _SUBJECT.fullmatch(name) is None:
        raise Unauthenticated(f"the token's claim {issuer.subject_claim} names nobody")
    tenant = issuer.tenant or tenant_in(claims, issuer.tenant_claim)
    is_platform = tenant == ANY
    return Claimed(
        subject=f"{'platform-jwt' if is_platform else 'jwt'}:{issuer.name}/{name}",
        tenant=tenant,
        home=DEFAULT_TENANT if is_platform else tenant,
        roles=_roles(issuer, claims),
        expires_at_s=expires_at_s + LEEWAY_S,
    )


def check_registered(claims: Mapping[str, object], *, issuer: str, audience: str, now: datetime) -> float:
    """Return when a token expires, in seconds since 1970.

    Raises:
        Unauthenticated: it is over, not yet valid, of another issuer, or for another audience.
    """
    now_s = now.timestamp()
    expires_at_s = time_in(claims, "exp")
    if expires_at_s is None:
        raise Unauthenticated("the token never expires: it needs exp")
    if expires_at_s + LEEWAY_S <= now_s:
        raise Unauthenticated("the token has expired")
    for claim in ("nbf", "iat"):
        begins_at_s = time_in(claims, claim)
        if begins_at_s is not None and begins_at_s - LEEWAY_S > now_s:
            raise Unauthenticated("the token is not valid yet")
    if claims.get("iss") != issuer:
        raise Unauthenticated("the token is another issuer's")
    found = claims.get("aud")
    if audience not in (found if isinstance(found, list) else [found]):
        raise Unauthenticated("the token is for another audience")
    return expires_at_s


def time_in(claims: Mapping[str, object], name: str) -> float | None:
    """Return the time that a claim says, in seconds since 1970; None without it. Raises `Unauthenticated`: it is none."""
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e11:
        raise Unauthenticated(f"the token's {name} is no time")
    return float(value)


def tenant_in(claims: Mapping[str, object], claim: str) -> str:
    """Return the tenant that a claim names, or raise `Unauthenticated`."""
    value = claim_at(claims, claim)
    try:
        return check_scope_name("tenant", value if isinstance(value, str) else "")
    except InvalidRequest as error:  # "*" too: no token makes itself the platform's
        raise Unauthenticated(f"the token's claim {claim} names no tenant") from error


def _roles(issuer: Issuer, claims: Mapping[str, object]) -> tuple[str, ...]:
    named = texts_at(claims, issuer.roles_claim)[:_MAX_ROLES]
    if issuer.roles:
        named = [issuer.roles[text] for text in named if text in issuer.roles]
    return tuple(dict.fromkeys(named))


def texts_at(claims: Mapping[str, object], path: str) -> list[str]:
    """Return the texts that a claim has: a list of them, or one with blanks between."""
    value = claim_at(claims, path)
    found = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for text in found if isinstance(text, str)]


def claim_at(claims: Mapping[str, object], path: str) -> object:
    """Return the claim of that name, or what a path of names with dots between them leads to."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
