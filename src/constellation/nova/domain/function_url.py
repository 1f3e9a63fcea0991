"""How a function is reached by its URL: by whom, from which pages, and whether its answer comes in one piece."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from constellation.base.errors import InvalidRequest

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 section 5.6.2
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
ANY = "*"
NULL_ORIGIN = "null"  # of a page that has none: a file, or one that a function serves on the platform's own host


class UrlAuth(StrEnum):
    """Who may call the URL."""

    KEY = "key"  # who may call functions of the namespace
    NONE = "none"  # anybody


class InvokeMode(StrEnum):
    """When the answer is sent."""

    BUFFERED = "buffered"  # when it is whole
    STREAM = "stream"  # as it is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Which pages of other origins may call the URL, and what of its answer they see."""

    allow_origins: tuple[str, ...] = ()  # "*": every one; none: nothing is said of CORS
    allow_methods: tuple[str, ...] = (ANY,)
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_s: int = 0  # how long a browser may remember what it was told

    def admits(self, origin: str) -> bool:
        return ANY in self.allow_origins or origin in self.allow_origins


NO_CORS = Cors()


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUrl:
    """The settings of a function's URL."""

    enabled: bool = True
    auth: UrlAuth = UrlAuth.KEY
    invoke_mode: InvokeMode = InvokeMode.BUFFERED
    cors: Cors = NO_CORS


DEFAULT_URL = FunctionUrl()  # of a function whose URL nobody set


def check_cors(cors: Cors) -> None:
    """Let through what browsers understand, or raise `InvalidRequest`."""
    for origin in cors.allow_origins:
        if origin not in (ANY, NULL_ORIGIN):
            _check_origin(origin)
    for name in ("allow_methods", "allow_headers", "expose_headers"):
        for text in getattr(cors, name):
            if _TOKEN.fullmatch(text) is None:
                raise InvalidRequest(f"{text[:80]!r} is no name that HTTP allows, nor *", field=f"cors.{name}")
    if not cors.allow_credentials:
        return
    for name in ("allow_origins", "allow_methods", "allow_headers", "expose_headers"):
        if ANY in getattr(cors, name):
            raise InvalidRequest(
                f"with allow_credentials browsers take no *; name them in {name}", field=f"cors.{name}"
            )


def _check_origin(origin: str) -> None:
    found = _ORIGIN.fullmatch(origin)
    try:
        if found is not None and found["host"].startswith("["):
            ip_address(found["host"][1:-1])
    except ValueError:
        found = None
    if found is None:
        raise InvalidRequest(
            f'origin {origin[:80]!r} must be "*", "null", or scheme://host[:port] in lower case and without a path',
            field="cors.allow_origins",
        )
