"""One request as an operation sees it, and how it is read from the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import anyio
import msgspec
import quart
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from constellation.base.errors import ConstellationError, InvalidRequest, PayloadTooLarge
from constellation.base.ids import RequestId
from constellation.nova.domain.access import Identity
from constellation.routes.models.paging import DEFAULT_LIMIT, MAX_LIMIT

Body_co = TypeVar("Body_co", covariant=True)

MAX_OFFSET = 1_000_000_000  # chosen: far past any list of ours, far below what a bigint holds
DISCARDED_BYTES = 64 << 20  # chosen: a client that sends more than this over the limit is cut off
_AT_PATH = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_NAMED_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")


class UnsupportedMediaType(ConstellationError):
    """A body that does not say it is JSON."""

    code, http_status = "unsupported_media_type", 415

    def __init__(self, given: str) -> None:
        super().__init__(f"send the body as application/json, not as {given[:80] or 'nothing named'}")


class RequestTimeout(ConstellationError):
    """The body did not arrive in time."""

    code, http_status = "request_timeout", 408

    def __init__(self, *, after_s: float) -> None:
        super().__init__(f"the body did not arrive within {after_s:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest(Generic[Body_co]):
    """What an operation is handed: everything in it is checked for form, nothing for sense."""

    identity: Identity
    params: Mapping[str, str]  # of the path template, percent-decoded
    query: Mapping[str, str]
    window: Window
    body: Body_co
    request_id: RequestId

    @property
    def scope(self) -> tuple[str, str]:
        """The tenant and the namespace that the caller acts in."""
        return self.identity.tenant, self.identity.namespace


def window_from(query: Mapping[str, str]) -> Window:
    """Read `limit` and `offset`. Raises `InvalidRequest` for anything but numbers in range."""
    return Window(
        limit=_number(query, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT),
        offset=_number(query, "offset", default=0, low=0, high=MAX_OFFSET),
    )


def _number(query: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not low <= int(text) <= high:
        raise InvalidRequest(f"{name} must be a number from {low} to {high}, not {text[:40]!r}", field=name)
    return int(text)


def params_from(raw: Mapping[str, str]) -> dict[str, str]:
    """Percent-decode the names in a path. Raises `InvalidRequest` for what is not UTF-8."""
    try:
        return _checked({name: unquote(value, errors="strict") for name, value in raw.items()})
    except UnicodeDecodeError as error:
        raise InvalidRequest("the path is not UTF-8") from error


def query_from(args: MultiDict[str, str]) -> dict[str, str]:
    """Return the query's parameters. Raises `InvalidRequest` for one given twice, or with a NUL in it."""
    for name, values in args.lists():
        if len(values) > 1:
            raise InvalidRequest(f"{name} is given {len(values)} times", field=name)
    return _checked(args.to_dict())


def _checked(texts: dict[str, str]) -> dict[str, str]:
    """Return texts from a path or query, or raise `InvalidRequest` for one that PostgreSQL can not hold."""
    for name, text in texts.items():
        if "\0" in text:
            raise InvalidRequest(f"{name} must not contain a NUL", field=name)
    return texts


async def read_body(request: quart.Request, *, limit_bytes: int, wait_s: float) -> bytes:
    """Return the whole body.

    A body that is somewhat over the limit is read to its end and thrown away: closing a connection with unread bytes
    in it resets it, and the client would lose the answer.

    Raises:
        UnsupportedMediaType: it is not declared to be JSON.
        PayloadTooLarge: it is over `limit_bytes`.
        RequestTimeout: it did not arrive within `wait_s` seconds.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType(request.mimetype)
    if (request.content_length or 0) > limit_bytes + DISCARDED_BYTES:
        raise PayloadTooLarge(limit_bytes=limit_bytes)
    read, size_bytes = bytearray(), 0
    try:
        with anyio.fail_after(wait_s):
            async for piece in request.body:
                size_bytes += len(piece)
                if size_bytes > limit_bytes + DISCARDED_BYTES:
                    break
                if size_bytes <= limit_bytes:
                    read += piece
    except RequestEntityTooLarge as error:
        raise PayloadTooLarge(limit_bytes=limit_bytes) from error
    except TimeoutError as error:
        raise RequestTimeout(after_s=wait_s) from error
    if size_bytes > limit_bytes:
        raise PayloadTooLarge(limit_bytes=limit_bytes)
    return bytes(read)


def decode_body(data: bytes, type_: Any) -> Any:
    """Return JSON as `type_`.

    Raises:
        InvalidRequest: it is not JSON, or not of this type; `field` is the path of what is wrong.
    """
    if not data.strip():
        raise InvalidRequest("the request needs a JSON body")
    try:
        body = msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error), field=_field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error
    if b"\\u0000" in data:
        _refuse_nul(msgspec.to_builtins(body), "")
    return body


def _field(message: str) -> str | None:
    """Find the path of the wrong field in msgspec's message."""
    at, named = _AT_PATH.search(message), _NAMED_FIELD.search(message)
    path = at["path"].lstrip(".") if at else ""
    return ".".join(part for part in (path, named["name"] if named else "") if part) or None


def _refuse_nul(value: object, path: str) -> None:
    match value:
        case str() if "\0" in value:
            raise InvalidRequest("a text must not contain a NUL", field=path or None)
        case dict():
            for key, item in value.items():
                _refuse_nul(key, path)
                _refuse_nul(item, f"{path}.{key}" if path else str(key))
        case list():
            for place, item in enumerate(value):
                _refuse_nul(item, f"{path}[{place}]")
        case _:
            return
