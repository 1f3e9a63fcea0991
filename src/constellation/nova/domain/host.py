"""Names of hosts that tenants serve under: what they may look like, and what a Host header means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from constellation.base.errors import InvalidRequest

MAX_HOST_CHARS = 253
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
# A last label of digits alone would be the end of an IPv4 address.
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.(?![0-9]+\Z){_LABEL}")
_LOCAL = ("localhost", "local", "internal")  # never names of the public DNS


def check_host(text: str, *, own: Iterable[str] = (), functions: str = "") -> str:
    """Return a host name in its one form: lower case, without a dot at its end.

    "*.example.org" is every name with one label more than example.org, as in certificates. `own`: names that are the
    platform's, which nobody else may have; of the same forms. `functions`: the domain below which tenants have hosts for
    their functions, which are given and never claimed.

    Raises:
        InvalidRequest: it is no name of the DNS in ASCII with two labels at least, or one that means this machine or
            the platform itself.
    """
    host = text.strip().lower().removesuffix(".")
    if len(host) > MAX_HOST_CHARS or _NAME.fullmatch(host) is None:
        raise InvalidRequest(
            f"host {text[:80]!r} must be a name like shop.example.org or *.example.org, in ASCII (xn-- for others)",
            field="host",
        )
    if host.rpartition(".")[2] in _LOCAL:
        raise InvalidRequest(f"host {host!r} is no public name", field="host")
    for taken in own:
        if taken in (host, cover_of(host)) or cover_of(taken) == host:
            raise InvalidRequest(f"host {host!r} is the platform's own", field="host")
    if is_of_functions(host, functions):
        raise InvalidRequest(
            f"host {host!r} is below {functions}, where each tenant has a host of its own without claiming it",
            field="host",
        )
    return host


def is_of_functions(host: str, domain: str) -> bool:
    """Say whether a claimed host has names of the domain below which functions have theirs; "": there is none."""
    if not domain:
        return False
    name = host.removeprefix("*.")
    return name == domain or name.endswith(f".{domain}") or host == cover_of(domain)


def function_domain_in(setting: str) -> str:
    """Return the domain for functions in its one form, as the setting `zenith.function_domain` gives it."""
    return setting.strip().lower().strip(".")


def cover_of(host: str) -> str:
    """Return the wildcard that has this name among its own: itself, if it is one; "" when none can."""
    dot = host.find(".")
    return "*" + host[dot:] if dot > 0 else ""


def host_in(header: bytes) -> str:
    """Return the name in a Host header, without port and without the dot at its end; never an error.

    `native/src/edge/domains.c` reads it in the same way.
    """
    return header.partition(b":")[0].removesuffix(b".").decode("latin-1").lower() if header.isascii() else ""
