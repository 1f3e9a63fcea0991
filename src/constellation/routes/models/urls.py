"""Bodies of the routes about a function's URL."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Names = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=64)]


class CorsBody(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which pages of other origins may call the URL. Without an origin nothing is said of CORS.

    The gateway answers preflights itself and sets every `Access-Control-` header; those of the function are dropped.
    """

    allow_origins: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=300)], ...],
        Meta(max_length=64, description='"https://example.org", "null", or "*": every one'),
    ] = ()
    allow_methods: Names = ("*",)
    allow_headers: Names = ()
    expose_headers: Names = ()
    allow_credentials: Annotated[bool, Meta(description="cookies of the browser come along; then nothing may be *")] = (
        False
    )
    max_age_s: Annotated[int, Meta(ge=0, le=86400, description="how long a browser remembers the preflight")] = 0


class FunctionUrlSettings(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who may call the URL, and when its answer is sent.

    `stream`: as the function makes it. If the first piece is an object with a number in `statusCode` (or `status`), it
    is the prelude: status and `headers`, and a `body` that comes first. What follows are bytes of the body. Without a
    prelude it is 200 and plain text, or server-sent events, one a piece, to a client that accepts `text/event-stream`.
    """

    enabled: Annotated[bool, Meta(description="false: the URL answers 403 function_url_disabled")] = True
    auth: Annotated[
        Literal["key", "none"],
        Meta(description="key: a credential that may call functions of the namespace; none: anybody may call"),
    ] = "key"
    invoke_mode: Annotated[
        Literal["buffered", "stream"],
        Meta(description="buffered: the answer is sent when it is whole; stream: as it is made"),
    ] = "buffered"
    cors: CorsBody = CorsBody()


class FunctionUrlBody(Struct, kw_only=True, frozen=True):
    """How a function is reached by its URL; `path` is below the gateway's address."""

    path: str
    enabled: bool
    auth: str
    invoke_mode: str
    cors: CorsBody
