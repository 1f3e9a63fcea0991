"""Whose tokens are trusted: `auth.issuers` of the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

ALGORITHMS = ("HS256", "RS256", "ES256")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_SOURCES = ("jwks_url", "jwks", "key", "secret")
_PATHS = ("jwks", "key", "secret")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One of `auth.issuers`: what its tokens must be, and what their claims mean here."""

    name: str  # its key in the configuration
    issuer: str  # what `iss` must be
    audience: str  # what `aud` must have
    algorithms: tuple[str, ...]
    jwks_url: str = ""
    jwks: str = ""  # a file with a key set
    key: str = ""  # a file with a public key, PEM
    secret: str = ""  # a file with a shared secret, for HS256
    tenant: str = ""  # whose its callers are; "*": the platform's
    tenant_claim: str = ""  # or which claim says it
    subject_claim: str = "sub"
    roles_claim: str = "roles"  # a path: realm_access.roles
    roles: Mapping[str, str] = field(default_factory=dict)  # claimed role -> role here; none: as they are


def issuers_of(value: object) -> tuple[Issuer, ...]:
    """Read the setting. Raises `ValueError` that says what is wrong, without any secret."""
    if isinstance(value, str):  # of the environment
        try:
            value = json.loads(value or "{}")
        except ValueError as error:
            raise ValueError("must be a JSON object of issuers by name") from error
    if not isinstance(value, dict):
        raise ValueError("must be an object of issuers by name")  # noqa: TRY004  # the loader's word for a wrong value
    return tuple(_issuer(name, facts) for name, facts in value.items())


def _issuer(name: str, facts: object) -> Issuer:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is no name: lower-case letters, digits, '_' and '-'")
    if not isinstance(facts, dict):
        raise ValueError(f"{name} must be an object")  # noqa: TRY004  # as above
    known = {f.name for f in fields(Issuer)} - {"name"}
    for key in facts:
        if key not in known:
            raise ValueError(f"{name}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    needed = [f.name for f in fields(Issuer) if f.default is MISSING and f.default_factory is MISSING]
    for key in needed[1:]:
        if not facts.get(key):
            raise ValueError(f"{name}: {key} is missing")
    given: dict[str, Any] = dict(facts)
    algorithms = given.pop("algorithms")
    if not isinstance(algorithms, list) or any(each not in ALGORITHMS for each in algorithms):
        raise ValueError(f"{name}: algorithms must be some of {', '.join(ALGORITHMS)}")
    roles = given.pop("roles", {})
    if not isinstance(roles, dict) or any(not isinstance(each, str) for each in roles.values()):
        raise ValueError(f"{name}: roles must say for each claimed role the one that it is here")
    for key, text in given.items():
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"{name}: {key} must be a text")
    _check(name, given, algorithms)
    return Issuer(name=name, algorithms=tuple(algorithms), roles=roles, **given)


def _check(name: str, given: Mapping[str, str], algorithms: list[str]) -> None:
    sources = [key for key in _KEY_SOURCES if given.get(key)]
    if len(sources) != 1:
        raise ValueError(f"{name}: needs exactly one of {', '.join(_KEY_SOURCES)}")
    # One kind of key, one kind of algorithm: a public key must never be taken for a shared secret.
    if ("HS256" in algorithms) != (sources == ["secret"]) or (len(algorithms) > 1 and "HS256" in algorithms):
        raise ValueError(f"{name}: HS256 goes with secret and nothing else, and secret with HS256")
    for key in _PATHS:
        if given.get(key) and not given[key].startswith("/"):
            raise ValueError(f"{name}: {key} must be an absolute path of a file")
    if given.get("jwks_url"):
        url = urlsplit(given["jwks_url"])
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise ValueError(f"{name}: jwks_url must begin with https://")
    if bool(given.get("tenant")) == bool(given.get("tenant_claim")):
        raise ValueError(f"{name}: needs either tenant or tenant_claim")
    if given.get("tenant") and given["tenant"] != "*" and not SCOPE.fullmatch(given["tenant"]):
        raise ValueError(f"{name}: tenant must be a tenant's id, or * for the platform")
