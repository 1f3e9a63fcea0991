"""Who calls a route of a custom domain, and as whom the function is called then. Nothing is forwarded before."""

from __future__ import annotations

from constellation.base.clock import Clock
from constellation.base.errors import TenantSuspended, Unauthenticated
from constellation.nova.domain.access import Identity, Permission, authorize, burst_of
from constellation.nova.domain.gateway import Auth
from constellation.nova.domain.identity import IDENTITY_TTL_S, mint
from constellation.routes.models.gateway import ServedRouteBody
from constellation.zenith.doorman import credential_of
from constellation.zenith.follow import Freshness
from constellation.zenith.principals import Access, Principals
from constellation.zenith.request import Request
from constellation.zenith.sites import Site

API_KEY_BEGINS = "sk_"
_KEPT = 10_000  # chosen: routes in use on one gateway
_MAY = frozenset({Permission.FUNCTION_INVOKE})


class SiteCallers:
    """Lets callers of routes in. One without a credential acts as the route itself, which may invoke and nothing else.

    The route's rate is that of this subject; comet counts it as it does those of keys.
    """

    def __init__(self, *, principals: Principals, freshness: Freshness, identity_key: bytes, clock: Clock) -> None:
        self._principals, self._freshness = principals, freshness
        self._key, self._clock = identity_key, clock
        self._as_routes: dict[tuple[str, str, int], Access] = {}

    async def admit(self, request: Request, site: Site, route: ServedRouteBody) -> Access:
        """Return the access with which the route's function is called.

        Raises:
            Unauthenticated, ScopeDenied, Forbidden, TenantSuspended, Unavailable.
        """
        self._freshness.check()
        if site.is_suspended:
            raise TenantSuspended(site.tenant)
        if route.auth == Auth.NONE:
            return self._as_route(site, route)
        single = request.single
        credential = credential_of(single.get(b"x-api-key"), single.get(b"authorization"))
        if credential is None or (route.auth == Auth.API_KEY and not credential.text.startswith(API_KEY_BEGINS)):
            raise Unauthenticated("an API key is needed: X-API-Key, or Authorization with ApiKey or Bearer")
        access = await self._principals.access(credential, site.tenant.encode(), site.namespace.encode())
        authorize(access.identity, Permission.FUNCTION_INVOKE, route.function)
        return access

    def _as_route(self, site: Site, route: ServedRouteBody) -> Access:
        key = (site.host, str(route.id), route.version)
        now_s = self._clock.monotonic_s()
        known = self._as_routes.get(key)
        if known is not None and now_s < known.renew_at_s:
            return known
        identity = Identity(
            tenant=site.tenant,
            namespace=site.namespace,
            subject=f"gateway:{route.id}",
            permissions=_MAY,
            is_platform_admin=False,
            expires_at_s=int(self._clock.now().timestamp()) + IDENTITY_TTL_S,
            rate_per_s=route.policy.rate_per_s,
            burst=burst_of(rate_per_s=route.policy.rate_per_s, burst=route.policy.burst),
        )
        if len(self._as_routes) >= _KEPT:
            self._as_routes.clear()
        access = self._as_routes[key] = Access(
            identity=identity,
            token=mint(self._key, identity),
            is_suspended=False,
            renew_at_s=now_s + IDENTITY_TTL_S / 2,
        )
        return access
