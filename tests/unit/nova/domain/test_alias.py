from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.alias import MAX_SHARES, Share, check_alias_name, shares_of


def test_weights_are_percent_that_make_the_whole() -> None:
    assert shares_of({4: 10, 3: 90}) == (Share(version=3, weight=90), Share(version=4, weight=10))
    assert shares_of({4: 100, 3: 0}) == (Share(version=3, weight=0), Share(version=4, weight=100))
    for wrong in ({}, {1: 99}, {1: 101}, {1: 110, 2: -10}, dict.fromkeys(range(1, MAX_SHARES + 2), 1)):
        with pytest.raises(InvalidRequest):
            shares_of(wrong)


def test_no_name_can_be_taken_for_a_number() -> None:
    assert check_alias_name("prod-2_b") == "prod-2_b"
    for wrong in ("", "2", "2nd", "$LATEST", "a:b", "a/b", "a" * 65, "\u00fc"):
        with pytest.raises(InvalidRequest):
            check_alias_name(wrong)
