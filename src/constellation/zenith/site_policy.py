"""What a route's policy says of a request before anybody is asked who it is: where it comes from, and for whose page."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec import structs

from constellation.nova.domain.function_url import Cors
from constellation.routes.models.gateway_policy import RoutePolicy
from constellation.zenith.cors import Pairs, answer_headers, preflight_headers
from constellation.zenith.errors import AddressRefused
from constellation.zenith.request import Request

_LISTS = 4096  # chosen: lists in use on one gateway


@lru_cache(maxsize=_LISTS)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))


def check_address(policy: RoutePolicy, client: str) -> None:
    """Let a client's address through, or raise `AddressRefused`; one that is none passes no list."""
    if not policy.ip_allow and not policy.ip_deny:
        return
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        raise AddressRefused(client) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    is_allowed = not policy.ip_allow or any(address in network for network in _networks(policy.ip_allow))
    if not is_allowed or any(address in network for network in _networks(policy.ip_deny)):
        raise AddressRefused(client)


def say_origin(policy: RoutePolicy, request: Request) -> None:
    """Add what browsers are told to whatever the answer will be."""
    request.also.extend(answer_headers(_cors(policy), header_of(request, b"origin")))


def preflight(policy: RoutePolicy, request: Request) -> Pairs:
    """Return what a browser's question about this route is answered with. Raises `OriginRefused`."""
    return preflight_headers(_cors(policy), header_of(request, b"origin") or b"")


def asked_method(request: Request) -> str | None:
    """Return the method that a browser asks about, None when the request is no such question."""
    if request.method != "OPTIONS" or header_of(request, b"origin") is None:
        return None
    asked = header_of(request, b"access-control-request-method")
    return None if asked is None else asked.decode("latin-1")


def header_of(request: Request, wanted: bytes) -> bytes | None:
    return next((value for name, value in request.headers if name == wanted), None)


def _cors(policy: RoutePolicy) -> Cors:
    return Cors(**structs.asdict(policy.cors))
