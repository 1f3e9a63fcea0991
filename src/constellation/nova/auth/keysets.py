"""The keys that an issuer signs with: from a file, or fetched from it and fetched anew when it signs with another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec
import structlog
from anyio import to_thread
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from constellation.base.clock import Clock
from constellation.base.errors import Unavailable
from constellation.nova.auth.web import Web
from constellation.nova.config.issuers import Issuer

log = structlog.get_logger()

Key = OctKey | RSAKey | ECKey
_MAX_KEYS = 64
_LIFE_S = 600.0  # chosen: a key that the issuer took back is trusted no longer than this
_PAUSE_S = 30.0  # chosen: tokens with made-up key ids must not become a flood at the issuer
_MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2
_MIN_RSA_BITS = 2048


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


class Keys:
    """One issuer's keys. `web`: how they are fetched; by default from wherever the operator's `jwks_url` is."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
        web: Web | None = None,
    ) -> None:
        self._issuer, self._clock = issuer, clock
        self._web = web or Web(home=urlsplit(issuer.jwks_url).hostname or "", transport=transport)
        self._known: list[Key] = []
        self._read_at_s: float | None = None  # monotonic; of the last success
        self._tried_at_s: float | None = None  # of the last attempt
        self._reading = anyio.Lock()

    async def find(self, algorithm: str, key_id: str | None) -> Key | None:
        """Return the key that a token says it is signed with, None when there is no such key.

        Raises:
            Unavailable: the issuer's keys were never had, and can not be had now.
        """
        now_s = self._clock.monotonic_s()
        is_old = self._read_at_s is None or now_s - self._read_at_s > _LIFE_S
        found = None if is_old else _pick(self._known, algorithm, key_id)
        if found is not None:
            return found
        await self._read(now_s)
        return _pick(self._known, algorithm, key_id)

    async def _read(self, asked_at_s: float) -> None:
        """Read the keys anew, unless that was done since it was asked for, or tried a moment ago."""
        async with self._reading:
            now_s = self._clock.monotonic_s()
            if self._tried_at_s is not None and (self._tried_at_s >= asked_at_s or now_s - self._tried_at_s < _PAUSE_S):
                self._expire(now_s)
                return
            self._tried_at_s = now_s
            try:
                self._known = await (self._fetched() if self._issuer.jwks_url else to_thread.run_sync(self._stored))
            except (OSError, httpx.HTTPError, TimeoutError, JoseError, ValueError, msgspec.MsgspecError) as error:
                log.warning(
                    "issuer.keys_unread", issuer=self._issuer.name, reason=f"{type(error).__name__}: {error}"[:300]
                )
                self._expire(now_s)
                if self._read_at_s is None:
                    raise Unavailable(f"issuer {self._issuer.name}", reason="its keys can not be read") from error
                return
            self._read_at_s = now_s
            log.info("issuer.keys_read", issuer=self._issuer.name, keys=len(self._known))

    def _expire(self, now_s: float) -> None:
        """Forget keys that could not be confirmed for so long that they may have been taken back."""
        if self._read_at_s is not None and now_s - self._read_at_s > 6 * _LIFE_S:
            self._known = []

    async def _fetched(self) -> list[Key]:
        return _set_of(await self._web.get(self._issuer.jwks_url))

    def _stored(self) -> list[Key]:
        issuer = self._issuer
        if issuer.jwks:
            return _set_of(Path(issuer.jwks).read_bytes())
        if issuer.secret:
            secret = Path(issuer.secret).read_bytes().strip()
            if len(secret) < _MIN_SECRET_BYTES:
                raise ValueError(f"the secret is shorter than {_MIN_SECRET_BYTES} bytes")
            return [OctKey.import_key(secret)]
        pem = Path(issuer.key).read_bytes()
        kind = RSAKey if "RS256" in issuer.algorithms else ECKey
        return [kind.import_key(pem)]


def _set_of(data: bytes) -> list[Key]:
    """Return the usable keys of a set; shared secrets are none, whoever publishes them."""
    keys = msgspec.json.decode(data, type=_Set).keys
    if len(keys) > _MAX_KEYS:
        raise ValueError(f"more than {_MAX_KEYS} keys")
    usable = [key for key in keys if key.get("kty") in ("RSA", "EC") and key.get("use", "sig") == "sig"]
    found: list[Key] = []
    for each in usable:
        try:
            found += [key for key in KeySet.import_key_set({"keys": [each]}).keys if isinstance(key, RSAKey | ECKey)]
        except (JoseError, ValueError, TypeError, KeyError):  # one that is new to us spoils no other
            continue
    return found


def _pick(keys: Sequence[Key], algorithm: str, key_id: str | None) -> Key | None:
    """Return the key of this id that the algorithm may be used with; without an id, the only one there is."""
    fitting = [key for key in keys if _fits(key, algorithm)]
    if key_id is None:
        return fitting[0] if len(fitting) == 1 else None
    named = [key for key in fitting if key.get("kid") == key_id]
    if named:
        return named[0]
    # A key from a file of its own has no id: it is the one that the operator meant, whatever the token calls it.
    return fitting[0] if len(fitting) == 1 and fitting[0].get("kid") is None else None


def _fits(key: Key, algorithm: str) -> bool:
    if key.get("alg") not in (None, algorithm):
        return False
    match key:
        case OctKey():
            return algorithm == "HS256"
        case RSAKey():
            return algorithm == "RS256" and key.raw_value.key_size >= _MIN_RSA_BITS
        case ECKey():
            return algorithm == "ES256" and key.curve_name == "P-256"
