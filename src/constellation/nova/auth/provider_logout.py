"""What a logout token of a provider means (OpenID Connect Back-Channel Logout 1.0): pure, the signature was checked before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from constellation.base.errors import Unauthenticated
from constellation.nova.auth.claims import check_registered, time_in
from constellation.nova.auth.person import SUBJECT, check_party, sid_in
from constellation.nova.config.oidc import Provider
from constellation.nova.domain.people import ProviderLogout

_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_MAX_LIFE_S = 3600.0  # chosen: of a message that is acted on when it comes; providers say two minutes
TYPES = frozenset({"", "jwt", "logout+jwt"})  # of its header, where it has one


def logout_of(provider: Provider, claims: Mapping[str, object], *, now: datetime) -> ProviderLogout:
    """Return which sessions are over.

    Raises:
        Unauthenticated: the token is expired, for somebody else, or none of a logout.
    """
    expires_at_s = check_registered(claims, issuer=provider.issuer, audience=provider.client_id, now=now)
    check_party(provider, claims)
    issued_at_s = time_in(claims, "iat")
    if issued_at_s is None or not 0 <= expires_at_s - issued_at_s <= _MAX_LIFE_S:
        raise Unauthenticated("a logout token says when it was issued, and is good for an hour at most")
    if not isinstance(claims.get("jti"), str) or not claims["jti"]:
        raise Unauthenticated("a logout token has a jti")
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(_EVENT), Mapping):
        raise Unauthenticated("the token tells of no logout")
    if "nonce" in claims:  # else an ID token could be taken for it
        raise Unauthenticated("a logout token has no nonce")
    subject, sid = claims.get("sub", ""), sid_in(claims)
    if (
        not isinstance(subject, str)
        or (subject and SUBJECT.fullmatch(subject) is None)
        or ("sid" in claims and not sid)
    ):
        raise Unauthenticated("the token's sub or sid names nobody")
    if not subject and not sid:
        raise Unauthenticated("a logout token has sub or sid")
    return ProviderLogout(
        provider=provider.name, issuer=provider.issuer, subject=subject, sid=sid, issued_at_s=issued_at_s
    )
