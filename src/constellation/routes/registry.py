"""The table of public routes. Zenith routes by it, planes mount by it, OpenAPI and clients are made from it.

A plane that mounts its part must bring a handler for each of its routes and for no other, so no route can be missing
or open by accident. A subject has a module: a new route goes where its like are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from constellation.routes.ai import AI
from constellation.routes.audit import AUDIT
from constellation.routes.calls import CALLS
from constellation.routes.control import CONTROL
from constellation.routes.databases import DATABASES
from constellation.routes.docs import DOCS
from constellation.routes.domains import DOMAINS
from constellation.routes.layers import LAYERS
from constellation.routes.notifications import NOTIFICATIONS
from constellation.routes.people import PEOPLE
from constellation.routes.quotas import QUOTAS
from constellation.routes.records import RECORDS
from constellation.routes.route import Route
from constellation.routes.sandboxes import SANDBOXES
from constellation.routes.secrets import SECRETS
from constellation.routes.settings import SETTINGS
from constellation.routes.slos import SLOS
from constellation.routes.topics import TOPICS
from constellation.routes.versions import VERSIONS
from constellation.routes.volumes import VOLUMES

ROUTES: tuple[Route, ...] = (
    *CONTROL,
    *DOCS,
    *DOMAINS,
    *CALLS,
    *PEOPLE,
    *QUOTAS,
    *RECORDS,
    *SANDBOXES,
    *SLOS,
    *TOPICS,
    *VERSIONS,
    *SECRETS,
    *LAYERS,
    *DATABASES,
    *VOLUMES,
    *AUDIT,
    *SETTINGS,
    *NOTIFICATIONS,
    *AI,
)


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and what its template's names stand for in one path."""

    route: Route
    params: dict[str, str]


class RouteTable:
    """Finds the route of a request. Literal segments win over names, whatever the order of the table."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        by_rank = sorted(routes, key=lambda route: (route.template.count("{"), -len(route.template)))
        firsts = {_first(route.template) for route in routes}
        self._routes = {
            first: [route for route in by_rank if _first(route.template) == first or _is_named(route)]
            for first in firsts
        }
        self._named = [route for route in by_rank if _is_named(route)]

    def match(self, method: str, path: str) -> Match | list[str] | None:
        """Return the match; the methods the path takes when this is not one of them; None for an unknown path.

        Args:
            method: upper case; HEAD is matched as GET.
            path: percent-encoded as it came, without query and without `/v1`.
        """
        wanted = "GET" if method == "HEAD" else method
        allowed: set[str] = set()
        for route in self._routes.get(_first(path), self._named):
            found = route.pattern.fullmatch(path)
            if found is None:
                continue
            if route.method in ("*", wanted):
                return Match(route, found.groupdict())
            allowed.add(route.method)
        return sorted(allowed) or None


def _first(path: str) -> str:
    """Return the first segment: by it most routes are out of the question."""
    return path[1:].partition("/")[0]


def _is_named(route: Route) -> bool:
    """Its first segment is whatever comes."""
    return _first(route.template).startswith("{")


def strip_version(path: str) -> str:
    """Return the path without a leading `/v1`, before anything else looks at it."""
    if path == "/v1":
        return "/"
    return path[3:] if path.startswith("/v1/") else path
