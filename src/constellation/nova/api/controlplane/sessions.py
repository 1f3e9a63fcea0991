"""Logging in and out, and what users do about their own sessions and passwords."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from constellation.base.clock import Clock
from constellation.base.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from constellation.base.ids import uuid7
from constellation.nova.api.request import ApiRequest
from constellation.nova.auth.oidc import OidcLogins
from constellation.nova.domain.access import Permission
from constellation.nova.domain.people import User, UserSession, check_password, check_user_name, session_of, user_of
from constellation.nova.store.api_keys import hash_api_key
from constellation.nova.store.logins import Logins
from constellation.nova.store.passwords import Passwords
from constellation.nova.store.provider_sessions import ProviderSessions
from constellation.nova.store.users import NewSession, Users, new_session_token
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.people import Done, LoggedInBody, LoggedOut, Login, PasswordChange, SessionBody
from constellation.routes.reading import page_of

DISABLED = "the user is disabled"


class Begins:
    """Begins sessions. `ttl_s`: how long a login lasts."""

    def __init__(self, users: Users, *, clock: Clock, ttl_s: Callable[[], float]) -> None:
        self._users, self._clock, self.ttl_s = users, clock, ttl_s

    async def begin(self, user: User, *, session: UUID, address: str) -> LoggedInBody:
        """Return the token of a new session; errors as in `Users.begin_session`."""
        token, expires_at = new_session_token(), self._clock.now() + timedelta(seconds=self.ttl_s())
        await self._users.begin_session(
            NewSession(
                id=session,
                tenant=user.tenant,
                user_name=user.name,
                token_hash=hash_api_key(token),
                address=address,
                expires_at=expires_at,
            )
        )
        return LoggedInBody(token=token, expires_at=expires_at, subject=user.subject, tenant=user.tenant)


class SessionRoutes:
    """Operations of users on themselves."""

    def __init__(
        self, users: Users, logins: Logins, passwords: Passwords, begins: Begins, oidc: OidcLogins,
        at_providers: ProviderSessions, *, clock: Clock,
    ) -> None:  # fmt: skip
        self._users, self._logins, self._passwords, self._clock = users, logins, passwords, clock
        self._begins, self._oidc, self._at_providers = begins, oidc, at_providers

    async def login(self, call: ApiRequest[Login]) -> LoggedInBody:
        tenant, name = call.body.tenant, check_user_name(call.body.user)
        user = await self._proven(tenant, name, call.body.password, address=call.client)
        try:
            return await self._begins.begin(user, session=uuid7(), address=call.client)
        except NotFound as error:  # deleted or disabled while the password was checked
            raise _wrong() from error

    async def logout(self, call: ApiRequest[None]) -> LoggedOut:
        tenant, name, session = self._caller(call)
        known = await self._at_providers.try_get(tenant, session)
        await self._users.end_session(tenant, name, session)
        url = None if known is None else await self._oidc.logout_url(known)
        return LoggedOut(status="logged out", logout_url=url)

    async def change_password(self, call: ApiRequest[PasswordChange]) -> Done:
        tenant, name, session = self._caller(call)
        new = check_password(call.body.new, user=name, field="new")
        await self._proven(tenant, name, call.body.current, address=call.client)
        await self._users.set_password(tenant, name, await self._passwords.hash(new), keep=session)
        return Done(status="changed")

    async def list_sessions(self, call: ApiRequest[None]) -> Page[SessionBody]:
        tenant, name, current = self._caller(call)
        found = await self._users.list_sessions(tenant, name, limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, lambda session: _session_body(session, current=current))

    async def end_session(self, call: ApiRequest[None]) -> Deleted:
        tenant, name, _ = self._caller(call)
        text = call.params["id"]
        try:
            session = UUID(text)
        except ValueError as error:
            raise InvalidRequest("id must be a UUID", field="id") from error
        if not await self._users.end_session(tenant, name, session):
            raise NotFound("session", text)
        return Deleted(status="deleted", name=text)

    async def _proven(self, tenant: str, name: str, password: str, *, address: str) -> User:
        """Return the user whose password this is.

        Raises:
            Unauthenticated: it is nobody's; who knows a name does not learn whether there is such a user.
            TooManyLogins: too many were wrong lately.
        """
        await self._logins.begin(tenant, name, address, now=self._clock.now())
        stored = await self._users.try_password_hash(tenant, name)
        if not await self._passwords.is_right(password, stored):
            raise _wrong()
        user = await self._users.get(tenant, name)
        if not user.enabled:
            raise _wrong()
        await self._logins.succeeded(tenant, name, address)
        if stored is not None and self._passwords.is_weak(stored):
            await self._users.strengthen(tenant, name, old=stored, new=await self._passwords.hash(password))
        return user

    def _caller(self, call: ApiRequest[object]) -> tuple[str, str, UUID]:
        """Return the home tenant and the name of the user that calls, and its session. Raises `Forbidden` for whoever has no session."""
        name = user_of(call.identity.subject)
        if name is None or not call.identity.session:
            raise Forbidden(
                call.identity.subject,
                permission=Permission.AUTHENTICATED.value,
                reason=f"{call.identity.subject} is no user who logged in: this is for sessions only",
            )
        tenant, session = session_of(call.identity.session)
        return tenant, name, session


def _wrong() -> Unauthenticated:
    return Unauthenticated("the user or the password is wrong, or the user is disabled")


def _session_body(session: UserSession, *, current: UUID) -> SessionBody:
    return SessionBody(
        id=session.id,
        address=session.address,
        is_current=session.id == current,
        created_at=session.created_at,
        expires_at=session.expires_at,
    )
