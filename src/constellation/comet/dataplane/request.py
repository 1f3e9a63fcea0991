"""One data-plane request as an operation sees it, and how its parts are read. Whatever makes no sense is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import msgspec
from anyio.abc import TaskGroup

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.comet.executor.budget import Budget
from constellation.nova.domain.names import check_function_name
from constellation.routes.models.paging import DEFAULT_LIMIT, MAX_LIMIT
from constellation.routes.registry import Route
from constellation.rpc.caller import Caller

MAX_OFFSET = 1_000_000_000  # chosen: far past any list of ours, far below what a bigint holds
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")


class UnsupportedMediaType(ConstellationError):
    """A body that says it is something else than JSON."""

    code, http_status = "unsupported_media_type", 415

    def __init__(self, given: str) -> None:
        super().__init__(f"the body must be application/json, not {given[:100]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """A request of a known route by a caller who may make it."""

    route: Route
    caller: Caller
    budget: Budget
    params: Mapping[str, str]  # of the path's template, percent-decoded
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    tasks: TaskGroup  # ends with the request, whether the client waited for it or hung up

    @property
    def tenant(self) -> str:
        return self.caller.identity.tenant

    @property
    def namespace(self) -> str:
        return self.caller.identity.namespace

    @property
    def function(self) -> str:
        """The function in the path."""
        return check_function_name(self.params["name"])

    @property
    def limit(self) -> int:
        return self._number("limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)

    @property
    def offset(self) -> int:
        return self._number("offset", default=0, low=0, high=MAX_OFFSET)

    @property
    def accepts_events(self) -> bool:
        """Does the client ask for server-sent events?"""
        wanted = (part.partition(";")[0].strip().lower() for part in self.headers.get("accept", "").split(","))
        return "text/event-stream" in wanted

    def id(self) -> UUID:
        """The id in the path."""
        return _uuid(self.params["id"], field="id")

    def query_id(self, name: str) -> UUID | None:
        text = self.query.get(name)
        return None if text is None else _uuid(text, field=name)

    def query_function(self) -> str | None:
        text = self.query.get("function")
        return None if text is None else check_function_name(text)

    def query_word(self, name: str) -> str | None:
        """A status or code."""
        text = self.query.get(name)
        if text is not None and _WORD.fullmatch(text) is None:
            raise InvalidRequest(f"{name} must be a word such as ok, not {text[:40]!r}", field=name)
        return text

    def query_instant(self, name: str) -> datetime | None:
        text = self.query.get(name)
        if text is None:
            return None
        try:
            instant = msgspec.convert(text, datetime)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{name} must be an RFC 3339 instant, not {text[:40]!r}", field=name) from error
        if instant.tzinfo is None:
            raise InvalidRequest(f"{name} needs its offset from UTC, such as Z", field=name)
        return instant

    def json(self, type_: Any) -> Any:
        """The body as `type_`; a body that is absent is an empty object.

        Raises:
            UnsupportedMediaType, InvalidRequest
        """
        given = self.headers.get("content-type", "")
        if given and self.body and given.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(given)
        try:
            return msgspec.json.decode(self.body.strip() or b"{}", type=type_)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error), field=_field(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"the body is not valid JSON: {error}") from error
        except RecursionError as error:
            raise InvalidRequest("the body is nested too deeply") from error

    def _number(self, name: str, *, default: int, low: int, high: int) -> int:
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 10 or not low <= int(text) <= high:
            raise InvalidRequest(f"{name} must be a number from {low} to {high}, not {text[:40]!r}", field=name)
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an operation answers when it is more than the route's body."""

    body: Any = None  # encoded as JSON unless it is bytes; or the pieces of a stream
    status: int | None = None  # None: the route's
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Pieces = AsyncIterator[bytes]


def params_of(raw: Mapping[str, str]) -> dict[str, str]:
    """Percent-decode the names in a path."""
    try:
        params = {name: unquote(value, errors="strict") for name, value in raw.items()}
    except UnicodeDecodeError as error:
        raise InvalidRequest("the path is not UTF-8") from error
    _refuse_nul(params)
    return params


def query_of(route: Route, raw: bytes) -> dict[str, str]:
    """Return the query's parameters: those that the route has, each once."""
    known = [query.name for query in route.query]
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest("the query can not be read") from error
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise InvalidRequest(f"unknown parameter {name[:40]!r}; this route takes {_listed(known)}", field=name[:40])
        if name in query:
            raise InvalidRequest(f"{name} is given twice", field=name)
        query[name] = value
    _refuse_nul(query)
    return query


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _refuse_nul(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if "\0" in text:
            raise InvalidRequest(f"{name} must not contain a NUL", field=name)


def _uuid(text: str, *, field: str) -> UUID:
    try:
        return UUID(text) if len(text) == 36 else UUID("")
    except ValueError as error:
        raise InvalidRequest(f"{field} must be a UUID, not {text[:40]!r}", field=field) from error


def _field(message: str) -> str | None:
    """Find the wrong field's name in msgspec's message."""
    for pattern in (r"at `\$\.?([^`]+)`$", r"field `([^`]+)`"):
        found = re.search(pattern, message)
        if found:
            return found[1]
    return None
