"""AES-256-GCM twice: a value under a key of its own, that key under a master key.

Both are bound to the secret's place, so that no row opens as another. A new master key touches the inner key only.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from constellation.base.errors import ConstellationError
from constellation.nova.domain.secret import Sealed
from constellation.nova.secrets.keyring import KEY_BYTES, Keyring

_NONCE_BYTES = 12
Place = tuple[str, str, str]  # tenant, namespace, name


class SecretDamaged(ConstellationError):
    """What is stored was not sealed so: it was changed, moved to another name, or the key is another one."""

    code, http_status = "secret_damaged", 500

    def __init__(self, name: str) -> None:
        super().__init__(f"secret {name!r} can not be opened: what is stored of it was changed, or the master key was")


def seal(keyring: Keyring, place: Place, value: bytes) -> Sealed:
    """Encrypt a value with a new key."""
    key = os.urandom(KEY_BYTES)
    return Sealed(
        key_version=keyring.newest,
        key=_wrapped(keyring, place, key),
        value=_encrypted(key, _bound("value", place), value),
    )


def open_sealed(keyring: Keyring, place: Place, sealed: Sealed) -> bytes:
    """Return the value.

    Raises:
        MasterKeyMissing: the keyring lacks its master key.
        SecretDamaged: see there.
    """
    key = _unwrapped(keyring, place, sealed)
    return _decrypted(key, _bound("value", place), sealed.value, name=place[2])


def resealed(keyring: Keyring, place: Place, sealed: Sealed) -> Sealed:
    """Return the same value with its key under the newest master key. Raises as `open_sealed`."""
    key = _unwrapped(keyring, place, sealed)
    return Sealed(key_version=keyring.newest, key=_wrapped(keyring, place, key), value=sealed.value)


def _wrapped(keyring: Keyring, place: Place, key: bytes) -> bytes:
    version = keyring.newest
    return _encrypted(keyring.key(version), _bound(f"key {version}", place), key)


def _unwrapped(keyring: Keyring, place: Place, sealed: Sealed) -> bytes:
    version = sealed.key_version
    return _decrypted(keyring.key(version), _bound(f"key {version}", place), sealed.key, name=place[2])


def _encrypted(key: bytes, bound: bytes, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, bound)


def _decrypted(key: bytes, bound: bytes, data: bytes, *, name: str) -> bytes:
    try:
        return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:  # ValueError: too short to have a nonce
        raise SecretDamaged(name) from error


def _bound(purpose: str, place: Place) -> bytes:
    """No two sets of words give the same bytes: names hold no NUL."""
    return "\0".join((purpose, *place)).encode()
