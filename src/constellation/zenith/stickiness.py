"""A cookie for callers of a sticky alias, so that they stay at the version that they got first."""

from __future__ import annotations

from secrets import token_urlsafe

from constellation.zenith.calls import sticky_key_of
from constellation.zenith.request import Request

_COOKIE = "nova-sticky"
_KEY_BYTES = 12  # chosen: enough that two callers have two; it grants nothing
_KEPT_S = 30 * 86400


def sticky_key(request: Request) -> str:
    """Return what keeps the caller at one version: what it sent, else a new key, which the answer gives it as a cookie."""
    given = sticky_key_of(request)
    if given:
        return given
    made = token_urlsafe(_KEY_BYTES)
    secure = "; Secure" if request.scheme == "https" else ""
    cookie = f"{_COOKIE}={made}; Path=/; Max-Age={_KEPT_S}; HttpOnly; SameSite=Lax{secure}"
    request.also.append((b"set-cookie", cookie.encode()))
    return made
