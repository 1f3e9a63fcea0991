"""Refusals that only a gateway makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from constellation.base.errors import ConstellationError


class HeadersTooLarge(ConstellationError):
    """More headers, or more bytes of them, than any honest client sends."""

    code, http_status = "headers_too_large", 431

    def __init__(self, *, limit_count: int, limit_bytes: int) -> None:
        super().__init__(
            f"the request has more than {limit_count} headers or {limit_bytes} bytes of them",
            extras={"limit_count": limit_count, "limit_bytes": limit_bytes},
        )


class UriTooLong(ConstellationError):
    """A path and query over the limit."""

    code, http_status = "uri_too_long", 414

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"path and query are over {limit_bytes} bytes", extras={"limit_bytes": limit_bytes})


class ServerGone(ConstellationError):
    """The HTTP server behind the edge does not answer: the gateway itself is failing."""

    code, http_status, retryable = "server_gone", 502, True

    def __init__(self) -> None:
        super().__init__("the gateway's own server did not answer; the call may have begun")


class CallLate(ConstellationError):
    """A call's time, and the grace over it, ran out at the edge."""

    code, http_status, retryable = "call_late", 504, True

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: no answer within the call's time")


class ScopeUnclear(ConstellationError):
    """The tenant or namespace asked for is malformed, or must be named and is not."""

    code, http_status = "tenant_scope_error", 400

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class FunctionFailed(ConstellationError):
    """The handler behind a function URL raised."""

    code, http_status = "function_failed", 502

    def __init__(self, function: str, *, type: str, message: str) -> None:
        super().__init__(f"{function} raised {type}: {message}", extras={"function": function, "error_type": type})


class HandlerFailed(ConstellationError):
    """The handler raised after a part of its answer was out."""

    code, http_status = "function_error", 502

    def __init__(self, function: str, error: bytes) -> None:
        super().__init__(f"{function}: the handler raised: {error[:2048].decode('utf-8', 'replace')}")


class FunctionAnswerInvalid(ConstellationError):
    """What a function URL's handler returned says it is an HTTP answer and can not be one."""

    code, http_status = "function_answer_invalid", 502

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(f"{function} returned no valid HTTP answer: {reason}", extras={"function": function})


class FunctionUrlDisabled(ConstellationError):
    """The owner closed the function's URL; other ways to call it are open."""

    code, http_status = "function_url_disabled", 403

    def __init__(self, function: str) -> None:
        super().__init__(f"the URL of function {function!r} is disabled", extras={"function": function})


class OriginRefused(ConstellationError):
    """A page asks whether it may call, and may not."""

    code, http_status = "origin_refused", 403

    def __init__(self, origin: str) -> None:
        super().__init__(f"pages of {origin[:200]} may not call this", extras={"origin": origin[:200]})


class AddressRefused(ConstellationError):
    """The client's address is not among those that a route serves."""

    code, http_status = "address_refused", 403

    def __init__(self, address: str) -> None:
        super().__init__(f"this route does not serve {address[:80]}", extras={"address": address[:80]})


class RequestUnfit(ConstellationError):
    """A request does not fit the schemas of its route."""

    code, http_status = "validation_failed", 400

    def __init__(self, faults: Sequence[Mapping[str, str]]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(
            f"{first['in']}{first['pointer']}: {first['message']}{more}",
            extras={"errors": [dict(each) for each in faults]},
        )


class MappingFailed(ConstellationError):
    """A request lacks what the rules of its route want."""

    code, http_status = "mapping_failed", 400

    def __init__(self, places: Sequence[tuple[str, str]]) -> None:
        source, why = places[0]
        super().__init__(
            f"{source} {why}",
            extras={"errors": [{"in": source, "pointer": "", "message": why} for source, why in places]},
        )


class ResponseMappingFailed(ConstellationError):
    """A function's answer lacks what the rules of its route want."""

    code, http_status = "response_mapping_failed", 502

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(f"{function}: its answer can not be mapped: {reason}", extras={"function": function})


class SocketLimit(ConstellationError):
    """The caller has as many WebSockets open as one may have."""

    code, http_status, retryable = "socket_limit", 429, True

    def __init__(self, subject: str, *, limit: int) -> None:
        super().__init__(f"{subject} has {limit} WebSockets open already", extras={"limit": limit}, retry_after_s=1)


class ClientGone(ConstellationError):
    """The client hung up; nobody reads an answer. The status is only counted."""

    code, http_status = "client_gone", 499

    def __init__(self) -> None:
        super().__init__("the client closed the connection")
