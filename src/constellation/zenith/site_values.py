"""What a request says, as values: texts by name, and those that a schema is to judge. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from constellation.nova.domain.mapping import Rule, converted
from constellation.zenith.headers import forwarded
from constellation.zenith.request import Request

_FIELDS = 1000  # as of a function's event
_PLAIN = ("integer", "number", "boolean")


def query_of(request: Request) -> dict[str, list[str]]:
    """Return the values of each name in the query."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)[:_FIELDS]:
        found.setdefault(name, []).append(value)
    return found


def headers_of(request: Request) -> dict[str, str]:
    """Return the headers that the function may see; of one that comes more than once the values joined."""
    found: dict[str, str] = {}
    for raw_name, raw_value in forwarded(request.headers):
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def cookies_of(headers: Mapping[str, str]) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def as_typed(schema: Mapping[str, Any], values: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return texts as what their properties' types say, where they can be that; the schema judges the rest."""
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    typed: dict[str, Any] = {}
    for name, texts in values.items():
        wanted = known.get(name)
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind == "array":
            items = wanted.get("items") if isinstance(wanted, dict) else None
            of = items.get("type") if isinstance(items, dict) else None
            typed[name] = [_as(of, text) for text in texts]
        else:
            typed[name] = _as(kind, texts[0])
    return typed


def _as(kind: object, text: str) -> Any:
    if kind not in _PLAIN:
        return text
    return converted(Rule(type=kind), text, otherwise=text)  # type: ignore[arg-type]  # one of these
