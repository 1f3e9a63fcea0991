"""The table finds by a path's first segment what it would find by trying every route in turn."""

from __future__ import annotations

import pytest

from constellation.nova.domain.access import Permission
from constellation.routes.registry import ROUTES, Match, RouteTable
from constellation.routes.route import Route, nova


def tried_in_turn(routes: tuple[Route, ...], method: str, path: str) -> str | list[str] | None:
    allowed = set()
    for route in sorted(routes, key=lambda route: (route.template.count("{"), -len(route.template))):
        if route.pattern.fullmatch(path) is None:
            continue
        if route.method in ("*", method):
            return route.operation
        allowed.add(route.method)
    return sorted(allowed) or None


def found(table: RouteTable, method: str, path: str) -> str | list[str] | None:
    match = table.match(method, path)
    return match.route.operation if isinstance(match, Match) else match


def test_every_route_is_found_as_by_trying_all_in_turn():
    table = RouteTable()
    paths = {route.template.replace("{", "").replace("}", "").replace(":path", "/more") for route in ROUTES}
    odd = {
        "",
        "/",
        "//",
        "/functions",
        "/functions/",
        "/functions//invoke",
        "/Functions/f",
        "functions/f",
        "/none/f",
        "/%66n/f",
    }
    for path in sorted(paths | odd):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert found(table, method, path) == tried_in_turn(ROUTES, method, path), (method, path)


@pytest.mark.parametrize(
    ("path", "operation"), [("/things", "literal"), ("/things/a", "named"), ("/others/a", "named"), ("/others", "any")]
)
def test_a_literal_wins_over_a_name_in_the_first_segment_too(path: str, operation: str):
    routes = [
        nova(name, "GET", template, Permission.PUBLIC, "")
        for name, template in (("any", "/{thing}"), ("named", "/{thing}/a"), ("literal", "/things"))
    ]
    assert found(RouteTable(routes), "GET", path) == operation
