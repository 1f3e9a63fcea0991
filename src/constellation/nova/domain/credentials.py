"""What an API key looks like, and how it is known."""

from __future__ import annotations

import re
from hashlib import sha256

KEY_PREFIX = "sk_"
KEY_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
KEY_LENGTH = 32  # letters after the prefix: 190 bits
_KEY = re.compile(rf"{KEY_PREFIX}[{KEY_LETTERS}]{{16,128}}")


def is_key(text: str) -> bool:
    """Tell whether a text has a key's form."""
    return _KEY.fullmatch(text) is not None


def key_hash(key: str) -> bytes:
    """Return the only thing that is ever stored of a key. It is random enough to need no salt and no slow hash."""
    return sha256(key.encode()).digest()
