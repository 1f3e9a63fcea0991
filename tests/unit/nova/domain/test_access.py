"""Rates of keys."""

from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.auth.authenticate import principal_of
from constellation.nova.domain.access import ROLE_PERMISSIONS, ApiKey, Role, burst_of, check_rate
from constellation.nova.domain.identity import identity_of, mint, verify


@pytest.mark.parametrize(
    ("rate_per_s", "burst", "effective"),
    [(0.0, 0, 0), (0.1, 0, 1), (2.5, 0, 3), (100.0, 0, 100), (100.0, 200, 200), (100.0, 1, 1), (1e6, 0, 1_000_000)],
)
def test_a_burst_is_one_seconds_worth_unless_told(rate_per_s, burst, effective):
    check_rate(rate_per_s=rate_per_s, burst=burst)
    assert burst_of(rate_per_s=rate_per_s, burst=burst) == effective


def test_a_burst_without_a_rate_is_refused():
    with pytest.raises(InvalidRequest, match="rate_per_s") as refused:
        check_rate(rate_per_s=0.0, burst=5)
    assert refused.value.field == "burst"


def test_the_rate_of_a_key_is_in_the_token_of_its_holder():
    key = ApiKey(tenant="t", namespace="n", name="ci", role=Role.INVOKER, rate_per_s=2.5)
    identity = identity_of(principal_of(key, ROLE_PERMISSIONS[Role.INVOKER]), tenant="t", namespace="n", now_s=100.0)
    assert (identity.rate_per_s, identity.burst) == (2.5, 3)
    assert verify(b"k" * 32, mint(b"k" * 32, identity), now_s=101.0) == identity
