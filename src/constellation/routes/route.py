"""A public route as data: what the gateway, the planes, OpenAPI and clients know of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from constellation.nova.domain.access import Permission
from constellation.routes.models.paging import MAX_LIMIT


class Plane(StrEnum):
    ZENITH = "zenith"
    NOVA = "nova"
    COMET = "comet"


class Transport(StrEnum):
    """How zenith reaches the plane."""

    LOCAL = "local"  # zenith answers itself
    HTTP = "http"  # relayed to nova
    PROXY = "proxy"  # gRPC ProxyHTTP
    INVOKE = "invoke"  # gRPC Invoke
    STREAM = "stream"  # gRPC InvokeStream
    FUNCTION_URL = "function_url"  # gRPC Invoke with an HTTP event
    TERMINAL = "terminal"  # a WebSocket over gRPC Tunnel
    PORT = "port"  # HTTP or a WebSocket, to a server at the end of a gRPC Tunnel


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query parameter."""

    name: str
    type: str = "string"  # of JSON schema
    about: str = ""
    low: int | None = None  # of a number
    high: int | None = None


PAGING = (
    Query(name="limit", type="integer", about="items a page; 100 when absent", low=1, high=MAX_LIMIT),
    Query(name="offset", type="integer", about="items to skip", low=0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path template."""

    operation: str  # unique; the handler's name, the client's method, the OpenAPI operationId
    method: str  # "*": any
    template: str
    plane: Plane
    transport: Transport
    permission: Permission
    summary: str
    status: int = 200
    request: Any = None  # msgspec type of the body; None: no body is read
    response: Any = None  # None: no body, or not JSON
    query: Sequence[Query] = ()
    streams: bool = False  # the answer comes in pieces
    media_types: Sequence[str] = ()  # of an answer that is not JSON; (): by method, whether it streams
    max_body_bytes: int | None = None  # None: the gateway's limit
    asks_itself: bool = False  # which functions the caller has the permission for
    takes_key: bool = False  # an Idempotency-Key makes repetitions of a request one
    takes_match: bool = False  # an If-Match makes it conditional on the entity tag that was read
    has_tag: bool = False  # its answer has an ETag
    takes_form: bool = False  # its body is one of application/x-www-form-urlencoded, in place of JSON
    takes_more: bool = False  # query parameters of others are let be
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        source = re.sub(r"\{([a-z_]+)\}", r"(?P<\1>[^/]+)", self.template)
        source = re.sub(r"\{([a-z_]+):path\}", r"(?P<\1>.*)", source)
        object.__setattr__(self, "pattern", re.compile(source))

    @property
    def is_about_function(self) -> bool:
        """Whether the `name` in its path is a function's."""
        return self.template.startswith((FUNCTION, "/fn/", "/url/"))


def nova(operation: str, method: str, template: str, permission: Permission, summary: str, **more: Any) -> Route:
    return Route(
        operation=operation,
        method=method,
        template=template,
        permission=permission,
        summary=summary,
        plane=Plane.NOVA,
        transport=Transport.HTTP,
        **more,
    )


def comet(operation: str, method: str, template: str, permission: Permission, summary: str, **more: Any) -> Route:
    more.setdefault("transport", Transport.PROXY)
    return Route(
        operation=operation,
        method=method,
        template=template,
        permission=permission,
        summary=summary,
        plane=Plane.COMET,
        **more,
    )


def zenith(
    operation: str, template: str, summary: str, permission: Permission = Permission.PUBLIC, **more: Any
) -> Route:
    return Route(
        operation=operation,
        method="GET",
        template=template,
        permission=permission,
        summary=summary,
        plane=Plane.ZENITH,
        transport=Transport.LOCAL,
        **more,
    )


FUNCTION = "/functions/{name}"
CODE_BODY_BYTES = 16 << 20  # 10 MiB of code in base64, and its JSON around it
