"""The choice of a version in C against its plain rule, for any weights and numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.native.table import Table
from constellation.native.table_values import FunctionRow, TableOptions

WEIGHTS = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=16).filter(any)
NUMBERS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20)


def row(*, is_pinned: bool) -> FunctionRow:
    return FunctionRow(tenant="t", namespace="n", name="f", max_payload_bytes=1, is_pinned=is_pinned)


def chosen(weights: list[int], number: int) -> int:
    """Return the place of the version whose part of the whole the number falls in."""
    left = number % sum(weights)
    for place, weight in enumerate(weights):
        if left < weight:
            return place
        left -= weight
    raise AssertionError


@settings(deadline=None)
@given(WEIGHTS, WEIGHTS, NUMBERS, st.binary(min_size=1, max_size=40))
def test_a_name_leads_where_its_weights_say(first, second, numbers, key):
    table = Table(TableOptions(max_instances=1, max_boots=1, max_calls=1, idle_ttl_s=1.0, max_functions=64))
    try:
        live = table.put_function(row(is_pinned=False), now_ns=0)
        assert table.find_function("t", "n", "f") == live
        versions = [table.put_function(row(is_pinned=True), now_ns=0) for _ in range(16)]
        assert table.find_function("t", "n", "f") == live
        for weights in (first, second):
            table.put_alias(live, "prod", list(zip(versions, weights, strict=False)), is_sticky=False)
            for number in numbers:
                picked = table.pick(live, "prod", key=key, number=number)
                assert picked == versions[chosen(weights, number)]
            table.put_alias(live, "keyed", list(zip(versions, weights, strict=False)), is_sticky=True)
            assert len({table.pick(live, "keyed", key=key, number=number) for number in numbers}) == 1
        table.put_alias(live, "prod", (), is_sticky=False)
        assert table.pick(live, "prod", key=b"", number=0) is None
    finally:
        table.close()
