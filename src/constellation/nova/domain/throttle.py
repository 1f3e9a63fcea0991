"""How long who failed to log in has to wait: nothing at first, then twice as long each time, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

FORGET_AFTER = timedelta(minutes=15)  # chosen: without a failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How often a source may fail before it waits, and how long it waits at most."""

    free: int
    longest_s: float


# Chosen. An account waits shorter: otherwise whoever knows its name locks its owner out.
ACCOUNT = Allowance(free=5, longest_s=60.0)
ADDRESS = Allowance(free=30, longest_s=300.0)


def wait_s(allowance: Allowance, *, failures: int, last_at: datetime, now: datetime) -> float:
    """Return how long a source must still wait before its next attempt, in seconds; 0.0: not at all."""
    if failures < allowance.free or now - last_at > FORGET_AFTER:
        return 0.0
    wait = min(2.0 ** min(failures - allowance.free, 30), allowance.longest_s)
    return max(wait - (now - last_at).total_seconds(), 0.0)


def source_of_address(text: str) -> str:
    """Return what of an address counts as one source: of IPv6 the network that one customer has."""
    try:
        address = ip_address(text)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, 64), strict=False))
    return str(address)
