"""When a caller without a credential is the admin of its own machine's platform (architecture section 8)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]


def is_local_request(headers: Headers, *, scheme: str) -> bool:
    """Say whether a request's headers leave it what it seems: a local program's own, sent straight to us.

    A proxy's traces, a Host that is no loopback name (DNS rebinding), or a browser acting for another site each
    disqualify it. Whose socket it is must be asked besides. `scheme`: what the connection itself is, "http" or "https";
    a page of our own has its origin there.
    """
    host: str | None = None
    origin: str | None = None
    for name, value in headers:
        if name in (b"forwarded", b"via") or name.startswith(b"x-forwarded-"):
            return False
        if name == b"host":
            if host is not None:
                return False
            host = value.decode("latin-1").strip().lower()
        elif name == b"origin":
            if origin is not None:
                return False
            origin = value.decode("latin-1").strip().lower()
        elif name == b"sec-fetch-site" and value.strip().lower() == b"cross-site":
            return False
    if host is None or not _is_loopback_name(host):
        return False
    return origin is None or origin == f"{scheme}://{host}"


def _is_loopback_name(host: str) -> bool:
    name, port = host, ""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return False
        port = rest[1:]
    elif host.count(":") == 1:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
