"""What a browser carries between two requests of one login, or lies in the database: encrypted, so that neither is read nor written there."""

from __future__ import annotations

import hmac
import os
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from constellation.base import base64url

_NONCE_BYTES = 12
_MAX_CHARACTERS = 4096
Carried = TypeVar("Carried", bound=msgspec.Struct)


class _Sealed(msgspec.Struct, array_like=True):
    expires_at_s: float
    value: msgspec.Raw


class Sealer:
    """Seals values of one kind, under a key that is made of the platform's and of what they are for."""

    def __init__(self, key: bytes, *, purpose: str, max_characters: int = _MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._cipher = AESGCM(hmac.digest(key, f"constellation {purpose}".encode(), sha256))

    def seal(self, value: msgspec.Struct, *, expires_at: datetime) -> str:
        """Return a value as a text of base64url that is good until then."""
        nonce = os.urandom(_NONCE_BYTES)
        inside = _Sealed(expires_at.timestamp(), msgspec.Raw(msgspec.json.encode(value)))
        sealed = nonce + self._cipher.encrypt(nonce, msgspec.json.encode(inside), None)
        return base64url.encode(sealed)

    def opened(self, text: str, type_: type[Carried], *, now: datetime) -> Carried | None:
        """Return the value, None for what was not sealed so or is over."""
        if len(text) > self._max_characters:
            return None
        try:
            data = base64url.decode(text)
            inside = msgspec.json.decode(
                self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None), type=_Sealed
            )
            if inside.expires_at_s <= now.timestamp():
                return None
            return msgspec.json.decode(inside.value, type=type_)
        except (ValueError, InvalidTag, msgspec.MsgspecError):  # binascii.Error is the first
            return None
