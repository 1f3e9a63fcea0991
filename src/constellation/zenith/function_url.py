"""`/fn/{name}`: the HTTP request is the function's event, and what it returns is the HTTP answer."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from constellation.routes.registry import Match
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import REPLAYED, context_of, idempotency_key_of, timeout_of
from constellation.zenith.errors import FunctionAnswerInvalid, FunctionFailed
from constellation.zenith.execution import Execution
from constellation.zenith.headers import forwarded, function_headers
from constellation.zenith.invoke import GRACE_S, decode_error
from constellation.zenith.limits import Budget
from constellation.zenith.principals import Access
from constellation.zenith.request import MAX_HEADER_BYTES, MAX_HEADERS, Request

_QUERY_FIELDS = 1000  # chosen; the raw query is there for more


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a function's output means as HTTP."""

    status: int
    content_type: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


class FunctionUrl:
    """Calls a function with an HTTP event. Credentials of the platform are not part of the event."""

    def __init__(
        self,
        *,
        execution: Execution,
        budget: Budget,
        max_body_bytes: int,
        max_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        self._execution, self._budget = execution, budget
        self._max_body_bytes, self._max_timeout_s, self._read_timeout_s = max_body_bytes, max_timeout_s, read_timeout_s

    async def __call__(self, request: Request, match: Match, access: Access | None, /) -> None:
        assert access is not None
        name = unquote(match.params["name"])
        timeout_s = timeout_of(request, max_s=self._max_timeout_s)
        context = context_of(request)
        body = await request.body(
            limit_bytes=min(self._max_body_bytes, match.route.max_body_bytes or self._max_body_bytes),
            timeout_s=self._read_timeout_s,
            budget=self._budget,
        )
        path = "/" + match.params.get("rest", "")
        key = idempotency_key_of(request)
        if key:
            fingerprint = fingerprint_of(request, path=path, body=body)
            context = replace(context, idempotency_key=key, idempotency_fingerprint=fingerprint)
        reply = await self._execution.invoke(
            nova_pb2.InvokeRequest(
                function=name,
                payload=event_of(request, path=path, body=body),
                timeout_ms=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
            ),
            token=access.token,
            context=context,
            timeout_s=(self._max_timeout_s if timeout_s is None else timeout_s) + GRACE_S,
        )
        if reply.replayed:
            request.also.append(REPLAYED)
        if reply.error:
            error = decode_error(reply.error)
            raise FunctionFailed(name, type=error.type, message=error.message[:1000])
        answer = answer_of(name, reply.output or b"null")
        await request.answer(answer.status, answer.body, content_type=answer.content_type, headers=answer.headers)


def fingerprint_of(request: Request, *, path: str, body: bytes) -> bytes:
    """Return the SHA-256 of what a request asks for: a repetition of it has other headers and comes from elsewhere."""
    digest = sha256()
    for part in (request.method.encode(), path.encode(), request.query, body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def event_of(request: Request, *, path: str, body: bytes) -> bytes:
    """Return the JSON event of an HTTP request: its facts and its body, in base64 when it is not UTF-8."""
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = b64encode(body).decode(), True
    facts = facts_of(request, path=path)
    return msgspec.json.encode({"method": request.method, **facts, "body": text, "isBase64Encoded": is_base64})


def facts_of(request: Request, *, path: str) -> dict[str, Any]:
    """Return what an event says of its request.

    `path` is what follows the function's name, percent-encoded as it came; `query_params` has the first value of
    each; headers that come more than once are joined by ", ".
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in forwarded(request.headers):
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
        "source_ip": request.client[0] if request.client else "",
        "request_id": str(request.request_id),
    }


def answer_of(function: str, output: bytes) -> HttpAnswer:
    """Return what an output means: an object with a numeric `statusCode` (or `status`) is an answer; else JSON of 200.

    Raises:
        FunctionAnswerInvalid: it is an answer that HTTP can not carry.
    """
    plain = HttpAnswer(status=200, content_type=b"application/json", headers=[], body=output)
    if not output.lstrip().startswith(b"{"):
        return plain
    try:
        value: dict[str, Any] = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError:
        return plain
    status = value.get("statusCode", value.get("status"))
    if not isinstance(status, int) or isinstance(status, bool):
        return plain
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
    try:
        return b64decode(body, validate=True), b"application/octet-stream"
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
