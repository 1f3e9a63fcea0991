"""Deny wins, whatever its source; what is limited to some functions holds for no others."""

from __future__ import annotations

import pytest

from constellation.base.errors import Forbidden, InvalidRequest
from constellation.nova.domain.access import ANY, ROLE_PERMISSIONS, TENANT_WIDE, Permission, Role, authorize
from constellation.nova.domain.globs import check_globs, fits
from constellation.nova.domain.grants import Effect, Grant, Principal
from constellation.nova.domain.identity import identity_of, mint, verify
from constellation.nova.domain.scope import check_confers, check_outranks

P = Permission
KEY = b"k" * 32


def grant(role: Role, *, deny: bool = False, namespace: str = ANY, functions: tuple[str, ...] = ()) -> Grant:
    effect = Effect.DENY if deny else Effect.ALLOW
    return Grant(permissions=ROLE_PERMISSIONS[role], effect=effect, namespace=namespace, functions=functions)


def identity(*grants: Grant, namespace: str = "dev", bound: bool = False):
    principal = Principal(subject="user:ann", tenant="acme", namespace=namespace if bound else ANY, grants=grants)
    return identity_of(principal, tenant="acme", namespace=namespace, now_s=0)


def may(who, permission: Permission, function: str | None = None) -> bool:
    try:
        authorize(who, permission, function)
    except Forbidden:
        return False
    return True


def test_nothing_is_granted_by_nothing():
    who = identity()
    assert not any(may(who, permission) for permission in ROLE_PERMISSIONS[Role.ADMIN])
    assert may(who, P.AUTHENTICATED)


def test_grants_add_up():
    who = identity(grant(Role.VIEWER), grant(Role.INVOKER, functions=("pay-*",)))
    assert may(who, P.METRICS_READ)
    assert may(who, P.FUNCTION_READ)
    assert may(who, P.FUNCTION_INVOKE, "pay-out")
    assert not may(who, P.FUNCTION_INVOKE, "play")
    assert not may(who, P.FUNCTION_INVOKE)  # of whatever has no function's name
    assert who.may_for_some(P.FUNCTION_INVOKE)


@pytest.mark.parametrize("order", [1, -1])
def test_deny_wins_over_any_allow(order):
    who = identity(*[grant(Role.ADMIN), grant(Role.INVOKER, deny=True)][::order])
    assert not may(who, P.FUNCTION_INVOKE, "f")
    assert not may(who, P.LOG_READ)
    assert may(who, P.FUNCTION_DELETE, "f")


def test_a_denial_of_some_functions_leaves_the_others():
    who = identity(grant(Role.OPERATOR), grant(Role.INVOKER, deny=True, functions=("pay-*", "x?")))
    assert may(who, P.FUNCTION_INVOKE, "hello")
    assert not may(who, P.FUNCTION_INVOKE, "pay-out")
    assert not may(who, P.FUNCTION_INVOKE, "xy")
    assert not may(who, P.FUNCTION_INVOKE)  # it could be about a denied one
    assert may(who, P.FUNCTION_UPDATE, "pay-out")


def test_grants_hold_in_the_namespaces_that_fit():
    grants = (
        grant(Role.OPERATOR, namespace="dev-*"),
        grant(Role.VIEWER),
        grant(Role.VIEWER, deny=True, namespace="prod"),
    )
    assert may(identity(*grants, namespace="dev-a"), P.FUNCTION_UPDATE)
    assert not may(identity(*grants, namespace="test"), P.FUNCTION_UPDATE)
    assert may(identity(*grants, namespace="test"), P.FUNCTION_READ)
    assert not may(identity(*grants, namespace="prod"), P.FUNCTION_READ)


def test_the_tenant_is_managed_by_who_has_all_of_it_only():
    for who in (
        identity(grant(Role.ADMIN, namespace="dev")),
        identity(grant(Role.ADMIN, functions=("*",))),
        identity(grant(Role.ADMIN), bound=True),
        identity(grant(Role.ADMIN), grant(Role.ADMIN, deny=True, namespace="other")),
    ):
        assert not any(may(who, permission, "f") for permission in TENANT_WIDE - {P.FUNCTION_READ})
    assert all(may(identity(grant(Role.ADMIN)), permission) for permission in TENANT_WIDE)


@pytest.mark.parametrize(
    "grants",
    [
        (),
        (grant(Role.ADMIN),),
        (grant(Role.VIEWER), grant(Role.OPERATOR, namespace="dev"), grant(Role.INVOKER, deny=True, functions=("a*",))),
    ],
)
def test_rights_survive_the_token(grants):
    who = identity(*grants)
    assert verify(KEY, mint(KEY, who), now_s=1) == who


def test_nobody_gives_what_it_has_not():
    operator = identity(grant(Role.OPERATOR), Grant(permissions=frozenset({P.RBAC_MANAGE})))
    check_confers(operator, ROLE_PERMISSIONS[Role.INVOKER], namespace=ANY)
    with pytest.raises(Forbidden):
        check_confers(operator, ROLE_PERMISSIONS[Role.ADMIN], namespace=ANY)
    of_dev = identity(grant(Role.OPERATOR, namespace="dev"))
    check_confers(of_dev, ROLE_PERMISSIONS[Role.VIEWER], namespace="dev")
    for namespace in ("prod", "d*", ANY):
        with pytest.raises(Forbidden):
            check_confers(of_dev, ROLE_PERMISSIONS[Role.VIEWER], namespace=namespace)
    limited = identity(grant(Role.OPERATOR, functions=("f",)))
    with pytest.raises(Forbidden):
        check_confers(limited, ROLE_PERMISSIONS[Role.VIEWER], namespace="dev")


def test_nobody_acts_on_who_may_more():
    operator = identity(grant(Role.OPERATOR))
    check_outranks(operator, "user:bob", [grant(Role.VIEWER), grant(Role.ADMIN, deny=True)])
    check_outranks(operator, "user:ann", [grant(Role.ADMIN)])  # itself
    with pytest.raises(Forbidden):
        check_outranks(operator, "user:bob", [grant(Role.VIEWER), grant(Role.ADMIN)])


@pytest.mark.parametrize(
    ("pattern", "name", "does"),
    [
        ("*", "anything", True),
        ("a*", "abc", True),
        ("a*", "ba", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("abc", "ABC", False),
        ("abc", "abcd", False),
        ("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "a" * 64, False),
    ],
)
def test_patterns_fit_whole_names(pattern, name, does):
    assert fits(pattern, name) is does


@pytest.mark.parametrize("patterns", [[""], ["a b"], ["a/b"], ["[a"], ["[z-a]"], ["x" * 65], ["é"], ["a"] * 33])
def test_patterns_that_are_none_are_refused(patterns):
    with pytest.raises(InvalidRequest):
        check_globs("functions", patterns)
