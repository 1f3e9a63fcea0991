"""One provider of OpenID Connect as it is spoken to: its discovery document, its keys, its codes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import anyio
import httpx
import msgspec
import structlog
from anyio import to_thread

from constellation.base.clock import Clock
from constellation.base.errors import Unauthenticated, Unavailable
from constellation.nova.auth.keysets import Keys
from constellation.nova.auth.provider_logout import TYPES
from constellation.nova.auth.tokens import signed_claims, type_of
from constellation.nova.auth.web import Web
from constellation.nova.config.issuers import LOOPBACK, Issuer
from constellation.nova.config.oidc import Provider

log = structlog.get_logger()

_LIFE_S = 600.0  # chosen: as that of an issuer's keys
_PAUSE_S = 5.0  # chosen: people who try again must not become a flood at a provider that is away
_MAX_TOKEN_CHARACTERS = 32_768  # chosen: groups by the hundred
_REFUSALS = (400, 401, 403)
_FAILURES = (OSError, httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, msgspec.MsgspecError)


class _Document(msgspec.Struct):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct):
    id_token: str


class _Refusal(msgspec.Struct):
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the document says, and when it was read (monotonic)."""

    document: _Document
    keys: Keys
    read_at_s: float


class ProviderDoor:
    """`redirect_uri`: where the provider sends people back to. `web`: for tests of what a provider may answer."""

    def __init__(self, provider: Provider, *, redirect_uri: str, clock: Clock, web: Web | None = None) -> None:
        self.provider, self._redirect_uri, self._clock = provider, redirect_uri, clock
        self._web = web or Web(home=provider.host)
        self._known: _Known | None = None
        self._failed_at_s: float | None = None
        self._reading = anyio.Lock()

    async def authorize_url(self, *, state: str, nonce: str, challenge: str) -> str:
        """Return the address that a person logs in at. Raises `Unavailable`: the provider can not be asked where."""
        at = (await self._discovered()).document.authorization_endpoint
        asked = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self.provider.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{at}{'&' if '?' in at else '?'}{urlencode(asked)}"

    async def logout_url(self, id_token: str) -> str | None:
        """Return the address at which a browser ends the provider's session; None: it has none for that.

        Raises:
            Unavailable: the provider can not be asked where.
        """
        at = (await self._discovered()).document.end_session_endpoint
        if not at:
            return None
        asked = {"id_token_hint": id_token, "client_id": self.provider.client_id}
        if self.provider.post_logout_redirect_uri:
            asked["post_logout_redirect_uri"] = self.provider.post_logout_redirect_uri
        return f"{at}{'&' if '?' in at else '?'}{urlencode(asked)}"

    async def told(self, token: str) -> dict[str, object]:
        """Return what a logout token claims, which the provider sent by itself.

        Raises:
            Unauthenticated: it is of another type, or not signed by the provider.
            Unavailable: the provider's keys can not be had.
        """
        if type_of(token) not in TYPES:
            raise Unauthenticated("the token is of another type")
        return await signed_claims(token, (await self._discovered()).keys, self.provider.algorithms)

    async def claims(self, code: str, *, verifier: str) -> tuple[dict[str, object], str]:
        """Return what the ID token claims that a code is exchanged for, the signature being the provider's, and itself.

        Raises:
            Unauthenticated: the provider does not know the code, or the token is not signed by it.
            Unavailable: the provider does not answer as one should, or does not know this platform.
        """
        known = await self._discovered()
        token = await self._exchanged(known, code, verifier)
        return await signed_claims(token, known.keys, self.provider.algorithms), token

    async def _discovered(self) -> _Known:
        async with self._reading:
            now_s = self._clock.monotonic_s()
            known = self._known
            if known is not None and now_s - known.read_at_s <= _LIFE_S:
                return known
            if self._failed_at_s is not None and now_s - self._failed_at_s < _PAUSE_S:
                raise self._away("its discovery document could not be read a moment ago")
            try:
                document = await self._document()
            except _FAILURES as error:
                self._failed_at_s = now_s
                log.warning("provider.undiscovered", provider=self.provider.name, reason=_told(error))
                raise self._away("its discovery document can not be read") from error
            keys = known.keys if known is not None and known.document == document else self._keys(document.jwks_uri)
            self._known, self._failed_at_s = _Known(document=document, keys=keys, read_at_s=now_s), None
            return self._known

    async def _document(self) -> _Document:
        issuer = self.provider.issuer
        body = await self._web.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        document = msgspec.json.decode(body, type=_Document)
        if document.issuer != issuer:
            raise ValueError("it is the document of another issuer")
        if not self._is_page(document.authorization_endpoint):
            raise ValueError("its authorization_endpoint does not begin with https://")
        if document.end_session_endpoint and not self._is_page(document.end_session_endpoint):
            log.warning("provider.no_logout", provider=self.provider.name, reason="its end_session_endpoint is no page")
            document = msgspec.structs.replace(document, end_session_endpoint="")
        return document

    def _is_page(self, address: str) -> bool:
        """Tell whether a browser can be sent there: to a page of the web, and over TLS where the issuer's own is."""
        url = urlsplit(address)
        is_local = self.provider.host in LOOPBACK and url.hostname in LOOPBACK
        return (
            (url.scheme == "https" or (url.scheme == "http" and is_local)) and bool(url.hostname) and not url.fragment
        )

    def _keys(self, jwks_uri: str) -> Keys:
        provider = self.provider
        issuer = Issuer(
            name=provider.name,
            issuer=provider.issuer,
            audience=provider.client_id,
            algorithms=provider.algorithms,
            jwks_url=jwks_uri,
        )
        return Keys(issuer, clock=self._clock, web=self._web)

    async def _exchanged(self, known: _Known, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "client_id": self.provider.client_id,
            "code_verifier": verifier,
        }
        try:
            headers = await self._proof(known.document, form)
            status, body = await self._web.post(known.document.token_endpoint, form, headers=headers)
            if status == 200:
                token = msgspec.json.decode(body, type=_Tokens).id_token
                if len(token) > _MAX_TOKEN_CHARACTERS or token.count(".") != 2:
                    raise ValueError("its ID token is none")
                return token
            error = msgspec.json.decode(body, type=_Refusal).error if status in _REFUSALS else ""
        except _FAILURES as failure:
            log.warning("provider.unexchanged", provider=self.provider.name, reason=_told(failure))
            raise self._away("it does not exchange codes as it should") from failure
        log.warning("provider.refused", provider=self.provider.name, status=status, error=error[:60])
        if error == "invalid_grant":
            raise Unauthenticated(f"{self.provider.name} does not know the code, or it was used already: log in again")
        raise self._away("it refuses this platform's client id, secret or redirect URI; nova's log says more")

    async def _proof(self, document: _Document, form: dict[str, str]) -> Mapping[str, str]:
        """Add to a form, or return as headers, what proves who we are."""
        if not self.provider.client_secret:
            return {}
        read = await to_thread.run_sync(Path(self.provider.client_secret).read_text)
        secret = read.strip()
        if "client_secret_basic" not in document.token_endpoint_auth_methods_supported:
            form["client_secret"] = secret
            return {}
        pair = f"{quote(self.provider.client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749 section 2.3.1
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}

    def _away(self, reason: str) -> Unavailable:
        return Unavailable(f"login provider {self.provider.name}", reason=reason)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
