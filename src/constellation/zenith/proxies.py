"""Where a request comes from: the client's address, or the one that a proxy of ours tells. As `native/src/edge/proxies.c`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from constellation.nova.config.load import ConfigInvalid
from constellation.nova.domain.ingress import Address, Network, plain_address

MOST = 64  # as the edge's
_PORT = re.compile(r":[0-9]{1,5}")
_FOR = re.compile(r'for=(?:"([^"\\]*)"|([^";,\s]*))', re.IGNORECASE)  # RFC 7239 section 4


class Proxies:
    """Those whose word is believed, in one header: others may come from the client, through a proxy that does not know them."""

    def __init__(self, networks: Sequence[Network], *, header: str) -> None:
        self.networks, self.header = tuple(networks), header
        self._header = header.encode()

    def client_of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Address | None:
        """Return where a request of `peer` comes from; None when it has no address.

        The header is read from its end, and the first address that is no proxy's of ours is the client's. At what is no
        address nobody further out is believed.
        """
        found = None if peer is None else read_address(peer)
        if found is None or not self._is_ours(found):
            return found
        values = [value.decode("latin-1") for name, value in headers if name == self._header]
        for hop in reversed([hop for value in values for hop in value.split(",")]):
            told = self._told(hop)
            if told is None:
                return found
            found = told
            if not self._is_ours(found):
                return found
        return found

    def _told(self, hop: str) -> Address | None:
        if self._header == b"x-forwarded-for":
            return read_address(hop)
        found = _FOR.search(hop)
        return None if found is None else read_address(found[1] if found[1] is not None else found[2])

    def _is_ours(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def proxies_of(text: str, *, header: str) -> Proxies:
    """Read a setting: networks or addresses with commas between them. Raises `ConfigInvalid`."""
    key = "zenith.trusted_proxies"
    found: list[Network] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        try:
            network = ip_network(part)
        except ValueError as error:
            raise ConfigInvalid(key, f"{part!r} is no network such as 10.0.0.0/8") from error
        mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
        if mapped is not None and network.prefixlen >= 96:
            network = ip_network(f"{mapped}/{network.prefixlen - 96}")
        found.append(network)
    if len(found) > MOST:
        raise ConfigInvalid(key, f"names {len(found)} networks; {MOST} is the most")
    return Proxies(found, header=header)


def read_address(text: str) -> Address | None:
    """Return the address in a text, with a port or brackets perhaps; None when it is none."""
    text = text.strip(" \t")
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and _PORT.fullmatch(rest) is None):
            return None
        return _parsed(socket.AF_INET6, inner)
    head, colon, port = text.partition(":")
    if colon and "." in head and _PORT.fullmatch(colon + port) is not None:
        text = head
    return _parsed(socket.AF_INET, text) or _parsed(socket.AF_INET6, text)


def _parsed(family: socket.AddressFamily, text: str) -> Address | None:
    """Read as the edge does: without a zone, a leading zero, or any other freedom."""
    try:
        packed = socket.inet_pton(family, text)
    except (OSError, ValueError):
        return None
    found: IPv4Address | IPv6Address = ip_address(packed)
    return plain_address(found)
