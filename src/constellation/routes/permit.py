"""May this caller use this route, for what its path names?"""

from __future__ import annotations

from collections.abc import Mapping

from constellation.nova.domain.access import Identity, authorize
from constellation.routes.route import Route


def authorize_route(identity: Identity, route: Route, params: Mapping[str, str]) -> None:
    """Let the identity through, or raise `Forbidden`. `params`: the path's, decoded.

    Who holds a permission for some functions only may use it on routes whose path names such a function. The rest asks
    for it in the whole namespace, but for what looks at the functions itself.
    """
    if route.asks_itself and identity.may_for_some(route.permission):
        return
    authorize(identity, route.permission, _function(params) if route.is_about_function else None)


def _function(params: Mapping[str, str]) -> str | None:
    """Return the function that a path names; which version of it is asked for makes no difference."""
    name = params.get("name")
    return None if name is None else name.partition(":")[0]
