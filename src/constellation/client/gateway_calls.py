"""Custom domains and their routes, as calls."""

from __future__ import annotations

from uuid import UUID

from constellation.client.call import Call, call, page_call
from constellation.routes.models import functions as f
from constellation.routes.models import gateway as g
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def create_domain(domain: g.DomainCreate) -> Call[g.DomainBody]:
    """Serve a host."""
    return call("create_domain", g.DomainBody, body=domain)


def list_domains(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[g.DomainBody]]:
    """Domains of the namespace by host."""
    return page_call("list_domains", g.DomainBody, page_size=page_size)


def get_domain(host: str) -> Call[g.DomainBody]:
    """One domain."""
    return call("get_domain", g.DomainBody, params={"host": host})


def delete_domain(host: str) -> Call[f.Deleted]:
    """Give a host up, with its routes."""
    return call("delete_domain", f.Deleted, params={"host": host})


def replace_gateway_routes(host: str, routes: g.GatewayRoutesPut) -> Call[g.GatewayRoutesChanged]:
    """Put routes in place of all that a domain has."""
    return call("replace_gateway_routes", g.GatewayRoutesChanged, params={"host": host}, body=routes)


def create_gateway_route(route: g.GatewayRouteCreate) -> Call[g.GatewayRouteBody]:
    """Let a function answer a path of a domain."""
    return call("create_gateway_route", g.GatewayRouteBody, body=route)


def list_gateway_routes(
    *, host: str | None = None, function: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[g.GatewayRouteBody]]:
    """Routes by host and path: of the namespace, of a domain, or of a function."""
    query = {"host": host, "function": function}
    return page_call("list_gateway_routes", g.GatewayRouteBody, page_size=page_size, query=query)


def match_gateway_route(host: str, path: str, *, method: str = "GET") -> Call[g.GatewayMatchBody]:
    """Which route serves a request."""
    query = {"host": host, "path": path, "method": method}
    return call("match_gateway_route", g.GatewayMatchBody, query=query)


def get_gateway_route(route_id: UUID) -> Call[g.GatewayRouteBody]:
    """One route."""
    return call("get_gateway_route", g.GatewayRouteBody, params={"id": str(route_id)})


def gateway_route_status(route_id: UUID) -> Call[g.GatewayRouteStatus]:
    """How the gateway serves a route."""
    return call("gateway_route_status", g.GatewayRouteStatus, params={"id": str(route_id)})


def update_gateway_route(route_id: UUID, changes: g.GatewayRouteUpdate) -> Call[g.GatewayRouteBody]:
    """Change the given fields of a route."""
    return call("update_gateway_route", g.GatewayRouteBody, params={"id": str(route_id)}, body=changes)


def delete_gateway_route(route_id: UUID) -> Call[f.Deleted]:
    """Delete a route."""
    return call("delete_gateway_route", f.Deleted, params={"id": str(route_id)})
