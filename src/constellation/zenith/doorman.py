"""Lets a request in: who is it, where does it act, may it do this. Nothing is forwarded before."""

from __future__ import annotations

from typing import Protocol

from constellation.base.errors import TenantSuspended, Unauthenticated
from constellation.nova.domain.access import Permission
from constellation.routes.permit import authorize_route
from constellation.routes.reading import params_of
from constellation.routes.registry import Match
from constellation.routes.route import Route, Transport
from constellation.zenith.follow import Freshness
from constellation.zenith.peer import PeerLookup
from constellation.zenith.principals import Access, Credential, KeptAccess, Principals
from constellation.zenith.request import Request
from constellation.zenith.trust import is_local_request

_LOOPBACK = Credential(kind="loopback")
_CREDENTIAL_BYTES = 8192  # chosen: a key is 43 characters, a JWT with many claims some thousands
_UID = "uid"  # whose socket the client's is
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Known(Protocol):
    """Who stands in front and lets callers in that it was told of."""

    def learn(self, request: Request, kept: KeptAccess) -> None: ...

    def trust(self, request: Request) -> None: ...


class Doorman:
    """`trusted_uid`: whose sockets need no credential; None: everybody needs one. `peers` goes with it."""

    def __init__(
        self,
        *,
        principals: Principals,
        freshness: Freshness,
        trusted_uid: int | None,
        peers: PeerLookup | None,
        known: Known | None = None,
    ) -> None:
        self._known = known
        self._principals, self._freshness, self._trusted_uid, self._peers = principals, freshness, trusted_uid, peers

    async def admit(self, request: Request, match: Match) -> Access | None:
        """Return the caller's access; None on a public route, where nobody is asked.

        Raises:
            Unauthenticated, ScopeUnclear, ScopeDenied, NotFound, Forbidden, TenantSuspended, Unavailable.
        """
        route = match.route
        if route.permission is Permission.PUBLIC:
            return None
        self._freshness.check()
        single = request.single
        credential = credential_of(single.get(b"x-api-key"), single.get(b"authorization"))
        if credential is None:
            if not self._is_trusted(request):
                raise Unauthenticated("a credential is needed: X-API-Key, or Authorization with ApiKey or Bearer")
            credential = _LOOPBACK
        tenant, namespace = single.get(b"x-nova-tenant", b""), single.get(b"x-nova-namespace", b"")
        access = await self._principals.access(credential, tenant, namespace)
        request.access = access
        if route.permission not in access.identity.permissions:
            authorize_route(access.identity, route, params_of(match.params))
        if access.is_suspended and not _is_only_read(request.method, route):
            raise TenantSuspended(access.identity.tenant)
        if self._known is not None and route.transport in (Transport.INVOKE, Transport.STREAM):
            # No await since the cache was asked: what it keeps now is current.
            kept = self._principals.kept(credential, tenant, namespace)
            if kept is not None and kept.access is access:
                self._known.learn(request, kept)
                if credential is _LOOPBACK:
                    self._known.trust(request)
        return access

    def _is_trusted(self, request: Request) -> bool:
        """Say whether architecture section 8's rule for local callers holds for this request."""
        if self._trusted_uid is None or self._peers is None or request.client is None or request.server is None:
            return False
        if not request.is_direct or not is_local_request(request.headers, scheme=request.scheme):
            return False
        uid = request.of_connection.get(_UID)
        if uid is None:  # asked once a connection, as the edge does
            uid = request.of_connection[_UID] = self._peers.uid(request.client, request.server)
        return uid == self._trusted_uid


def credential_of(api_key: bytes | None, authorization: bytes | None) -> Credential | None:
    """Return the credential that a request presents, None when it presents none.

    Raises:
        Unauthenticated: it presents one in a form that is not ours.
    """
    if api_key is not None:
        text = api_key.decode("latin-1").strip()
    elif authorization is not None:
        scheme, _, rest = authorization.decode("latin-1").strip().partition(" ")
        if scheme.lower() not in ("apikey", "bearer"):
            raise Unauthenticated("Authorization must be ApiKey or Bearer, then the credential")
        text = rest.strip()
    else:
        return None
    if not text or len(text) > _CREDENTIAL_BYTES or not text.isascii() or not text.isprintable():
        raise Unauthenticated("the credential is malformed")
    return Credential(kind="presented", text=text)


def _is_only_read(method: str, route: Route) -> bool:
    """Tell whether a request runs nothing of a tenant: a GET of a function's URL does, and one into a sandbox."""
    is_running = route.transport is Transport.FUNCTION_URL or route.permission is Permission.SANDBOX_USE
    return method in _READS and not is_running
