"""How a gateway route treats its requests and answers."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from constellation.nova.domain.mapping import ResponseRules, Rules
from constellation.routes.models.breaker import ErrorPercent, MinSamples, OpenSeconds, Probes, WindowSeconds
from constellation.routes.models.urls import CorsBody

Networks = Annotated[
    tuple[Annotated[str, Meta(min_length=2, max_length=43)], ...], Meta(max_length=64, description="10.1.0.0/16, ::1")
]
Schema = Annotated[
    dict[str, Any],
    Meta(
        description="JSON Schema 2020-12, at most 64 KiB; references lead into itself, patterns look neither ahead nor back"
    ),
]


class Mock(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is answered in place of the function."""

    status: Annotated[int, Meta(ge=200, le=599)] = 200
    headers: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=1024)]],
        Meta(max_length=32),
    ] = {}
    body: Annotated[str, Meta(max_length=65_536)] = ""


class RequestSchemas(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What requests must fit; the rest are 400 with every place that does not.

    Query, headers and path are objects of texts; a text is read as the integer, number or boolean that its property's
    `type` says, and a query's property of type array has all values of its name.
    """

    body: Schema | None = None
    query: Schema | None = None
    headers: Annotated[Schema | None, Meta(description="names are in lower case")] = None
    path: Schema | None = None


class Retry(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a call is made again: one that provably never began, and for GET, HEAD, OPTIONS, PUT and DELETE also one that
    broke off, or was answered with one of `statuses`. All tries share the call's time, and a fifth of a route's requests
    may be tried again.
    """

    attempts: Annotated[int, Meta(ge=1, le=5, description="all together")] = 1
    backoff_s: Annotated[float, Meta(ge=0.001, le=10, description="before the second; it doubles each time")] = 0.1
    max_backoff_s: Annotated[float, Meta(ge=0.001, le=30, description="a longer Retry-After is not waited for")] = 2.0
    statuses: Annotated[
        tuple[Annotated[int, Meta(ge=500, le=599)], ...],
        Meta(max_length=16, description="502 stands for errors raised, too"),
    ] = ()


class RoutePolicy(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a route treats its requests. An address is the client's own, or what a trusted proxy says that it is.

    And the route's breaker, on each gateway: when too many of a window's calls fail, after all retries, requests are answered
    503 `route_breaker_open` for a while, and the function is not called.
    """

    ip_allow: Annotated[Networks, Meta(description="who is served; none: everybody")] = ()
    ip_deny: Annotated[Networks, Meta(description="who is not, also when allowed")] = ()
    cors: CorsBody = CorsBody()
    max_body_bytes: Annotated[int, Meta(ge=0, le=4 << 20, description="of a request; 0: the gateway's own limit")] = 0
    timeout_s: Annotated[float, Meta(ge=0, le=900, description="of the function's call; 0: the function's own")] = 0.0
    permissions: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...],
        Meta(max_length=16, description="what a caller must hold besides the right to invoke the function"),
    ] = ()
    subjects: Annotated[
        tuple[Annotated[str, Meta(max_length=129)], ...],
        Meta(max_length=32, description='patterns of callers, "user:ann", "service-account:ci-*"; none: any'),
    ] = ()
    rate_per_s: Annotated[
        float, Meta(ge=0, le=1_000_000, description="calls on each comet, with auth none; 0: any number. More are 429")
    ] = 0.0
    burst: Annotated[int, Meta(ge=0, le=1_000_000, description="calls at once; 0: one second's worth")] = 0
    stream: Annotated[
        bool, Meta(description="the answer is sent as the function makes it, as that of a function URL with stream")
    ] = False
    websocket: Annotated[
        bool,
        Meta(description="requests must be WebSockets, and what none of them could keep is refused in this policy"),
    ] = False
    mock: Mock | None = None
    schema: RequestSchemas = RequestSchemas()
    request: Annotated[
        Rules,
        Meta(
            description='the event in place of the HTTP request: {"user.id": "path.id", "page": {"from": "query.page", '
            '"type": "integer", "default": 1}}. Sources: query, path, headers, cookies (each with a name), body (and a '
            'place in it), method, host, url, source_ip, request_id, caller; the target "*" is the whole event'
        ),
    ] = {}
    response: Annotated[
        ResponseRules,
        Meta(description="the answer in place of the function's. Sources: body, headers, status, request_id"),
    ] = ResponseRules()
    retry: Retry = Retry()
    breaker_error_percent: ErrorPercent = 0
    breaker_min_samples: MinSamples = 20
    breaker_window_s: WindowSeconds = 10.0
    breaker_open_s: OpenSeconds = 5.0
    breaker_probes: Probes = 1
