"""One request of the public API as data, made from the route registry; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from constellation.client.failures import BadArgument
from constellation.routes.models.paging import Page
from constellation.routes.registry import ROUTES
from constellation.routes.route import Route

T = TypeVar("T")
BY_OPERATION: Mapping[str, Route] = {route.operation: route for route in ROUTES}
TIMEOUT_HEADER = "x-nova-timeout-s"
IDEMPOTENCY_HEADER = "idempotency-key"
_NAME = re.compile(r"\{([a-z_]+)(?::path)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """What to send, and what type the answer has."""

    route: Route
    path: str  # percent-encoded
    reply: Any  # type[T]; `None` for an answer without a body
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    timeout_s: float | None = None  # of the answer; None: the client's own

    def at(self, offset: int) -> Call[T]:
        """Return the same request for another page."""
        return replace(self, query={**self.query, "offset": str(offset)})


def call(
    operation: str,
    reply: type[T] | None,
    *,
    params: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
    body: object = msgspec.UNSET,
    content: bytes | None = None,
    timeout_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Call[T]:
    """Fill in the registry's template of `operation`. Query values of None are left out; `content` is a body as it is.

    Raises:
        BadArgument: a path parameter is empty or "." or "..", or the body is not JSON.
    """
    route = BY_OPERATION[operation]
    try:
        content = content if body is msgspec.UNSET else msgspec.json.encode(body)
    except (TypeError, ValueError) as error:
        raise BadArgument(f"the body is not JSON: {error}") from error
    return Call(
        route=route,
        path=_NAME.sub(lambda found: _segment(found[1], (params or {})[found[1]]), route.template),
        reply=reply,
        query={name: _text(value) for name, value in (query or {}).items() if value is not None},
        headers=dict(headers or {}),
        content=content,
        timeout_s=timeout_s,
    )


def page_call(
    operation: str,
    item: type[T],
    *,
    page_size: int,
    params: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
) -> Call[Page[T]]:
    """Return the request for the first page of a list."""
    paging = {"limit": page_size, "offset": 0}
    reply: type[Page[T]] = Page[item]  # type: ignore[valid-type]  # built at run time, as msgspec wants it
    return call(operation, reply, params=params, query={**(query or {}), **paging})


def matching(if_match: str | None) -> dict[str, str]:
    """Return the header that makes a request conditional on an entity tag."""
    return {} if if_match is None else {"if-match": if_match}


def _segment(name: str, value: str) -> str:
    # "." and ".." survive percent-encoding and would be resolved away, so another route would be called.
    if value in ("", ".", ".."):
        raise BadArgument(f"{name} {value!r} can not stand in a path")
    return quote(value, safe="")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
