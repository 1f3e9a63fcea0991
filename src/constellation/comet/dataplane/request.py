"""One data-plane request as an operation sees it, and how its parts are read. Whatever makes no sense is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from anyio.abc import TaskGroup
from msgspec import UNSET, UnsetType

from constellation.base.errors import InvalidRequest, UnsupportedMediaType
from constellation.comet.executor.budget import Budget
from constellation.comet.executor.executor import Executor
from constellation.nova.domain.function import Function
from constellation.nova.domain.names import check_function_name
from constellation.routes.reading import Absent, Window, decode_body, instant_of, number_of, window_of
from constellation.routes.route import Route
from constellation.rpc.caller import Caller

_RANGE = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNIT_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
_MAX_RANGE_S = 366 * 86_400.0
Choice = TypeVar("Choice", bound=StrEnum)

_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")


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
    def qualifier(self) -> str:
        """The version or alias that the call asks for, "" for the live version."""
        return self.headers.get("x-nova-qualifier") or self.query.get("qualifier", "")

    @property
    def window(self) -> Window:
        """Which part of a list is wanted."""
        return window_of(self.query)

    @property
    def accepts_events(self) -> bool:
        """Does the client ask for server-sent events?"""
        return self.accepts("text/event-stream")

    def accepts(self, media_type: str) -> bool:
        """Does the client name this media type as one that it takes?"""
        wanted = (part.partition(";")[0].strip().lower() for part in self.headers.get("accept", "").split(","))
        return media_type in wanted

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
        return instant_of(self.query, name)

    def query_range(self, *, default_s: float) -> float:
        """How far back from now, in seconds."""
        text = self.query.get("range")
        if text is None:
            return default_s
        found = _RANGE.fullmatch(text)
        range_s = int(found[1]) * _UNIT_S[found[2]] if found else 0.0
        if not 0 < range_s <= _MAX_RANGE_S:
            raise InvalidRequest(f"range must be like 15m, 6h or 30d, up to a year, not {text[:40]!r}", field="range")
        return range_s

    def query_number(self, name: str, *, default: Absent, low: int, high: int) -> int | Absent:
        return number_of(self.query, name, default=default, low=low, high=high)

    def query_choice(self, name: str, kinds: type[Choice]) -> Choice | None:
        """One of a few words."""
        text = self.query_word(name)
        if text is None:
            return None
        try:
            return kinds(text)
        except ValueError as error:
            raise InvalidRequest(f"{name} must be one of {', '.join(kinds)}, not {text!r}", field=name) from error

    def idempotency_key(self, in_body: str | UnsetType) -> str:
        """The key that the request gives in its header or body, "" when it gives none."""
        header = self.headers.get("idempotency-key")
        if header is None:
            return "" if isinstance(in_body, UnsetType) else in_body
        if not 1 <= len(header) <= 256 or not header.isprintable():
            raise InvalidRequest("Idempotency-Key must be 1 to 256 printable characters", field="Idempotency-Key")
        if in_body not in (UNSET, header):
            raise InvalidRequest("Idempotency-Key and idempotency_key differ", field="idempotency_key")
        return header

    def json(self, type_: Any) -> Any:
        """The body as `type_`; a body that is absent is an empty object.

        Raises:
            UnsupportedMediaType, InvalidRequest
        """
        given = self.headers.get("content-type", "")
        if given and self.body and given.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(given)
        return decode_body(self.body.strip() or b"{}", type_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an operation answers when it is more than the route's body."""

    body: Any = None  # encoded as JSON unless it is bytes; or the pieces of a stream
    status: int | None = None  # None: the route's
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Pieces = AsyncIterator[bytes]


async def function_of(request: DataRequest, executor: Executor) -> Function:
    """Return the function in the path, which must exist. Raises `NotFound`."""
    return await executor.function(request.caller, request.function, budget=request.budget)


def _uuid(text: str, *, field: str) -> UUID:
    try:
        return UUID(text) if len(text) == 36 else UUID("")
    except ValueError as error:
        raise InvalidRequest(f"{field} must be a UUID, not {text[:40]!r}", field=field) from error
