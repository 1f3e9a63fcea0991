"""Short-lived signed bytes: HMAC-SHA256 over a payload, both in base64url, joined by a dot."""

from __future__ import annotations

import hmac
from hashlib import sha256

from constellation.base import base64url


def sign(key: bytes, payload: bytes) -> str:
    """Return `payload` and its tag as one ASCII token without padding."""
    tag = hmac.digest(key, payload, sha256)
    return f"{base64url.encode(payload)}.{base64url.encode(tag)}"


def unsign(key: bytes, token: str) -> bytes | None:
    """Return the payload of a token that `key` signed, or None for any other text."""
    body, dot, tag_text = token.partition(".")
    if not dot:
        return None
    try:
        payload, tag = base64url.decode(body), base64url.decode(tag_text)
    except ValueError:
        return None
    return payload if hmac.compare_digest(tag, hmac.digest(key, payload, sha256)) else None
