"""HOST:PORT as flags write it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from constellation.base.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket listens or connects. An empty host listens on every address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, *, default_host: str = "") -> Address:
    """Return the address in "HOST:PORT", "[::1]:PORT" or ":PORT".

    Raises:
        InvalidRequest: it is none of these, or the port is out of range.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidRequest(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidRequest(f"{text!r}: write an IPv6 address in brackets")
    return Address(host or default_host, int(port))
