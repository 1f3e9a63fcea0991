"""What the headers of a call say about it: time, qualifier, trace, and the calls that led to it."""

from __future__ import annotations

import math
import re

from constellation.base.errors import InvalidRequest, UnsupportedMediaType
from constellation.rpc.metadata import CallContext
from constellation.zenith.headers import query_value, text
from constellation.zenith.request import Request

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CHAIN = re.compile(r"[A-Za-z0-9._:/,-]*")
_CHAIN_BYTES = 4096  # 64 names of functions
_MAX_DEPTH = 9999
MAX_KEY_BYTES = 256
MAX_STICKY_BYTES = 128
REPLAYED = (b"x-idempotency-status", b"replay")  # on an answer that was given before
# What curl -d says of any body; a form is no JSON, so a form that means to be one is refused by the check of the body.
_JSON_TYPES = frozenset({b"application/json", b"application/x-www-form-urlencoded", b""})


def context_of(request: Request) -> CallContext:
    """Return the plain facts of a call.

    Raises:
        InvalidRequest: depth or chain are malformed.
    """
    single = request.single
    traceparent = single.get(b"traceparent", b"").decode("latin-1")
    depth_text = single.get(b"x-nova-call-depth")
    if depth_text is None:
        return CallContext(
            request_id=request.request_id,
            traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else "",
        )
    depth = text(depth_text, header="X-Nova-Call-Depth", max_bytes=4)
    if not depth.isdigit():
        raise InvalidRequest("X-Nova-Call-Depth must be a number from 0 to 9999", field="X-Nova-Call-Depth")
    chain = text(single.get(b"x-nova-call-chain", b""), header="X-Nova-Call-Chain", max_bytes=_CHAIN_BYTES)
    if _CHAIN.fullmatch(chain) is None:
        raise InvalidRequest("X-Nova-Call-Chain must be names joined by commas", field="X-Nova-Call-Chain")
    return CallContext(
        request_id=request.request_id,
        traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else "",
        depth=min(int(depth), _MAX_DEPTH),
        chain=tuple(part for part in chain.split(",") if part)[:64],
    )


def timeout_of(request: Request, *, max_s: float) -> float | None:
    """Return the caller's own limit in seconds, None when it set none.

    Raises:
        InvalidRequest: X-Nova-Timeout-S is not a number in (0, max].
    """
    given = request.single.get(b"x-nova-timeout-s")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= max_s:
        raise InvalidRequest(
            f"X-Nova-Timeout-S must be a number of seconds over 0 and at most {max_s:g}", field="X-Nova-Timeout-S"
        )
    return seconds


def qualifier_of(request: Request) -> str:
    """Return the version or alias that the call asks for, "" for the live one."""
    return header_qualifier_of(request) or query_qualifier_of(request)


def header_qualifier_of(request: Request) -> str:
    """Return what the header X-Nova-Qualifier asks for; the query of a function's own URL is the function's."""
    return text(request.single.get(b"x-nova-qualifier", b""), header="X-Nova-Qualifier", max_bytes=128)


def query_qualifier_of(request: Request) -> str:
    return query_value(request.query, "qualifier")[:128] if request.query else ""


def sticky_key_of(request: Request) -> str:
    """Return what keeps a caller at one version of an alias: the header X-Nova-Sticky, else the cookie nova-sticky."""
    given = request.single.get(b"x-nova-sticky")
    if given is None:
        cookies = b"; ".join(value for name, value in request.headers if name == b"cookie")
        pairs = (pair.strip().partition(b"=") for pair in cookies.split(b";"))
        given = next((value for name, _, value in pairs if name == b"nova-sticky"), b"")[:MAX_STICKY_BYTES]
        return given.decode("ascii", "replace")
    return text(given, header="X-Nova-Sticky", max_bytes=MAX_STICKY_BYTES)


def version_header(version: str) -> tuple[bytes, bytes]:
    """Return the header that says which version ran."""
    return (b"x-nova-version", version.encode("ascii", "replace"))


def idempotency_key_of(request: Request) -> str:
    """Return the key that makes repetitions of a call one call, "" when it has none.

    Raises:
        InvalidRequest: it is empty, too long or not visible.
    """
    given = request.single.get(b"idempotency-key")
    if given is None:
        return ""
    key = text(given, header="Idempotency-Key", max_bytes=MAX_KEY_BYTES)
    if not key:
        raise InvalidRequest("Idempotency-Key is empty", field="Idempotency-Key")
    return key


def check_json_type(request: Request) -> None:
    """Raise `UnsupportedMediaType` when the body says it is something else than JSON."""
    given = request.single.get(b"content-type", b"")
    if given == b"application/json":
        return
    kind = given.partition(b";")[0].strip().lower()
    if kind not in _JSON_TYPES and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        raise UnsupportedMediaType(given.decode("latin-1"))
