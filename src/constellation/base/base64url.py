"""Bytes as ASCII text for URLs and headers: RFC 4648 section 5, without padding."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Raises ValueError for a text that stands for no bytes; characters of no meaning in it are passed over."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
