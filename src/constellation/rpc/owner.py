"""Identity tokens for work done on an owner's behalf: a job or a schedule runs in its own tenant and may only invoke."""

from __future__ import annotations

from constellation.base.clock import Clock
from constellation.nova.domain.access import Identity, Permission
from constellation.nova.domain.identity import IDENTITY_TTL_S, mint

_MAY_INVOKE = frozenset({Permission.FUNCTION_INVOKE})


class OwnerTokens:
    """Mints a token once an owner and renews it at half its life, so comet knows it by its bytes.

    Bounded: past `capacity` owners the one minted first is forgotten, and minted again when it returns.
    """

    def __init__(self, key: bytes, *, clock: Clock, capacity: int = 4096) -> None:
        self._key, self._clock, self._capacity = key, clock, capacity
        self._minted: dict[tuple[str, str, str], tuple[float, str]] = {}  # owner -> (renew at, token)

    def token(self, *, tenant: str, namespace: str, subject: str) -> str:
        """Return a token of this owner that is good for at least half a minute."""
        now_s = self._clock.now().timestamp()
        owner = (tenant, namespace, subject)
        known = self._minted.get(owner)
        if known is not None and now_s < known[0]:
            return known[1]
        identity = Identity(
            tenant=tenant,
            namespace=namespace,
            subject=subject,
            permissions=_MAY_INVOKE,
            is_platform_admin=False,
            expires_at_s=int(now_s) + IDENTITY_TTL_S,
        )
        token = mint(self._key, identity)
        self._minted.pop(owner, None)  # a renewed owner becomes the youngest
        while len(self._minted) >= self._capacity:
            self._minted.pop(next(iter(self._minted)))
        self._minted[owner] = (now_s + IDENTITY_TTL_S / 2, token)
        return token
