"""How the parts of a request are read: path, query, paging, JSON. Whatever makes no sense is refused with its field.

And how a page of a list is answered, since its facts repeat what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from constellation.base.errors import InvalidRequest
from constellation.routes.models.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, page_facts
from constellation.routes.route import Route

FORM = "application/x-www-form-urlencoded"
_FORM_FIELDS = 32  # chosen: more than any of ours has
MAX_OFFSET = 1_000_000_000  # chosen: far past any list of ours, far below what a bigint holds
_AT_PATH = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_NAMED_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")


Row_co = TypeVar("Row_co", covariant=True)
Row = TypeVar("Row")
Shown = TypeVar("Shown")
Absent = TypeVar("Absent", int, None)


class Found(Protocol[Row_co]):
    """A part of a list, and how long the whole is."""

    @property
    def items(self) -> Sequence[Row_co]: ...

    @property
    def total(self) -> int: ...

    @property
    def total_is_exact(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0


def window_of(query: Mapping[str, str]) -> Window:
    """Read `limit` and `offset`. Raises `InvalidRequest` for anything but numbers in range."""
    return Window(
        limit=number_of(query, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT),
        offset=number_of(query, "offset", default=0, low=0, high=MAX_OFFSET),
    )


def params_of(raw: Mapping[str, str]) -> dict[str, str]:
    """Percent-decode the names in a path. Raises `InvalidRequest` for what is not UTF-8 or has a NUL in it."""
    try:
        params = {name: unquote(value, errors="strict") for name, value in raw.items()}
    except UnicodeDecodeError as error:
        raise InvalidRequest("the path is not UTF-8") from error
    _refuse_nul(params)
    return params


def query_of(route: Route, raw: bytes) -> dict[str, str]:
    """Return the query's parameters. Raises `InvalidRequest` for one that the route has not, or that is given twice."""
    known = [query.name for query in route.query]
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest("the query can not be read") from error
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            if route.takes_more:
                continue
            raise InvalidRequest(f"unknown parameter {name[:40]!r}; this route takes {_listed(known)}", field=name[:40])
        if name in query:
            raise InvalidRequest(f"{name} is given twice", field=name)
        query[name] = value
    _refuse_nul(query)
    return query


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
        _refuse_nul(body)
    return body


def decode_form(data: bytes, type_: Any) -> Any:
    """Return a form as `type_`; fields that it does not have are let be. Raises `InvalidRequest`: as `decode_body`."""
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS, errors="strict")
    except ValueError as error:  # of what is no ASCII, too
        raise InvalidRequest("the body is no form") from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequest("a field of the form comes twice")
    try:
        body = msgspec.convert(fields, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error), field=_field(str(error))) from error
    if "\0" in "".join(fields.values()):
        _refuse_nul(body)
    return body


def page_of(found: Found[Row], window: Window, show: Callable[[Row], Shown]) -> Page[Shown]:
    """Return rows as bodies, with the facts of the page."""
    items = [show(row) for row in found.items]
    facts = page_facts(
        limit=window.limit,
        offset=window.offset,
        returned=len(items),
        total=found.total,
        is_exact=found.total_is_exact,
    )
    return Page(items=items, pagination=facts)


def number_of(query: Mapping[str, str], name: str, *, default: Absent, low: int, high: int) -> int | Absent:
    """Return a number of a query or a path. Raises `InvalidRequest` for anything but digits in range."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 20 or not low <= int(text) <= high:
        raise InvalidRequest(f"{name} must be a number from {low} to {high}, not {text[:40]!r}", field=name)
    return int(text)


def instant_of(query: Mapping[str, str], name: str) -> datetime | None:
    """Return an instant of a query, in UTC. Raises `InvalidRequest` for anything but RFC 3339 with an offset."""
    text = query.get(name)
    if text is None:
        return None
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{name} must be an RFC 3339 instant, not {text[:40]!r}", field=name) from error
    if instant.tzinfo is None:
        raise InvalidRequest(f"{name} needs its offset from UTC, such as Z", field=name)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:  # in UTC it lies outside the years 1 to 9999
        raise InvalidRequest(f"{name} is out of range", field=name) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _field(message: str) -> str | None:
    """Find the path of the wrong field in msgspec's message."""
    at, named = _AT_PATH.search(message), _NAMED_FIELD.search(message)
    path = at["path"].lstrip(".") if at else ""
    return ".".join(part for part in (path, named["name"] if named else "") if part) or None


def _refuse_nul(value: object, path: str = "") -> None:
    """Raise `InvalidRequest` for a text that PostgreSQL can not hold. JSON that is kept as it came (Raw) may have any."""
    match value:
        case msgspec.Struct():
            for name in value.__struct_fields__:
                _refuse_nul(getattr(value, name), f"{path}.{name}" if path else name)
        case str() if "\0" in value:
            raise InvalidRequest("a text must not contain a NUL", field=path or None)
        case dict():
            for key, item in value.items():
                _refuse_nul(key, path)
                _refuse_nul(item, f"{path}.{key}" if path else str(key))
        case list() | tuple():
            for place, item in enumerate(value):
                _refuse_nul(item, f"{path}[{place}]")
        case _:
            return
