"""Master keys by version: read from text, written as text. The newest seals, all open."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from constellation.base.errors import ConstellationError

KEY_BYTES = 32
_NUMBERED = re.compile(r"([1-9][0-9]{0,8}):(.*)")


class MasterKeyInvalid(ConstellationError):
    """What is given as master keys can not be that; the text itself is never repeated."""

    code, http_status = "master_key_invalid", 400

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")


class MasterKeyMissing(ConstellationError):
    """A secret was sealed with a key that this nova does not have."""

    code, http_status = "master_key_missing", 503

    def __init__(self, version: int) -> None:
        super().__init__(
            f"the secret was sealed with master key {version}, which nova does not have; give it that key, or set the "
            "secret's value anew"
        )


@dataclass(frozen=True, slots=True)
class Keyring:
    """At least one key."""

    keys: Mapping[int, bytes] = field(repr=False)

    @property
    def newest(self) -> int:
        return max(self.keys)

    def key(self, version: int) -> bytes:
        """Return a key, or raise `MasterKeyMissing`."""
        try:
            return self.keys[version]
        except KeyError:
            raise MasterKeyMissing(version) from None

    def with_new_key(self) -> Keyring:
        """Return the same keys and a newer one."""
        return Keyring({**self.keys, self.newest + 1: os.urandom(KEY_BYTES)})

    def text(self) -> str:
        """Return what `keyring_of` reads."""
        return "\n".join(
            f"{version}:{base64.b64encode(key).decode()}" for version, key in sorted(self.keys.items(), reverse=True)
        )


def new_keyring(version: int) -> Keyring:
    """Return a keyring with one new key."""
    return Keyring({version: os.urandom(KEY_BYTES)})


def keyring_of(text: str, *, where: str) -> Keyring:
    """Return the keys of a text: one, or several as `version:key`, divided by commas or blanks.

    A key is 32 bytes in base64 or hexadecimal; without a number it is version 1.

    Raises:
        MasterKeyInvalid: anything else; `where` the text came from is all that is repeated.
    """
    keys: dict[int, bytes] = {}
    for word in text.replace(",", " ").split():
        numbered = _NUMBERED.fullmatch(word)
        version, encoded = (1, word) if numbered is None else (int(numbered[1]), numbered[2])
        key = _decoded(encoded)
        if key is None:
            raise MasterKeyInvalid(where, f"a key must be {KEY_BYTES} bytes in base64 or hexadecimal")
        if version in keys:
            raise MasterKeyInvalid(where, f"there are two keys of version {version}; number them, as in 2:...,1:...")
        keys[version] = key
    if not keys:
        raise MasterKeyInvalid(where, "there is no key")
    return Keyring(keys)


def fingerprint(key: bytes) -> bytes:
    """Return what tells keys apart and says nothing about them."""
    return hmac.digest(key, b"constellation master key", hashlib.sha256)[:16]


def _decoded(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None
