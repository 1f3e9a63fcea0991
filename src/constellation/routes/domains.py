"""Custom domains, and which functions answer under them."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import gateway as g
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, Route, nova, zenith

P = Permission

DOMAINS: tuple[Route, ...] = (
    nova("create_domain", "POST", "/domains", P.GATEWAY_MANAGE, "Serve a host of your own", status=201,
         request=g.DomainCreate, response=g.DomainBody),
    nova("list_domains", "GET", "/domains", P.GATEWAY_READ, "Domains by host", response=Page[g.DomainBody], query=PAGING),
    nova("get_domain", "GET", "/domains/{host}", P.GATEWAY_READ, "One domain", response=g.DomainBody),
    nova("delete_domain", "DELETE", "/domains/{host}", P.GATEWAY_MANAGE, "Give a host up, with its routes",
         response=Deleted),
    nova("replace_gateway_routes", "PUT", "/domains/{host}/routes", P.GATEWAY_MANAGE,
         "Put routes in place of all that a domain has, all of them or none", request=g.GatewayRoutesPut,
         response=g.GatewayRoutesChanged),
    nova("create_gateway_route", "POST", "/gateway/routes", P.GATEWAY_MANAGE, "Let a function answer a path of a domain",
         status=201, request=g.GatewayRouteCreate, response=g.GatewayRouteBody),
    nova("list_gateway_routes", "GET", "/gateway/routes", P.GATEWAY_READ, "Routes by host and path",
         response=Page[g.GatewayRouteBody], query=(*PAGING, Query(name="host"), Query(name="function"))),
    nova("match_gateway_route", "GET", "/gateway/match", P.GATEWAY_READ, "Which route serves a request",
         response=g.GatewayMatchBody,
         query=(
             Query(name="host", about="of the request"), Query(name="path", about="as it is sent, percent-encoded"),
             Query(name="method", about="GET when absent"),
         )),
    nova("get_gateway_route", "GET", "/gateway/routes/{id}", P.GATEWAY_READ, "One route", response=g.GatewayRouteBody),
    zenith("gateway_route_status", "/gateway/routes/{id}/status", "How the gateway serves a route, and its breaker",
           P.GATEWAY_READ, response=g.GatewayRouteStatus),
    nova("update_gateway_route", "PATCH", "/gateway/routes/{id}", P.GATEWAY_MANAGE, "Change a route",
         request=g.GatewayRouteUpdate, response=g.GatewayRouteBody),
    nova("delete_gateway_route", "DELETE", "/gateway/routes/{id}", P.GATEWAY_MANAGE, "Delete a route", response=Deleted),
)  # fmt: skip
