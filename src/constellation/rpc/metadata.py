"""What a call carries beside its message. Only the identity grants anything (architecture section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from constellation.base.errors import InvalidRequest
from constellation.base.ids import RequestId, uuid7

AUTHORIZATION = "authorization"
IDENTITY = "nova-identity"
CLIENT = "nova-client"  # the address that the gateway has a request from
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
CALL_DEPTH = "nova-call-depth"
CALL_CHAIN = "nova-call-chain"
SOURCE = "nova-source"
IDEMPOTENCY_KEY = "idempotency-key"
IDEMPOTENCY_FINGERPRINT = "nova-idempotency-fingerprint"
_KEY_CHARS, _FINGERPRINT_BYTES = 256, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """The plain facts of one call."""

    request_id: RequestId
    traceparent: str = ""
    depth: int = 0
    chain: tuple[str, ...] = ()  # functions that led here, outermost first
    source: str = "http"
    idempotency_key: str = ""
    idempotency_fingerprint: bytes = b""  # SHA-256 of what the call asks for; empty: that of its payload
    qualifier: str = ""  # the version or alias that the request names; empty: the live version. No metadata: a field
    sticky: str = ""  # what keeps its caller at one version of an alias; likewise
    peer: bytes = b""  # the client's address, 4 or 16 bytes; it comes in the message, and from the gateway alone

    def to_metadata(self) -> dict[str, str]:
        metadata = {REQUEST_ID: str(self.request_id)}
        if self.source != "http":
            metadata[SOURCE] = self.source
        if self.traceparent:
            metadata[TRACEPARENT] = self.traceparent
        if self.depth:
            metadata[CALL_DEPTH] = str(self.depth)
        if self.chain:  # an empty value is no metadata to gRPC
            metadata[CALL_CHAIN] = ",".join(self.chain)
        if self.idempotency_key:
            metadata[IDEMPOTENCY_KEY] = self.idempotency_key
        if self.idempotency_fingerprint:
            metadata[IDEMPOTENCY_FINGERPRINT] = self.idempotency_fingerprint.hex()
        return metadata


def context_from(metadata: Mapping[str, object]) -> CallContext:
    """Read a call's context; a request id that is not a UUID is replaced, never trusted as an id.

    Raises:
        InvalidRequest: the depth is not a small number, or the idempotency key is none.
    """
    return CallContext(
        request_id=request_id_from(_text(metadata, REQUEST_ID)),
        traceparent=_text(metadata, TRACEPARENT),
        depth=_depth(_text(metadata, CALL_DEPTH)),
        chain=tuple(part for part in _text(metadata, CALL_CHAIN).split(",") if part)[:64],
        source=_text(metadata, SOURCE) or "http",
        idempotency_key=_key(metadata),
        idempotency_fingerprint=_fingerprint(_text(metadata, IDEMPOTENCY_FINGERPRINT)),
    )


def request_id_from(text: str) -> RequestId:
    """Return the caller's request id when it is a UUID, else a fresh one."""
    if len(text) == 36:
        try:
            return RequestId(UUID(text))
        except ValueError:
            return RequestId(uuid7())
    return RequestId(uuid7())


def trace_ids(traceparent: str) -> tuple[bytes, bytes]:
    """Return (trace id, span id) of a W3C traceparent; zeros when it is absent or malformed."""
    parts = traceparent.split("-")
    if len(parts) >= 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        try:
            return bytes.fromhex(parts[1]), bytes.fromhex(parts[2])
        except ValueError:
            return bytes(16), bytes(8)
    return bytes(16), bytes(8)


def _text(metadata: Mapping[str, object], name: str) -> str:
    value = metadata.get(name, "")
    return value if isinstance(value, str) else ""


def _key(metadata: Mapping[str, object]) -> str:
    if IDEMPOTENCY_KEY not in metadata:
        return ""
    text = _text(metadata, IDEMPOTENCY_KEY)
    if not 1 <= len(text) <= _KEY_CHARS or not text.isprintable():
        raise InvalidRequest(f"an idempotency key has 1 to {_KEY_CHARS} printable characters", field=IDEMPOTENCY_KEY)
    return text


def _fingerprint(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b"?"
    if len(found) not in (0, _FINGERPRINT_BYTES):
        raise InvalidRequest("the fingerprint must be a SHA-256 in hex", field=IDEMPOTENCY_FINGERPRINT)
    return found


def _depth(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise InvalidRequest("the call depth must be a small number", field=CALL_DEPTH)
    return int(text)
