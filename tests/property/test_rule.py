"""Who may call which functions: the core in C and the rule in Python give one verdict, whatever the patterns and names."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.base.errors import InvalidRequest
from constellation.native.ledger import rule_allows
from constellation.nova.domain.access import Identity, Permission
from constellation.nova.domain.globs import check_globs
from constellation.nova.domain.grants import Effect, Grant, rights_in
from constellation.nova.domain.rule import invoke_rule, packed

INVOKE = frozenset({Permission.FUNCTION_INVOKE})
LETTERS = "ab-._9Z"
INNER = st.text(LETTERS, min_size=1, max_size=4).filter(lambda text: "--" not in text)  # re warns of it
SETS = st.builds(lambda no, inner: f"[{no}{inner}]", st.sampled_from(("", "!")), INNER)
PIECES = st.one_of(st.sampled_from(LETTERS), st.just("*"), st.just("?"), SETS)
NAMES = st.text(LETTERS, max_size=12)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Any pattern that a binding may have."""
    pattern = "".join(draw(st.lists(PIECES, min_size=1, max_size=8)))
    with suppress(InvalidRequest):
        return check_globs("functions", [pattern])[0]
    return "a*"


GRANTS = st.builds(
    Grant,
    permissions=st.just(INVOKE),
    effect=st.sampled_from(Effect),
    namespace=st.sampled_from(("*", "prod", "p*", "dev")),
    functions=st.lists(patterns(), max_size=4).map(tuple),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(GRANTS, max_size=6), st.lists(NAMES, min_size=1, max_size=20))
def test_the_core_says_of_every_function_what_python_says(grants: list[Grant], names: list[str]) -> None:
    rights = rights_in("prod", grants, is_bound=False)
    identity = Identity(
        tenant="acme",
        namespace="prod",
        subject="s",
        permissions=rights.permissions,
        is_platform_admin=False,
        expires_at_s=0,
        limits=rights.limits,
    )
    rule = invoke_rule(identity)
    for name in names:
        may = rule is not None and rule_allows(rule, name)
        assert may == identity.may(Permission.FUNCTION_INVOKE, name), (rule, name)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.text(max_size=10))
def test_bytes_that_are_no_rule_are_read_without_harm(rule: bytes, name: str) -> None:
    assert rule_allows(rule, name) in (True, False)


def test_what_the_core_can_not_say_is_left_to_python() -> None:
    assert packed(("a" * 60,) * 80, ()) is None
    assert packed(("ü*",), ()) is None
    assert packed(("a*",), ()) == b"\x01\x00\x02a*"
