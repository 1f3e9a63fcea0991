"""Numbers that fork servers tell tenants apart by."""

from __future__ import annotations

from constellation.comet.namespace.tenants import Tenants
from constellation.native.zygote import TENANT_NOBODY, TENANT_UNKNOWN


def test_a_tenant_keeps_its_number_and_shares_it_with_nobody():
    tenants = Tenants()
    numbers = {name: tenants.number_of(name) for name in ("anne", "bob", "carl")}
    assert len(set(numbers.values())) == 3
    assert {name: tenants.number_of(name) for name in reversed(numbers)} == numbers
    assert not {TENANT_NOBODY, TENANT_UNKNOWN} & set(numbers.values())


def test_those_who_come_too_late_are_not_told_apart_and_share_nothing():
    tenants = Tenants(most=2)
    first = tenants.number_of("anne")
    tenants.number_of("bob")
    assert tenants.number_of("carl") == tenants.number_of("dora") == TENANT_UNKNOWN
    assert tenants.number_of("anne") == first
