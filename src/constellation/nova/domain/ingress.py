"""Who may call a function: by which way, from which functions, from which networks. What is denied wins over what is allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from constellation.base.errors import InvalidRequest

MAX_RULES = 64  # of each list
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\*?|\*")


class CallerKind(StrEnum):
    """The way by which a call came."""

    URL = "url"  # the function's URL, WebSockets on it too
    API = "api"  # the API, with a credential
    FUNCTION = "function"  # another function of the namespace
    SCHEDULE = "schedule"
    QUEUE = "queue"  # the platform, for what was accepted before: async and durable calls, deliveries of events


FROM_OUTSIDE = (CallerKind.URL, CallerKind.API)  # these have an address


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressPolicy:
    """Who may call a function. An empty list restricts nothing."""

    callers: tuple[CallerKind, ...] = ()
    functions: tuple[str, ...] = ()  # names of calling functions; "order-*" is all that begin so
    allow: tuple[str, ...] = ()  # networks that calls from outside come from
    deny: tuple[str, ...] = ()

    @property
    def is_restricting(self) -> bool:
        return bool(self.callers or self.functions or self.allow or self.deny)


OPEN_TO_ALL = IngressPolicy()


def check_ingress(policy: IngressPolicy) -> None:
    """Let a policy through that means what it says, or raise `InvalidRequest`."""
    for name in ("callers", "functions", "allow", "deny"):
        rules: tuple[str, ...] = getattr(policy, name)
        if len(rules) > MAX_RULES or len(set(rules)) != len(rules):
            raise InvalidRequest(f"{name} has at most {MAX_RULES} entries, each once", field=name)
    for pattern in policy.functions:
        if _PATTERN.fullmatch(pattern) is None:
            raise InvalidRequest(
                f"{pattern[:80]!r} is no name of a function, nor the begin of one and *", field="functions"
            )
    for name in ("allow", "deny"):
        for cidr in getattr(policy, name):
            _network(cidr, field=name)
    if policy.callers and policy.functions and CallerKind.FUNCTION not in policy.callers:
        raise InvalidRequest("callers leaves functions out; functions must be empty", field="functions")


def refusal_of(policy: IngressPolicy, kind: CallerKind, *, function: str, address: Address | None) -> str | None:
    """Return why a call is refused, None when it is let in.

    Args:
        function: the one that calls; of `CallerKind.FUNCTION` alone.
        address: of the client; of calls from outside alone. None: it is unknown.
    """
    if policy.callers and kind not in policy.callers:
        return f"calls by {kind.value} are not let in"
    if kind is CallerKind.FUNCTION and policy.functions and not _is_named(function, policy.functions):
        return f"function {function!r} may not call it"
    if kind not in FROM_OUTSIDE or not (policy.allow or policy.deny):
        return None
    if address is None:
        return "it is not known where the call comes from"
    if _is_in(address, _networks(policy.deny)) or (policy.allow and not _is_in(address, _networks(policy.allow))):
        return f"calls from {address} are not let in"
    return None


def plain_address(address: Address) -> Address:
    """Return an address in its plain form: IPv4 that is mapped into IPv6 is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _is_named(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in patterns)


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=1024)  # of the policies in use; a call must not read its rules anew
def _networks(cidrs: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(ip_network, cidrs))


def _network(cidr: str, *, field: str) -> Network:
    try:
        return ip_network(cidr)
    except ValueError as error:
        raise InvalidRequest(
            f"{cidr[:60]!r} is no network such as 10.1.0.0/16 or 2001:db8::/32", field=field
        ) from error
