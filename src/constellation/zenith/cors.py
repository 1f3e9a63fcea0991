"""What a gateway says to browsers about pages of other origins (the Fetch standard, section 3.2). Pure."""

from __future__ import annotations

from constellation.nova.domain.function_url import ANY, Cors
from constellation.zenith.errors import OriginRefused

Pairs = list[tuple[bytes, bytes]]

_VARY = (b"vary", b"Origin")


def answer_headers(cors: Cors, origin: bytes | None) -> Pairs:
    """Return what an answer to a page of `origin` (None: to no page) says; nothing where `cors` admits no origin."""
    if not cors.allow_origins:
        return []
    is_any = ANY in cors.allow_origins
    if origin is None or not cors.admits(origin.decode("latin-1")):
        return [] if is_any else [_VARY]
    headers = [(b"access-control-allow-origin", b"*" if is_any else origin)]
    if not is_any:
        headers.append(_VARY)
    if cors.allow_credentials:
        headers.append((b"access-control-allow-credentials", b"true"))
    if cors.expose_headers:
        headers.append((b"access-control-expose-headers", _listed(cors.expose_headers)))
    return headers


def preflight_headers(cors: Cors, origin: bytes) -> Pairs:
    """Return what a preflight is told beside `answer_headers`. Raises `OriginRefused`: pages of `origin` may not call."""
    if not cors.admits(origin.decode("latin-1")):
        raise OriginRefused(origin.decode("latin-1"))
    headers = [(b"access-control-allow-methods", _listed(cors.allow_methods))]
    if cors.allow_headers:
        headers.append((b"access-control-allow-headers", _listed(cors.allow_headers)))
    if cors.max_age_s:
        headers.append((b"access-control-max-age", str(cors.max_age_s).encode()))
    return headers


def _listed(names: tuple[str, ...]) -> bytes:
    return ", ".join(names).encode("ascii")
