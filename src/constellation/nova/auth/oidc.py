"""Logging in at a provider: from the address that a browser opens to the code that a program shows for its session.

    program -> begin: gets an address        browser -> provider -> person: gets a code
    program -> finish: the code, and the proof that it began this login

Between two steps nothing is kept here: what belongs to a login travels with the browser, sealed. A code that is stolen
on its way is worth nothing, since only the program that began the login has the proof; and a person who is lured into
somebody else's login hands the code to the program at its own loopback address, or sees where it would paste it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import msgspec

from constellation.base import base64url
from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest, NotFound, Overloaded, Unauthenticated, Unavailable
from constellation.base.ids import uuid7
from constellation.nova.auth.claims import LEEWAY_S
from constellation.nova.auth.person import LoginRefused, person_of
from constellation.nova.auth.provider import ProviderDoor
from constellation.nova.auth.provider_logout import logout_of
from constellation.nova.auth.sealing import Sealer
from constellation.nova.config.oidc import Provider
from constellation.nova.domain.people import Person, ProviderLogout, ProviderSession, User

LOGIN_S = 600.0  # chosen: a person finds the second factor in that time
CODE_S = 120.0  # chosen: of a code that a person pastes
_EXCHANGES = 16  # chosen: at a time; each waits for a provider
_HINT_CHARACTERS = 64_000  # more than a sealed ID token can have
_SPENT = 10_000  # logins remembered as used; more than can be under way


class Begun(msgspec.Struct, frozen=True):
    """A login that is under way. `port`: of the program on the browser's machine; None: the person carries the code."""

    provider: str
    login: UUID
    nonce: str
    verifier: str  # of our own code challenge, to the provider
    challenge: str  # of the program
    port: int | None


class _Arrived(msgspec.Struct, frozen=True):
    tenant: str
    user: str
    session: UUID
    challenge: str


class _Hint(msgspec.Struct, frozen=True):
    token: str


class OidcLogins:
    """`key`: the platform's, which seals what browsers carry."""

    def __init__(self, doors: Sequence[ProviderDoor], *, key: bytes, clock: Clock) -> None:
        self._doors = {door.provider.name: door for door in doors}
        self._clock = clock
        self._states, self._codes = Sealer(key, purpose="login state"), Sealer(key, purpose="login code")
        self._hints = Sealer(key, purpose="ID token", max_characters=_HINT_CHARACTERS)
        self._exchanging = 0
        self._spent: dict[UUID, None] = {}

    def providers(self) -> tuple[Provider, ...]:
        return tuple(door.provider for door in self._doors.values())

    async def begin(self, name: str, *, challenge: str, port: int | None) -> tuple[str, datetime]:
        """Return the address that a browser is to open, and until when the login can be ended.

        Raises:
            NotFound: there is no such provider.
            Unavailable: it can not be asked.
        """
        door = self._door(name)
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        expires_at = self._clock.now() + timedelta(seconds=LOGIN_S)
        begun = Begun(provider=name, login=uuid7(), nonce=nonce, verifier=verifier, challenge=challenge, port=port)
        url = await door.authorize_url(
            state=self._states.seal(begun, expires_at=expires_at), nonce=nonce, challenge=challenge_of(verifier)
        )
        return url, expires_at

    def begun(self, name: str, query: Mapping[str, str]) -> Begun:
        """Return the login that a browser comes back from.

        Raises:
            NotFound: there is no such provider.
            InvalidRequest: it is no answer of a provider.
            Unauthenticated: no such login is under way here.
        """
        self._door(name)
        if "state" not in query:
            raise InvalidRequest("the provider's answer has no state", field="state")
        begun = self._states.opened(query["state"], Begun, now=self._clock.now())
        if begun is None or begun.provider != name or begun.login in self._spent:
            raise Unauthenticated("this login is over, or was not begun here: begin again")
        return begun

    async def person(self, begun: Begun, query: Mapping[str, str]) -> tuple[Person, str]:
        """Return who has come back from a provider, asked what the code is worth, and the ID token that says so.

        Raises:
            Unauthenticated: the provider says nobody, or of another login.
            LoginRefused: it refuses, or tells of somebody whom the configuration does not let in.
            InvalidRequest: it is no answer of a provider.
            Unavailable, Overloaded: it can not be asked now.
        """
        door = self._door(begun.provider)
        provider = door.provider
        if query.get("iss", provider.issuer) != provider.issuer:  # RFC 9207: of another provider, with our state
            raise Unauthenticated("the answer is another provider's")
        if "error" in query:
            raise LoginRefused(provider.name, f"it answers {query['error'][:60]!r}")
        if not query.get("code"):
            raise InvalidRequest("the provider's answer has no code", field="code")
        if self._exchanging >= _EXCHANGES:
            raise Overloaded("logins at providers", limit=_EXCHANGES)
        self._exchanging += 1
        try:
            claims, token = await door.claims(query["code"], verifier=begun.verifier)
        finally:
            self._exchanging -= 1
        if begun.login in self._spent:  # twice at once
            raise Unauthenticated("this login was ended already")
        self._spend(begun.login)
        return person_of(provider, claims, nonce=begun.nonce, now=self._clock.now()), token

    def at_provider(self, person: Person, user: User, token: str, *, session: UUID, ttl_s: float) -> ProviderSession:
        """Return what a session that is about to begin is at its provider."""
        expires_at = self._clock.now() + timedelta(seconds=CODE_S + ttl_s)
        return ProviderSession(
            tenant=user.tenant,
            id=session,
            user_name=user.name,
            provider=person.provider,
            issuer=person.issuer,
            subject=person.subject,
            sid=person.sid,
            id_token=self._hints.seal(_Hint(token=token), expires_at=expires_at),
            expires_at=expires_at,
        )

    async def logout_url(self, session: ProviderSession) -> str | None:
        """Return where a browser ends the provider's session, too; None: nowhere, or it can not be asked now."""
        door = self._doors.get(session.provider)
        hint = self._hints.opened(session.id_token, _Hint, now=self._clock.now())
        if door is None or door.provider.issuer != session.issuer or hint is None:
            return None
        try:
            return await door.logout_url(hint.token)
        except Unavailable:
            return None

    async def logout(self, name: str, token: str) -> tuple[ProviderLogout, datetime]:
        """Return which sessions a provider says are over, and until when they had begun.

        Raises:
            NotFound: there is no such provider.
            InvalidRequest: it is no logout token of that provider, for us.
            Unavailable: the provider's keys can not be had.
        """
        door = self._door(name)
        try:
            logout = logout_of(door.provider, await door.told(token), now=self._clock.now())
        except Unauthenticated as error:
            raise InvalidRequest(str(error), field="logout_token") from error
        # What began later was not meant: a message that comes twice, or is kept and sent again, ends nothing new.
        return logout, datetime.fromtimestamp(logout.issued_at_s + LEEWAY_S, UTC)

    def code(self, *, tenant: str, user: str, session: UUID, challenge: str) -> str:
        """Return the code that stands for a new session of a user."""
        arrived = _Arrived(tenant=tenant, user=user, session=session, challenge=challenge)
        return self._codes.seal(arrived, expires_at=self._clock.now() + timedelta(seconds=CODE_S))

    def redeemed(self, code: str, *, verifier: str) -> tuple[str, str, UUID]:
        """Return tenant and name of the user that a code stands for, and the id that its one session has.

        Raises:
            Unauthenticated: it is no code of ours, over, or of a login that somebody else began.
        """
        arrived = self._codes.opened(code, _Arrived, now=self._clock.now())
        if arrived is None or not hmac.compare_digest(arrived.challenge, challenge_of(verifier)):
            raise Unauthenticated("the code is over, or of another login: begin again")
        return arrived.tenant, arrived.user, arrived.session

    def _spend(self, login: UUID) -> None:
        while len(self._spent) >= _SPENT:
            del self._spent[next(iter(self._spent))]
        self._spent[login] = None

    def _door(self, name: str) -> ProviderDoor:
        door = self._doors.get(name)
        if door is None:
            raise NotFound("login provider", name)
        return door


def challenge_of(verifier: str) -> str:
    """Return what proves later who has a verifier (RFC 7636, S256)."""
    return base64url.encode(sha256(verifier.encode()).digest())
