"""`GET /gateway/routes/{id}/status`: how this gateway serves a route, and how its breaker is."""

from __future__ import annotations

import msgspec

from constellation.base.errors import NotFound
from constellation.routes.models.gateway import GatewayRouteStatus, RouteBreakerBody
from constellation.routes.registry import Match
from constellation.zenith.breakers import RouteBreaker
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.sites import Sites


class RouteStatus:
    """Answers of the routes of the caller's namespace that are served: those that are enabled."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        wanted = match.params["id"]
        for site in self._sites.of_scope(access.identity.tenant, access.identity.namespace):
            for route in site.all:
                if str(route.id) == wanted:
                    breaker = site.breakers.get(route.id)
                    body = GatewayRouteStatus(
                        id=route.id,
                        host=site.host,
                        path=route.path,
                        function=route.target,
                        version=route.version,
                        breaker=None if breaker is None else _breaker_body(breaker),
                    )
                    await request.answer(200, msgspec.json.encode(body))
                    return
        raise NotFound("served gateway route", wanted[:80])


def _breaker_body(breaker: RouteBreaker) -> RouteBreakerBody:
    stats = breaker.stats()
    return RouteBreakerBody(
        state=stats.state.name.lower(),
        good=stats.good,
        bad=stats.bad,
        probes=stats.probes,
        opened=stats.opened,
        left_s=stats.left_s,
    )
