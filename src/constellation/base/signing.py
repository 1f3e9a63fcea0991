"""Short-lived signed bytes: HMAC-SHA256 over a payload, both in base64url, joined by a dot."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256


def sign(key: bytes, payload: bytes) -> str:
    """Return `payload` and its tag as one ASCII token without padding."""
    tag = hmac.digest(key, payload, sha256)
    return f"{_encode(payload)}.{_encode(tag)}"


def unsign(key: bytes, token: str) -> bytes | None:
    """Return the payload of a token that `key` signed, or None for any other text."""
    body, dot, tag_text = token.partition(".")
    if not dot:
        return None
    try:
        payload, tag = _decode(body), _decode(tag_text)
    except ValueError:
        return None
    return payload if hmac.compare_digest(tag, hmac.digest(key, payload, sha256)) else None


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
