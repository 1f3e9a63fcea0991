"""From an HTTP request to a function's event, and from what it returned to an HTTP answer. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from constellation.zenith.errors import FunctionAnswerInvalid
from constellation.zenith.headers import forwarded, function_headers
from constellation.zenith.request import MAX_HEADER_BYTES, MAX_HEADERS, Request

_QUERY_FIELDS = 1000  # chosen; the raw query is there for more


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a function's output means as HTTP."""

    status: int
    content_type: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def fingerprint_of(request: Request, *, path: str, body: bytes) -> bytes:
    """Return the SHA-256 of what a request asks for: a repetition of it has other headers and comes from elsewhere."""
    digest = sha256()
    for part in (request.method.encode(), path.encode(), request.query, body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def event_of(
    request: Request,
    *,
    path: str,
    body: bytes,
    more: Mapping[str, Any] = MappingProxyType({}),
    own: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return the JSON event of an HTTP request: its facts and its body, in base64 when it is not UTF-8.

    `more`: further facts. `own`: headers that the function is shown besides.
    """
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = b64encode(body).decode(), True
    facts = facts_of(request, path=path, own=own)
    return msgspec.json.encode({"method": request.method, **facts, **more, "body": text, "isBase64Encoded": is_base64})


def facts_of(request: Request, *, path: str, own: Sequence[tuple[bytes, bytes]] = ()) -> dict[str, Any]:
    """Return what an event says of its request.

    `path` is what follows the function's name, percent-encoded as it came; `query_params` has the first value of
    each; headers that come more than once are joined by ", ".
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in (*forwarded(request.headers), *own):
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query: dict[str, str] = {}
    pairs = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)
    for name, value in pairs[:_QUERY_FIELDS]:
        query.setdefault(name, value)
    return {
        "path": path,
        "raw_query": request.query.decode("latin-1"),
        "query_params": query,
        "headers": headers,
        "source_ip": "" if request.address is None else str(request.address),
        "request_id": str(request.request_id),
    }


def answer_of(function: str, output: bytes) -> HttpAnswer:
    """Return what an output means: an object with a numeric `statusCode` (or `status`) is an answer; else JSON of 200.

    Raises:
        FunctionAnswerInvalid: it is an answer that HTTP can not carry.
    """
    answer = try_answer_of(function, output)
    return answer or HttpAnswer(status=200, content_type=b"application/json", headers=[], body=output)


def try_answer_of(function: str, output: bytes) -> HttpAnswer | None:
    """Return the answer that an output is, None when it is anything else than one; errors as in `answer_of`."""
    if not output.lstrip().startswith(b"{"):
        return None
    try:
        value: dict[str, Any] = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    status = value.get("statusCode", value.get("status"))
    if not isinstance(status, int) or isinstance(status, bool):
        return None
    if not 200 <= status <= 599:
        raise FunctionAnswerInvalid(function, f"status {status} is not from 200 to 599")
    body, content_type = _body(function, value)
    headers = function_headers(_pairs(function, value))
    if len(headers) > MAX_HEADERS or sum(len(name) + len(given) for name, given in headers) > MAX_HEADER_BYTES:
        # As much as we take of a request: clients and proxies before us refuse an answer with more.
        raise FunctionAnswerInvalid(function, f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")
    for index, (name, given) in enumerate(headers):
        if name == b"content-type":
            content_type = given
            del headers[index]
            break
    return HttpAnswer(status=status, content_type=content_type, headers=headers, body=body)


def _body(function: str, value: dict[str, Any]) -> tuple[bytes, bytes]:
    body = value.get("body")
    if body is None:
        return b"", b"text/plain; charset=utf-8"
    if not isinstance(body, str):
        return msgspec.json.encode(body), b"application/json"
    if not value.get("isBase64Encoded", False):
        return body.encode("utf-8", "replace"), b"text/plain; charset=utf-8"
    return from_base64(function, body), b"application/octet-stream"


def from_base64(function: str, body: str) -> bytes:
    """Return the bytes of a body that a function said is base64. Raises `FunctionAnswerInvalid` when it is not."""
    try:
        return b64decode(body, validate=True)
    except (NotBase64, ValueError) as error:
        raise FunctionAnswerInvalid(function, "its body is not base64") from error


def _pairs(function: str, value: dict[str, Any]) -> list[tuple[str, str]]:
    headers = value.get("headers")
    if headers is None:
        return []
    if not isinstance(headers, dict):
        raise FunctionAnswerInvalid(function, "headers must be an object")
    found: list[tuple[str, str]] = []
    for name, given in headers.items():
        for item in given if isinstance(given, list) else [given]:
            if isinstance(item, bool) or not isinstance(item, (str, int, float)):
                raise FunctionAnswerInvalid(function, f"header {name[:64]!r} must be text, a number, or a list of them")
            found.append((name, str(item)))
    return found
