from __future__ import annotations

import pytest

from constellation.base.errors import ScopeDenied, Unauthenticated
from constellation.nova.domain.access import Role
from constellation.nova.domain.grants import Principal
from constellation.zenith.doorman import credential_of
from constellation.zenith.errors import ScopeUnclear
from constellation.zenith.principals import wanted_scope


@pytest.mark.parametrize(
    ("api_key", "authorization", "text"),
    [
        (b"sk_a", None, "sk_a"),
        (b" sk_a ", None, "sk_a"),
        (None, b"ApiKey sk_a", "sk_a"),
        (None, b"apikey sk_a", "sk_a"),
        (None, b"Bearer sk_a", "sk_a"),
        (None, b"BEARER   sk_a", "sk_a"),
        (b"sk_a", b"Basic eDp5", "sk_a"),
    ],
)
def test_a_credential_is_found(api_key, authorization, text):
    assert credential_of(api_key, authorization).text == text


@pytest.mark.parametrize(
    ("api_key", "authorization"),
    [
        (b"", None),
        (b"   ", None),
        (b"x" * 8193, None),
        (b"sk_\xff", None),
        (b"sk a\x01", None),
        (None, b""),
        (None, b"Basic eDp5"),
        (None, b"Bearer"),
        (None, b"Bearer "),
        (None, b"sk_a"),
    ],
)
def test_a_credential_that_is_none_is_refused(api_key, authorization):
    with pytest.raises(Unauthenticated):
        credential_of(api_key, authorization)


def test_no_credential_is_no_refusal():
    assert credential_of(None, None) is None


def principal(tenant: str, namespace: str) -> Principal:
    return Principal.with_role(Role.ADMIN, subject="apikey:t", tenant=tenant, namespace=namespace)


@pytest.mark.parametrize(
    ("tenant", "namespace", "headers", "scope"),
    [
        ("*", "*", (b"", b""), ("default", "default")),
        ("*", "*", (b"acme", b""), ("acme", "default")),
        ("*", "*", (b"", b"prod"), ("default", "prod")),
        ("*", "*", (b"acme", b"prod"), ("acme", "prod")),
        ("acme", "prod", (b"", b""), ("acme", "prod")),
        ("acme", "prod", (b"acme", b""), ("acme", "prod")),
        ("acme", "prod", (b"acme", b"prod"), ("acme", "prod")),
        ("acme", "*", (b"acme", b""), ("acme", "default")),
        ("acme", "*", (b"", b"test"), ("acme", "test")),
        ("acme", "*", (b"", b""), ("acme", "default")),
    ],
)
def test_the_scope_follows_from_principal_and_headers(tenant, namespace, headers, scope):
    assert wanted_scope(principal(tenant, namespace), *headers) == scope


@pytest.mark.parametrize(
    ("tenant", "namespace", "headers", "error"),
    [
        ("acme", "prod", (b"other", b""), ScopeDenied),
        ("acme", "prod", (b"", b"other"), ScopeDenied),
        ("acme", "*", (b"other", b"prod"), ScopeDenied),
        ("*", "*", (b"no/body", b""), ScopeUnclear),
        ("*", "*", (b"", b"*"), ScopeUnclear),
        ("*", "*", (b"x" * 65, b""), ScopeUnclear),
        ("acme", "prod", ("äcme".encode(), b""), ScopeUnclear),
    ],
)
def test_a_scope_that_is_not_the_principals_is_refused(tenant, namespace, headers, error):
    with pytest.raises(error):
        wanted_scope(principal(tenant, namespace), *headers)
