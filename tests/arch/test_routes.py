"""Every public route declares who may use it, once, under one name."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.registry import ROUTES, Match, RouteTable

PUBLIC = {
    "health_live", "health_startup", "health", "health_ready", "openapi", "login", "list_login_providers",
    "begin_oidc_login", "return_oidc_login", "finish_oidc_login", "end_oidc_sessions", "read_shared_docs",
}  # fmt: skip


def test_every_route_declares_a_permission():
    for route in ROUTES:
        assert isinstance(route.permission, Permission)
        assert (route.permission is Permission.PUBLIC) == (route.operation in PUBLIC), route.operation


def test_operations_and_templates_are_unique():
    assert len({r.operation for r in ROUTES}) == len(ROUTES)
    assert len({(r.method, r.template) for r in ROUTES}) == len(ROUTES)


def test_each_route_is_found_by_its_own_template():
    table = RouteTable()
    for route in ROUTES:
        path = route.template.replace("{rest:path}", "a/b").replace("{", "").replace("}", "")
        found = table.match("GET" if route.method == "*" else route.method, path)
        assert isinstance(found, Match)
        assert found.route is route
