"""Which headers pass through a gateway, and which are its own business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from constellation.base.errors import InvalidRequest

Headers = Iterable[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1, and what each connection negotiates for itself.
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"expect",
})  # fmt: skip
# Stated anew behind us: framing, scope, credential, request id, and the client's word for facts that grant something.
_NOT_FORWARDED = _HOP_BY_HOP | {
    b"host", b"content-length", b"authorization", b"x-api-key", b"x-nova-tenant", b"x-nova-namespace",
    b"x-request-id", b"forwarded", b"via",
}  # fmt: skip
_NOT_FORWARDED_PREFIXES = (b"x-forwarded-", b"constellation-", b"nova-")
_NOT_RETURNED = _HOP_BY_HOP | {b"date", b"server", b"x-request-id"}
_NOT_RETURNED_PREFIXES = (b"constellation-", b"nova-")
# A function's own answer may not speak for the gateway either.
_NOT_A_FUNCTIONS = _NOT_RETURNED | {
    b"content-length",
    b"alt-svc",
    b"strict-transport-security",
    b"www-authenticate",
    b"clear-site-data",
    b"service-worker-allowed",
}
_NOT_A_FUNCTIONS_PREFIXES = (*_NOT_RETURNED_PREFIXES, b"x-nova-", b"access-control-")
# A page with the gateway's address shall not have its rights: its origin is nobody's.
SANDBOXED = (b"content-security-policy", b"sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads")
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_VALUE = frozenset(range(0x20, 0x100)) - {0x7F} | {0x09}


def forwarded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request that the plane behind may see."""
    return list(_without(headers, _NOT_FORWARDED, _NOT_FORWARDED_PREFIXES))


def returned(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of a plane's answer that the client may see."""
    return list(_without(headers, _NOT_RETURNED, _NOT_RETURNED_PREFIXES))


def function_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return what a function may say in its own answer; names and values that are not HTTP are left out."""
    found = []
    for name_text, value_text in headers:
        try:
            name, value = name_text.lower().encode("ascii"), value_text.strip().encode("latin-1")
        except UnicodeEncodeError:
            continue
        if not name or not _TOKEN.issuperset(name) or not _VALUE.issuperset(value):
            continue
        if name not in _NOT_A_FUNCTIONS and not name.startswith(_NOT_A_FUNCTIONS_PREFIXES):
            found.append((name, value))
    return found


def text(value: bytes, *, header: str, max_bytes: int) -> str:
    """Return a header's value as text.

    Raises:
        InvalidRequest: it is too long, or not visible ASCII.
    """
    if len(value) > max_bytes or not value.isascii() or any(byte < 0x20 or byte == 0x7F for byte in value):
        raise InvalidRequest(f"{header} must be at most {max_bytes} visible ASCII characters", field=header)
    return value.decode("ascii").strip()


def query_value(query: bytes, name: str) -> str:
    """Return the first value of a query parameter, "" when it is absent."""
    for pair in query.decode("latin-1").split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return unquote(value.replace("+", " "))
    return ""


def _without(headers: Headers, names: frozenset[bytes], prefixes: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    listed: set[bytes] = set()
    kept = []
    for raw_name, value in headers:
        name = raw_name.lower()
        if name == b"connection":
            listed.update(part.strip().lower() for part in value.split(b","))
        if name not in names and not name.startswith(prefixes):
            kept.append((name, value))
    return ((name, value) for name, value in kept if name not in listed)
