"""Which policies can be enforced as they are written, and what they say of names and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.network import (
    MAX_RULES,
    NO_NETWORK,
    AllowRule,
    Egress,
    NetworkPolicy,
    check_network,
    is_answered,
    may_ask,
    rules_for_name,
)


def allow(*rules, deny=(), egress=Egress.ALLOW_LIST):
    return NetworkPolicy(egress=egress, allow=tuple(AllowRule(**rule) for rule in rules), deny=tuple(deny))


@pytest.mark.parametrize(
    "policy",
    [
        NO_NETWORK,
        NetworkPolicy(egress=Egress.INTERNET),
        allow({"host": "api.example.org", "ports": (443, 8443)}),
        allow({"host": "*.example.org"}, {"host": "_srv.xn--bcher-kva.example"}, {"host": "localhost"}),
        allow(
            {"cidr": "10.1.0.0/16", "ports": (5432,)}, {"cidr": "8.8.8.8/32", "protocol": "udp"}, deny=["10.1.2.0/24"]
        ),
        allow({"cidr": "0.0.0.0/0"}),
        allow(*({"host": f"h{number}.test"} for number in range(MAX_RULES))),
    ],
)
def test_policies_that_mean_something_pass(policy):
    check_network(policy)


@pytest.mark.parametrize(
    "policy",
    [
        NetworkPolicy(allow=(AllowRule(host="a.test"),)),  # egress none
        NetworkPolicy(deny=("10.0.0.0/8",)),
        allow(),
        allow({}),
        allow({"host": "a.test", "cidr": "10.0.0.0/8"}),
        allow({"host": "A.test"}),
        allow({"host": "*"}),
        allow({"host": "*.*.test"}),
        allow({"host": "a.*.test"}),
        allow({"host": "a..test"}),
        allow({"host": "a.test."}),
        allow({"host": "-a.test"}),
        allow({"host": "bücher.test"}),
        allow({"host": "a" * 64 + ".test"}),
        allow({"host": ".".join(["a" * 60] * 5)}),
        allow({"host": "10.1.2.3"}),
        allow({"host": "a.test\n"}),
        allow({"host": "a.test } accept #"}),
        allow({"cidr": "10.1.2.3/16"}),
        allow({"cidr": "10.1.0.0/33"}),
        allow({"cidr": "fd00::/8"}),
        allow({"cidr": "10.1.0.0/16; accept"}),
        allow({"cidr": "169.254.169.254/32"}),
        allow({"cidr": "127.0.0.0/8"}),
        allow({"cidr": "198.18.3.0/24"}),
        allow({"cidr": "224.0.0.1/32"}),
        allow({"host": "a.test", "ports": (0,)}),
        allow({"host": "a.test", "ports": (65536,)}),
        allow({"host": "a.test", "ports": (443, 443)}),
        allow({"host": "a.test", "ports": tuple(range(1, 18))}),
        allow({"host": "a.test", "protocol": "icmp"}),
        allow({"host": "a.test"}, deny=["nowhere"]),
        allow(*({"host": f"h{number}.test"} for number in range(MAX_RULES + 1))),
        allow({"host": "a.test"}, deny=[f"10.{number}.0.0/16" for number in range(MAX_RULES + 1)]),
    ],
)
def test_policies_that_can_not_be_enforced_are_refused(policy):
    with pytest.raises(InvalidRequest) as refused:
        check_network(policy)
    assert refused.value.field in ("network.allow", "network.deny")


def test_names_are_covered_by_themselves_or_by_a_wildcard_above():
    policy = allow({"host": "example.org", "ports": (80,)}, {"host": "*.example.org", "ports": (443,)})
    assert [rule.ports for rule in rules_for_name(policy, "example.org")] == [(80,)]
    assert [rule.ports for rule in rules_for_name(policy, "a.b.example.org")] == [(443,)]
    assert rules_for_name(policy, "badexample.org") == ()
    assert not may_ask(policy, "example.org.evil.test")
    assert may_ask(NetworkPolicy(egress=Egress.INTERNET), "anything.test")


@pytest.mark.parametrize(
    ("address", "policy", "is_so"),
    [
        ("1.2.3.4", allow({"host": "a.test"}), True),
        ("1.2.3.4", allow({"host": "a.test"}, deny=["1.2.0.0/16"]), False),
        ("10.1.2.3", allow({"host": "a.test"}), False),
        ("10.1.2.3", allow({"host": "a.test"}, {"cidr": "10.1.0.0/16"}), True),
        ("10.2.2.3", allow({"host": "a.test"}, {"cidr": "10.1.0.0/16"}), False),
        ("10.1.2.3", allow({"host": "a.test"}, {"cidr": "10.1.0.0/16"}, deny=["10.1.2.0/24"]), False),
        ("10.1.2.3", allow({"host": "a.test"}, {"cidr": "0.0.0.0/0"}), False),  # it names no private network
        ("169.254.169.254", allow({"host": "a.test"}, {"cidr": "0.0.0.0/0"}), False),
        ("127.0.0.1", NetworkPolicy(egress=Egress.INTERNET), False),
        ("0.0.0.0", NetworkPolicy(egress=Egress.INTERNET), False),
        ("198.18.0.3", NetworkPolicy(egress=Egress.INTERNET), False),
        ("192.168.1.1", NetworkPolicy(egress=Egress.INTERNET), False),
    ],
)
def test_names_stand_for_public_addresses_and_for_opened_ones(address, policy, is_so):
    assert is_answered(policy, IPv4Address(address)) is is_so
