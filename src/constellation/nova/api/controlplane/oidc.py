"""Logging in at a provider of OpenID Connect."""

from __future__ import annotations

from urllib.parse import urlencode

import structlog

from constellation.base.clock import Clock
from constellation.base.errors import AlreadyExists, ConstellationError, NotFound, Unauthenticated
from constellation.base.ids import uuid7
from constellation.nova.api.controlplane.sessions import DISABLED, Begins
from constellation.nova.api.request import ApiRequest, Redirect, Shown
from constellation.nova.auth.oidc import OidcLogins
from constellation.nova.auth.person import LoginRefused
from constellation.nova.config.oidc import Provider
from constellation.nova.domain.people import Person, User
from constellation.nova.store.identities import Identities
from constellation.nova.store.logins import Logins
from constellation.nova.store.provider_sessions import ProviderSessions
from constellation.nova.store.users import Users
from constellation.routes.models.people import (
    Done,
    LoggedInBody,
    LoginProviderBody,
    LoginProviders,
    OidcBegin,
    OidcBegun,
    OidcFinish,
    OidcLogout,
)

log = structlog.get_logger()

_PASTE = "You are logged in. Give this code, within two minutes, to the program where you began the login:\n\n{}\n\n"
_PASTE_WARNING = "If you began none, close this page and give the code to nobody.\n"


class OidcRoutes:
    """Operations of whoever logs in; none has a credential yet."""

    def __init__(
        self,
        oidc: OidcLogins,
        identities: Identities,
        users: Users,
        logins: Logins,
        begins: Begins,
        sessions: ProviderSessions,
        *,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._oidc, self._identities, self._users, self._logins = oidc, identities, users, logins
        self._begins, self._clock = begins, clock

    async def list_login_providers(self, _call: ApiRequest[None]) -> LoginProviders:
        return LoginProviders(
            providers=[LoginProviderBody(name=each.name, issuer=each.issuer) for each in self._oidc.providers()]
        )

    async def begin_oidc_login(self, call: ApiRequest[OidcBegin]) -> OidcBegun:
        body = call.body
        url, expires_at = await self._oidc.begin(call.params["provider"], challenge=body.challenge, port=body.port)
        return OidcBegun(url=url, expires_at=expires_at)

    async def return_oidc_login(self, call: ApiRequest[None]) -> Redirect | Shown:
        """Take a browser that comes from a provider on to the program that waits for it."""
        begun = self._oidc.begun(call.params["provider"], call.query)
        # As with passwords: whoever tries codes that no provider made is slowed down, by its address.
        await self._logins.begin_from(call.client, now=self._clock.now())
        try:
            person, token = await self._oidc.person(begun, call.query)
            user = await self._user(person)
            session = uuid7()
            at_provider = self._oidc.at_provider(person, user, token, session=session, ttl_s=self._begins.ttl_s())
            await self._sessions.add(at_provider)
        except ConstellationError as error:
            if begun.port is None or error.http_status >= 500:
                raise
            return _to_program(begun.port, {"error": error.code, "detail": str(error)[:500]})
        await self._logins.succeeded_from(call.client)
        code = self._oidc.code(tenant=user.tenant, user=user.name, session=session, challenge=begun.challenge)
        if begun.port is None:
            return Shown(text=_PASTE.format(code) + _PASTE_WARNING)
        return _to_program(begun.port, {"code": code})

    async def finish_oidc_login(self, call: ApiRequest[OidcFinish]) -> LoggedInBody:
        tenant, name, session = self._oidc.redeemed(call.body.code, verifier=call.body.verifier)
        try:
            user = await self._users.get(tenant, name)
            made = await self._begins.begin(user, session=session, address=call.client)
        except (NotFound, AlreadyExists) as error:
            raise Unauthenticated("the code was used already, or its user is gone: begin again") from error
        # Asked behind its begin: a logout that came before found no session here, and one that comes now does.
        if await self._sessions.try_get(tenant, session) is None:
            await self._users.end_session(tenant, name, session)
            raise Unauthenticated("the provider ended this login meanwhile: begin again")
        return made

    async def end_oidc_sessions(self, call: ApiRequest[OidcLogout]) -> Done:
        """End what a provider says is over; what is not here is over, too.

        Nobody is slowed down: to look at a signature costs less than to count, and no flood of others may keep a logout away.
        """
        name = call.params["provider"]
        logout, begun_by = await self._oidc.logout(name, call.body.logout_token)
        ended = await self._sessions.end(logout, begun_by=begun_by)
        log.info("provider.logged_out", provider=name, sessions=ended)
        return Done(status="logged out")

    async def _user(self, person: Person) -> User:
        """Return the user that a person is, with the roles that the provider gives.

        Raises:
            LoginRefused: it is a stranger and may not become one, or is disabled.
        """
        provider = self._provider(person.provider)
        user = await self._identities.try_known(person)
        if user is None:
            if not provider.create_users:
                raise LoginRefused(
                    person.provider,
                    f"tenant {person.tenant} has no user for {person.name}, and none is made at a login; an administrator "
                    f"lets it in (`orbit users create {person.name} --provider {person.provider}`)",
                )
            user = await self._identities.create(person) or await self._identities.try_known(person)
        if user is None:
            raise LoginRefused(
                person.provider,
                f"the name {person.name} is taken in tenant {person.tenant}, by a user who does not log in here or by "
                "roles that were given to it; an administrator must free it",
            )
        if not user.enabled:
            raise LoginRefused(person.provider, DISABLED)
        await self._identities.give(user, person.roles, by=f"oidc:{provider.name}")
        return user

    def _provider(self, name: str) -> Provider:
        return next(provider for provider in self._oidc.providers() if provider.name == name)


def _to_program(port: int, said: dict[str, str]) -> Redirect:
    """Return the way to a program on the browser's own machine; never anywhere else."""
    return Redirect(location=f"http://127.0.0.1:{port}/?{urlencode(said)}")
