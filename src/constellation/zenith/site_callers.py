"""Who calls a route of a custom domain, and as whom the function is called then. Nothing is forwarded before."""

from __future__ import annotations

from constellation.base.clock import Clock
from constellation.base.errors import Forbidden, TenantSuspended, Unauthenticated
from constellation.nova.domain.access import Identity, Permission, authorize, burst_of
from constellation.nova.domain.gateway import Auth, kind_of
from constellation.nova.domain.globs import fits
from constellation.nova.domain.identity import IDENTITY_TTL_S, mint
from constellation.routes.models.gateway import ServedRouteBody
from constellation.zenith.doorman import credential_of
from constellation.zenith.follow import Freshness
from constellation.zenith.principals import Access, Principals
from constellation.zenith.request import Request
from constellation.zenith.sites import Site

_KEPT = 10_000  # chosen: routes in use on one gateway
_MAY = frozenset({Permission.FUNCTION_INVOKE})
_NEEDED = {
    Auth.API_KEY: "an API key is needed: X-API-Key, or Authorization with ApiKey or Bearer",
    Auth.SESSION: "the token of a session is needed: Authorization with Bearer",
    Auth.JWT: "a token (JWT) of a trusted issuer is needed: Authorization with Bearer",
    Auth.ANY: "a credential is needed: X-API-Key, or Authorization with ApiKey or Bearer",
}


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
        if credential is None or route.auth not in (Auth.ANY, kind_of(credential.text)):
            raise Unauthenticated(_NEEDED[Auth(route.auth)])
        access = await self._principals.access(credential, site.tenant.encode(), site.namespace.encode())
        request.access = access
        check_caller(access.identity, route)
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


def check_caller(identity: Identity, route: ServedRouteBody) -> None:
    """Let a caller through that has what the route wants of it, or raise `Forbidden`."""
    authorize(identity, Permission.FUNCTION_INVOKE, route.function)
    for permission in route.policy.permissions:
        authorize(identity, Permission(permission), route.function)
    wanted = route.policy.subjects
    if wanted and not any(_is_like(pattern, identity.subject) for pattern in wanted):
        reason = f"this route does not serve {identity.subject}"
        raise Forbidden(identity.subject, permission=Permission.FUNCTION_INVOKE.value, reason=reason)


def _is_like(pattern: str, subject: str) -> bool:
    wanted_kind, _, wanted_name = pattern.partition(":")
    kind, _, name = subject.partition(":")
    return fits(wanted_kind, kind) and fits(wanted_name, name)
