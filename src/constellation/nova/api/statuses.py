"""Which refusals each route of the public API can answer with, as OpenAPI lists them."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.route import Route, Transport

REASONS = {
    200: "The answer",
    201: "Created",
    202: "Accepted: committed, not yet done",
    204: "Done; there is nothing to say",
    303: "The browser is sent on",
    400: "The request can not be understood or is out of range",
    401: "No credential, or one that is unknown, disabled or expired",
    403: "The caller may not do this, or the tenant is suspended",
    404: "It does not exist in the caller's scope",
    408: "The body did not come in time",
    409: "The name is taken, the row was changed meanwhile, or the state forbids it",
    410: "The link has expired",
    412: "It is not any more what If-Match says",
    413: "The body is over its limit",
    414: "The path and query are over their limit",
    415: "The body is not declared to be JSON",
    421: "The sandbox is on another node",
    422: "Understood, and it can not be done: the detail says why",
    426: "This route is a WebSocket, or is none",
    429: "Too much at a time: Retry-After says when it is worth trying again, where that is known",
    431: "The headers are over their limit",
    500: "An internal error; the log has its trace under the request's id",
    502: "What was asked for this answer failed: a function, a program in a sandbox, or their output",
    503: "It can not be had now: a plane, a runtime or an open breaker. Retry-After says when to try again",
    504: "A deadline passed first; `phase` says where",
    508: "The calls that led to this one are too many, or go round in a circle",
}

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ANY_REQUEST = (400, 414, 431, 500, 503, 504)  # of the gateway itself, and of a plane that does not answer it
_CALLS = frozenset({Transport.INVOKE, Transport.STREAM})
# What is behind these answers as it likes.
_OPEN = frozenset({Transport.FUNCTION_URL, Transport.PORT})


def refusals(route: Route) -> list[int]:
    """Return the statuses of a route's problems, ascending."""
    found = set(_ANY_REQUEST)
    if route.permission is not Permission.PUBLIC:
        found |= {401, 403, 404}  # 404: a tenant or namespace that a header names
    elif route.template.startswith("/auth/"):
        found |= {401, 403, 409, 429}  # whoever logs in says who it is in the body, or a provider does
    if "{" in route.template:
        found.add(404)
    if route.method in _CHANGING:
        found |= {409, 422, 429}
    if route.takes_match:
        found.add(412)
    if route.operation == "read_shared_docs":
        found.add(410)
    if route.request is not None:
        found |= {408, 413, 415}
    if route.transport is not Transport.LOCAL and route.transport is not Transport.HTTP:
        found |= {422, 429, 502}
    if route.transport in _CALLS:
        found.add(508)
    if route.template.startswith("/ai/") and route.streams:
        found.add(502)
    if route.template.startswith("/sandboxes/{id}"):
        found |= {409, 421, 429}
    if route.transport is Transport.TERMINAL:
        found.add(426)
    return sorted(found)


def answers_freely(route: Route) -> bool:
    """Say whether a function or a server in a sandbox chooses the status."""
    return route.transport in _OPEN


def repeats(route: Route) -> bool:
    """Say whether a request that was accepted before, by the idempotency key in its body, is answered with 200."""
    return route.status != 200 and "idempotency_key" in getattr(route.request, "__struct_fields__", ())
