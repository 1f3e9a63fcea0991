"""What a function may reach: its network policy, and the rules that decide by it. IPv4 alone; IPv6 is off inside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from constellation.base.errors import InvalidRequest

MAX_RULES = 64  # of `allow`, and of `deny`
MAX_PORTS = 16  # of one rule

# Nobody reaches these, whatever a policy says: this host, itself, the link (and so the metadata service of a cloud), many
# at once, what is not in use; and where the platform numbers its sandboxes (comet/network/places.py).
NEVER = tuple(
    map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"))
)
# Not the internet. A policy reaches a part of one only by a `cidr` that lies in it.
PRIVATE = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)
# Where name servers listen, in clear and under TLS: reached only by a rule that names the port.
NAME_PORTS = (53, 853)

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_MAX_HOST_CHARS = 253
_NUMBERS = re.compile(r"[0-9.]+")


class Egress(StrEnum):
    """How far a function's connections go."""

    NONE = "none"  # it has a loopback device and nothing else
    ALLOW_LIST = "allow-list"
    INTERNET = "internet"  # every public address, and what is allowed besides


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowRule:
    """A name or a network that is reached; exactly one of `host` and `cidr` is set."""

    host: str = ""  # "*.example.org": every name below example.org, not itself
    cidr: str = ""
    ports: tuple[int, ...] = ()  # none: all but `NAME_PORTS`
    protocol: str = "tcp"  # or "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    """What the instances of a function reach of the network. What is denied wins over what is allowed."""

    egress: Egress = Egress.NONE
    allow: tuple[AllowRule, ...] = ()
    deny: tuple[str, ...] = ()  # cidr

    @property
    def reaches_out(self) -> bool:
        return self.egress is not Egress.NONE


NO_NETWORK = NetworkPolicy()


def check_network(policy: NetworkPolicy) -> None:
    """Let a policy through that can be enforced as it is written, or raise `InvalidRequest`."""
    if not policy.reaches_out and (policy.allow or policy.deny):
        raise InvalidRequest("egress none reaches nothing; allow and deny must be empty", field="network.allow")
    if policy.egress is Egress.ALLOW_LIST and not policy.allow:
        raise InvalidRequest("egress allow-list needs a rule in allow", field="network.allow")
    for name, rules in (("allow", policy.allow), ("deny", policy.deny)):
        if len(rules) > MAX_RULES:
            raise InvalidRequest(f"{name} has {len(rules)} rules; {MAX_RULES} is the most", field=f"network.{name}")
    for rule in policy.allow:
        _check_rule(rule)
    for cidr in policy.deny:
        _network(cidr, field="network.deny")


def _check_rule(rule: AllowRule) -> None:
    field = "network.allow"
    if bool(rule.host) == bool(rule.cidr):
        raise InvalidRequest("a rule of allow has exactly one of host and cidr", field=field)
    if rule.protocol not in ("tcp", "udp"):
        raise InvalidRequest(f"protocol {rule.protocol[:20]!r} must be tcp or udp", field=field)
    if len(rule.ports) > MAX_PORTS or len(set(rule.ports)) != len(rule.ports):
        raise InvalidRequest(f"ports must be at most {MAX_PORTS}, each named once", field=field)
    if any(not 1 <= port <= 0xFFFF for port in rule.ports):
        raise InvalidRequest("ports must be between 1 and 65535", field=field)
    if rule.host:
        _check_host(rule.host)
        return
    network = _network(rule.cidr, field=field)
    never = next((each for each in NEVER if network.subnet_of(each)), None)
    if never is not None:
        raise InvalidRequest(f"cidr {rule.cidr} lies in {never}, which no function reaches", field=field)


def _check_host(host: str) -> None:
    if len(host) > _MAX_HOST_CHARS or _HOST.fullmatch(host) is None:
        raise InvalidRequest(
            f'host {host[:80]!r} must be a name in lower case, or "*." and a name; others than ASCII as xn--',
            field="network.allow",
        )
    if _NUMBERS.fullmatch(host.rpartition(".")[2]) is not None:
        raise InvalidRequest(f"host {host[:80]!r} is no name; give addresses as cidr", field="network.allow")


def _network(cidr: str, *, field: str) -> IPv4Network:
    try:
        return IPv4Network(cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise InvalidRequest(f"cidr {cidr[:50]!r} is no IPv4 network such as 10.1.0.0/16", field=field) from error


def rules_for_name(policy: NetworkPolicy, name: str) -> tuple[AllowRule, ...]:
    """Return the rules that let a name (in lower case, without the last dot) be reached by its addresses."""
    return tuple(rule for rule in policy.allow if rule.host and _covers(rule.host, name))


def may_ask(policy: NetworkPolicy, name: str) -> bool:
    """Whether a name is resolved at all: what is not is never asked of anybody, so that nothing leaves by its letters."""
    return policy.egress is Egress.INTERNET or bool(rules_for_name(policy, name))


def is_answered(policy: NetworkPolicy, address: IPv4Address) -> bool:
    """Whether a name may stand for the address: a public one, or one that a `cidr` opens. Else it would lead inside."""
    if _is_in(address, NEVER) or _is_in(address, map(IPv4Network, policy.deny)):
        return False
    return not _is_in(address, PRIVATE) or _is_in(address, (net for net, _ in networks(policy, is_private=True)))


def networks(policy: NetworkPolicy, *, is_private: bool) -> Iterable[tuple[IPv4Network, AllowRule]]:
    """Return the networks that are allowed by number: those that lie in a private one, or the others."""
    for rule in policy.allow:
        if rule.cidr:
            network = IPv4Network(rule.cidr)
            if any(network.subnet_of(each) for each in PRIVATE) == is_private:
                yield network, rule


def _covers(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _is_in(address: IPv4Address, nets: Iterable[IPv4Network]) -> bool:
    return any(address in each for each in nets)
