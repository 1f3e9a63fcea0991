"""Who holds a credential."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from constellation.base.clock import Clock
from constellation.base.errors import Unauthenticated
from constellation.nova.domain.access import ANY, ApiKey, Principal, Role, burst_of
from constellation.nova.store.api_keys import hash_api_key

# Whoever the gateway trusts without a credential (architecture section 8).
LOCAL_ADMIN = Principal(subject="local:admin", tenant=ANY, namespace=ANY, role=Role.ADMIN)


class KnownKeys(Protocol):
    """Finds a key by its SHA-256. Looking up a hash tells a caller nothing by its time: it can not choose the hash."""

    async def try_get_by_hash(self, key_hash: bytes) -> ApiKey | None: ...


class Authenticator:
    """Turns credentials into principals."""

    def __init__(self, keys: KnownKeys, *, clock: Clock) -> None:
        self._keys, self._clock = keys, clock

    async def api_key(self, text: str) -> Principal:
        """Return whose key this is.

        Raises:
            Unauthenticated: it is unknown, disabled or expired; the caller is not told which.
        """
        key = await self._keys.try_get_by_hash(hash_api_key(text))
        if key is not None and is_usable(key, now=self._clock.now()):
            return principal_of(key)
        raise Unauthenticated("the API key is unknown, disabled or expired")

    def loopback(self) -> Principal:
        """Return the administrator that the gateway takes trusted local callers for."""
        return LOCAL_ADMIN


def is_usable(key: ApiKey, *, now: datetime) -> bool:
    return key.enabled and (key.expires_at is None or key.expires_at > now)


def principal_of(key: ApiKey) -> Principal:
    """Return who acts with a key."""
    return Principal(
        subject=f"{'platform-key' if key.is_platform else 'apikey'}:{key.name}",  # a tenant may use the same name
        tenant=ANY if key.is_platform else key.tenant,
        namespace=ANY if key.is_platform else key.namespace,
        role=key.role,
        expires_at_s=None if key.expires_at is None else key.expires_at.timestamp(),
        rate_per_s=key.rate_per_s,
        burst=burst_of(rate_per_s=key.rate_per_s, burst=key.burst),
    )
