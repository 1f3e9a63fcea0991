from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from constellation.nova.domain.throttle import ACCOUNT, ADDRESS, source_of_address, wait_s

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def wait(allowance, failures: int, ago_s: float = 0.0) -> float:
    return wait_s(allowance, failures=failures, last_at=NOW - timedelta(seconds=ago_s), now=NOW)


def test_the_first_failures_cost_nothing_and_then_each_costs_twice_as_much():
    assert [wait(ACCOUNT, n) for n in range(9)] == [0, 0, 0, 0, 0, 1, 2, 4, 8]
    assert wait(ACCOUNT, 1000) == 60
    assert wait(ADDRESS, 29) == 0
    assert wait(ADDRESS, 10**9) == 300


def test_time_passes():
    assert wait(ACCOUNT, 8, ago_s=3) == 5
    assert wait(ACCOUNT, 8, ago_s=8) == 0
    assert wait(ACCOUNT, 1000, ago_s=901) == 0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("unix", "unknown"),
    ],
)
def test_addresses_of_one_customer_are_one_source(address, source):
    assert source_of_address(address) == source
