"""Who holds a credential, and what it was granted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from constellation.base.clock import Clock
from constellation.base.errors import NotFound, Unauthenticated
from constellation.nova.auth.tokens import Tokens
from constellation.nova.domain.access import ANY, ApiKey, Permission, Role, burst_of
from constellation.nova.domain.grants import Grant, Principal
from constellation.nova.domain.people import LoggedIn, session_ref, user_subject
from constellation.nova.store.api_keys import hash_api_key
from constellation.nova.store.users import SESSION_PREFIX

# Whoever the gateway trusts without a credential (architecture section 8).
LOCAL_ADMIN = Principal.with_role(Role.ADMIN, subject="local:admin", tenant=ANY, namespace=ANY)


class KnownKeys(Protocol):
    """Finds a key by its SHA-256. Looking up a hash tells a caller nothing by its time: it can not choose the hash."""

    async def try_get_by_hash(self, key_hash: bytes) -> ApiKey | None: ...

    async def used(self, key: ApiKey, *, now: datetime) -> None: ...


class KnownSessions(Protocol):
    """Finds a session by the SHA-256 of its token."""

    async def try_session(self, token_hash: bytes) -> LoggedIn | None: ...


class KnownGrants(Protocol):
    """Knows roles, and who has which."""

    async def grants(self, tenant: str, subject: str) -> tuple[Grant, ...]: ...

    async def permissions_of(self, tenant: str, role: str) -> frozenset[Permission]: ...


class Authenticator:
    """Turns credentials into principals."""

    def __init__(
        self, keys: KnownKeys, sessions: KnownSessions, grants: KnownGrants, tokens: Tokens, *, clock: Clock
    ) -> None:
        self._keys, self._sessions, self._grants, self._tokens = keys, sessions, grants, tokens
        self._clock = clock

    async def presented(self, text: str) -> Principal:
        """Return whose credential this is: an API key, a session's token, or a JWT of a trusted issuer.

        Raises:
            Unauthenticated: it is unknown, disabled or expired; the caller is not told which.
            Unavailable: the issuer of a JWT can not be asked for its keys.
        """
        found: tuple[str, Principal] | None
        if Tokens.is_token(text):
            found = await self._token(text)
        elif text.startswith(SESSION_PREFIX):
            found = await self._session(text)
        else:
            found = await self._api_key(text)
        if found is None:
            raise Unauthenticated("the credential is unknown, disabled or expired")
        tenant, principal = found
        bound = await self._grants.grants(tenant, principal.subject)
        return replace(principal, grants=principal.grants + bound)

    def loopback(self) -> Principal:
        """Return the administrator that the gateway takes trusted local callers for."""
        return LOCAL_ADMIN

    async def _api_key(self, text: str) -> tuple[str, Principal] | None:
        key = await self._keys.try_get_by_hash(hash_api_key(text))
        if key is None or not is_usable(key, now=self._clock.now()):
            return None
        await self._keys.used(key, now=self._clock.now())
        permissions: frozenset[Permission] = frozenset()  # of a service account: what its bindings give
        if key.role is not None:
            permissions = await self._grants.permissions_of(key.tenant, key.role)
        return key.tenant, principal_of(key, permissions)

    async def _token(self, text: str) -> tuple[str, Principal]:
        claimed = await self._tokens.claimed(text)
        permissions: frozenset[Permission] = frozenset()
        for role in claimed.roles:
            try:
                permissions |= await self._grants.permissions_of(claimed.home, role)
            except NotFound:  # a role elsewhere need not be one here
                continue
        return claimed.home, Principal(
            subject=claimed.subject,
            tenant=claimed.tenant,
            namespace=ANY,
            grants=(Grant(permissions=permissions),),
            expires_at_s=claimed.expires_at_s,
        )

    async def _session(self, text: str) -> tuple[str, Principal] | None:
        session = await self._sessions.try_session(hash_api_key(text))
        if session is None or not session.is_usable(now=self._clock.now()):
            return None
        return session.tenant, Principal(
            subject=user_subject(session.user_name, is_platform=session.is_platform),
            tenant=ANY if session.is_platform else session.tenant,
            namespace=ANY,
            grants=(),
            session=session_ref(session.tenant, session.id),
            expires_at_s=session.expires_at.timestamp(),
        )


def is_usable(key: ApiKey, *, now: datetime) -> bool:
    return key.enabled and (key.expires_at is None or key.expires_at > now)


def principal_of(key: ApiKey, permissions: frozenset[Permission]) -> Principal:
    """Return who acts with a key whose role permits this."""
    return Principal(
        subject=key.subject,
        tenant=ANY if key.is_platform else key.tenant,
        namespace=ANY if key.is_platform else key.namespace,
        grants=(Grant(permissions=permissions),),
        expires_at_s=None if key.expires_at is None else key.expires_at.timestamp(),
        rate_per_s=key.rate_per_s,
        burst=burst_of(rate_per_s=key.rate_per_s, burst=key.burst),
    )
