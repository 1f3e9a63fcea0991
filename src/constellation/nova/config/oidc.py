"""Where people log in besides here: `auth.oidc` of the configuration, providers of OpenID Connect by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from constellation.nova.config.issuers import ALGORITHMS, LOOPBACK, NAME, SCOPE

_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
_NEEDED = ("issuer", "client_id")
_LISTS = ("algorithms", "email_domains")
_FLAGS = ("create_users", "trust_email")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One of `auth.oidc`: who says there who somebody is, and what that means here."""

    name: str  # its key in the configuration
    issuer: str  # its discovery document is below
    client_id: str
    client_secret: str = ""  # a file; none: a public client
    scopes: str = "openid email profile"
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    tenant: str = ""  # whose users they are; "*": the platform's
    tenant_claim: str = ""  # or which claim says it
    name_claim: str = "email"  # what a user is called here
    roles_claim: str = "groups"  # a path: realm_access.roles
    roles: Mapping[str, str] = field(
        default_factory=dict
    )  # claimed -> role here; what is not among them counts nothing
    default_role: str = ""  # of whom no claim gives a role
    email_domains: tuple[str, ...] = ()  # who has an address elsewhere is refused; none: anybody is let in
    create_users: bool = False  # at their first login; else only those that are expected
    post_logout_redirect_uri: str = ""  # where it sends browsers after a logout; registered there
    trust_email: bool = False  # addresses are proven though nothing says so (`email_verified`)

    @property
    def host(self) -> str:
        return urlsplit(self.issuer).hostname or ""


def providers_of(value: object) -> tuple[Provider, ...]:
    """Read the setting. Raises `ValueError` that says what is wrong, without any secret."""
    if isinstance(value, str):  # of the environment
        try:
            value = json.loads(value or "{}")
        except ValueError as error:
            raise ValueError("must be a JSON object of providers by name") from error
    if not isinstance(value, dict):
        raise ValueError("must be an object of providers by name")  # noqa: TRY004  # the loader's word for a wrong value
    return tuple(_provider(name, facts) for name, facts in value.items())


def _provider(name: str, facts: object) -> Provider:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is no name: lower-case letters, digits, '_' and '-'")
    if not isinstance(facts, dict):
        raise ValueError(f"{name} must be an object")  # noqa: TRY004  # as above
    known = {f.name for f in fields(Provider)} - {"name"}
    for key, value in facts.items():
        if key not in known:
            raise ValueError(f"{name}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        _check_kind(name, key, value)
    for key in _NEEDED:
        if not facts.get(key):
            raise ValueError(f"{name}: {key} is missing")
    given: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in facts.items()}
    made = Provider(name=name, **given)
    _check(made)
    return made


def _check_kind(name: str, key: str, value: object) -> None:
    if key in _LISTS:
        if not isinstance(value, list) or any(not isinstance(each, str) for each in value):
            raise ValueError(f"{name}: {key} must be a list of texts")
    elif key in _FLAGS:
        if not isinstance(value, bool):
            raise ValueError(f"{name}: {key} must be true or false")
    elif key == "roles":
        if not isinstance(value, dict) or any(not isinstance(each, str) for each in value.values()):
            raise ValueError(f"{name}: roles must say for each claimed role the one that it is here")
    elif not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{name}: {key} must be a text")


def _check(made: Provider) -> None:
    name, url = made.name, urlsplit(made.issuer)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise ValueError(f"{name}: issuer must begin with https://")
    if url.query or url.fragment or not url.hostname:
        raise ValueError(f"{name}: issuer must be an address without ? and #")
    back = urlsplit(made.post_logout_redirect_uri)
    if made.post_logout_redirect_uri and (
        (back.scheme != "https" and not (back.scheme == "http" and back.hostname in LOOPBACK)) or back.fragment
    ):
        raise ValueError(f"{name}: post_logout_redirect_uri must begin with https:// and have no #")
    if made.client_secret and not made.client_secret.startswith("/"):
        raise ValueError(f"{name}: client_secret must be an absolute path of a file")
    if "openid" not in made.scopes.split():
        raise ValueError(f"{name}: scopes must have openid")
    # A shared secret is none that both of us would have: HS256 would let whoever knows the client's secret sign.
    if not made.algorithms or any(each not in ALGORITHMS or each == "HS256" for each in made.algorithms):
        raise ValueError(f"{name}: algorithms must be some of {', '.join(ALGORITHMS[1:])}")
    if bool(made.tenant) == bool(made.tenant_claim):
        raise ValueError(f"{name}: needs either tenant or tenant_claim")
    if made.tenant and made.tenant != "*" and not SCOPE.fullmatch(made.tenant):
        raise ValueError(f"{name}: tenant must be a tenant's id, or * for the platform")
    for domain in made.email_domains:
        if not _DOMAIN.fullmatch(domain):
            raise ValueError(f"{name}: email_domains: {domain[:60]!r} is no domain in lower case")
