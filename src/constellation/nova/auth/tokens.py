"""JSON Web Tokens of the issuers that the configuration trusts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence

import httpx
import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from constellation.base.clock import Clock
from constellation.base.errors import Unauthenticated
from constellation.nova.auth.claims import Claimed, claimed_by
from constellation.nova.auth.keysets import Keys
from constellation.nova.config.issuers import Issuer

_MAX_TOKEN_CHARACTERS = 8192


class _Head(msgspec.Struct):
    alg: str
    kid: str | None = None
    typ: str = ""


class _Payload(msgspec.Struct):
    iss: str


class Tokens:
    """Says who bears a token. A token chooses neither its algorithm nor its key: its issuer's configuration does."""

    def __init__(
        self, issuers: Sequence[Issuer], *, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._clock = clock
        self._issuers: Mapping[str, list[tuple[Issuer, Keys]]] = {}
        by_name: dict[str, list[tuple[Issuer, Keys]]] = {}
        for issuer in issuers:
            by_name.setdefault(issuer.issuer, []).append((issuer, Keys(issuer, clock=clock, transport=transport)))
        self._issuers = by_name

    @staticmethod
    def is_token(text: str) -> bool:
        """Tell whether a credential has the form of a signed token."""
        return text.count(".") == 2

    async def claimed(self, text: str) -> Claimed:
        """Return who bears a token.

        Raises:
            Unauthenticated: it is malformed, of nobody that is trusted, wrongly signed, expired, or for somebody else.
            Unavailable: its issuer's keys can not be had.
        """
        if len(text) > _MAX_TOKEN_CHARACTERS:
            raise Unauthenticated("the token is too long")
        try:
            told = msgspec.json.decode(_decoded(text.split(".")[1]), type=_Payload).iss
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise Unauthenticated("the token is malformed") from error
        failure: Unauthenticated | None = None
        for issuer, keys in self._issuers.get(told, ()):  # several may differ in audience only
            try:
                claims = await signed_claims(text, keys, issuer.algorithms)
                return claimed_by(issuer, claims, now=self._clock.now())
            except Unauthenticated as error:
                failure = error
        raise failure or Unauthenticated("the token is of no issuer that is trusted here")


async def signed_claims(text: str, keys: Keys, algorithms: Collection[str]) -> dict[str, object]:
    """Return what a token claims, once it is known that one of `keys` signed it with one of `algorithms`.

    Raises:
        Unauthenticated: it is malformed, or signed in another way or by somebody else.
        Unavailable: the keys can not be had.
    """
    try:
        head = msgspec.json.decode(_decoded(text.partition(".")[0]), type=_Head)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise Unauthenticated("the token is malformed") from error
    if head.alg not in algorithms:
        raise Unauthenticated("the token is signed in a way that its issuer does not use")
    key = await keys.find(head.alg, head.kid)
    if key is None:
        raise Unauthenticated("the token is signed with a key that its issuer does not have")
    try:
        signed = jws.deserialize_compact(text, key, algorithms=[head.alg])
        return msgspec.json.decode(signed.payload, type=dict[str, object])
    except (JoseError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise Unauthenticated("the token's signature is not its issuer's") from error


def type_of(text: str) -> str:
    """Return the type that a token's head says, in lower case; "": none. Raises `Unauthenticated`: it is malformed."""
    try:
        return msgspec.json.decode(_decoded(text.partition(".")[0]), type=_Head).typ.lower()
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise Unauthenticated("the token is malformed") from error


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
