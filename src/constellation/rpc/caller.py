"""Who is calling: set for the length of one served call."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from constellation.base.clock import Clock
from constellation.base.errors import Unauthenticated
from constellation.nova.domain.access import Identity
from constellation.nova.domain.identity import VerifiedTokens
from constellation.rpc.metadata import AUTHORIZATION, IDENTITY, CallContext, context_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The verified identity of a call, its token as it came, and the call's plain facts."""

    identity: Identity
    token: str
    context: CallContext


class CallerVerifier:
    """Checks the service token and the identity token that every call between planes must carry."""

    def __init__(self, *, service_token: str, identity_key: bytes, clock: Clock) -> None:
        self._expected = f"Bearer {service_token}".encode()
        self._tokens = VerifiedTokens(identity_key)
        self._clock = clock

    def verify(self, metadata: Mapping[str, object]) -> Caller:
        """Return the caller, or raise `Unauthenticated`."""
        self.verify_service(metadata)
        token = metadata.get(IDENTITY)
        if not isinstance(token, str) or not token:
            raise Unauthenticated("the call carries no identity token")
        identity = self._tokens.identity(token, now_s=self._clock.now().timestamp())
        return Caller(identity=identity, token=token, context=context_from(metadata))

    def verify_service(self, metadata: Mapping[str, object]) -> None:
        """Let only planes of this platform through; raise `Unauthenticated` for others."""
        given = metadata.get(AUTHORIZATION)
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), self._expected):
            raise Unauthenticated("the call does not carry this platform's service token")


CALLER: ContextVar[Caller] = ContextVar("caller")
