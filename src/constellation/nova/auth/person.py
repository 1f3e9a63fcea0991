"""Who an ID token says has logged in: pure, the signature was checked before."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime

from constellation.base.errors import ConstellationError, InvalidRequest, Unauthenticated
from constellation.nova.auth.claims import check_registered, claim_at, tenant_in, texts_at
from constellation.nova.config.oidc import Provider
from constellation.nova.domain.access import ANY
from constellation.nova.domain.names import DEFAULT_TENANT
from constellation.nova.domain.people import Person, check_user_name

SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")
_MAX_CLAIMED, _MAX_ROLES = 1000, 64
_DISPLAY_CHARACTERS = 200


class LoginRefused(ConstellationError):
    """A provider says who somebody is, and whoever that is has no business here."""

    code, http_status = "login_refused", 403

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(f"{provider}: {reason}", extras={"provider": provider})


def person_of(provider: Provider, claims: Mapping[str, object], *, nonce: str, now: datetime) -> Person:
    """Return who has logged in.

    Raises:
        Unauthenticated: the token is expired, of another login, for somebody else, or lacks what the mapping needs.
        LoginRefused: the configuration does not let this person in.
    """
    check_registered(claims, issuer=provider.issuer, audience=provider.client_id, now=now)
    check_party(provider, claims)
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise Unauthenticated("the token is of another login")
    subject = claims.get("sub")
    if not isinstance(subject, str) or SUBJECT.fullmatch(subject) is None:
        raise Unauthenticated("the token's claim sub names nobody")
    _check_email(provider, claims)
    tenant = provider.tenant or tenant_in(claims, provider.tenant_claim)
    return Person(
        provider=provider.name,
        issuer=provider.issuer,
        subject=subject,
        tenant=DEFAULT_TENANT if tenant == ANY else tenant,
        is_platform=tenant == ANY,
        name=_name(provider, claims),
        display_name=_display_name(claims),
        roles=_roles(provider, claims),
        sid=sid_in(claims),
    )


def check_party(provider: Provider, claims: Mapping[str, object]) -> None:
    """Let a token through that was made for us and nobody besides, or raise `Unauthenticated`."""
    party, audience = claims.get("azp"), claims.get("aud")
    if (party is not None or (isinstance(audience, list) and len(audience) > 1)) and party != provider.client_id:
        raise Unauthenticated("the token was made for another client")


def sid_in(claims: Mapping[str, object]) -> str:
    """Return what a provider calls its session; "": it does not say, or nothing that one can go by."""
    value = claims.get("sid")
    return value if isinstance(value, str) and SUBJECT.fullmatch(value) is not None else ""


def _check_email(provider: Provider, claims: Mapping[str, object]) -> None:
    """Refuse an address that counts for something and is not proven, or is elsewhere."""
    if not provider.email_domains and provider.name_claim != "email":
        return
    email = claims.get("email")
    if not isinstance(email, str):
        raise LoginRefused(
            provider.name, "it gives no email address; do its scopes and its client's settings have one?"
        )
    if not provider.trust_email and claims.get("email_verified") is not True:
        raise LoginRefused(provider.name, "it does not say that the email address is verified")
    if provider.email_domains and email.rpartition("@")[2].lower() not in provider.email_domains:
        raise LoginRefused(provider.name, f"only addresses of {', '.join(provider.email_domains)} are let in")


def _name(provider: Provider, claims: Mapping[str, object]) -> str:
    value = claim_at(claims, provider.name_claim)
    try:
        return check_user_name(value if isinstance(value, str) else "")
    except InvalidRequest as error:
        raise LoginRefused(provider.name, f"its claim {provider.name_claim} is no name of a user") from error


def _display_name(claims: Mapping[str, object]) -> str:
    value = claims.get("name")
    return value[:_DISPLAY_CHARACTERS] if isinstance(value, str) and value.isprintable() else ""


def _roles(provider: Provider, claims: Mapping[str, object]) -> tuple[str, ...]:
    claimed = texts_at(claims, provider.roles_claim)[:_MAX_CLAIMED]
    found = dict.fromkeys(provider.roles[text] for text in claimed if text in provider.roles)
    if not found and provider.default_role:
        found = {provider.default_role: None}
    return tuple(found)[:_MAX_ROLES]
