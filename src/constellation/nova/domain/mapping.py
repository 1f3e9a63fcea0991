"""From an HTTP request to an event of one's own choice, and from a function's answer to another: rules, and no code.

A rule says where a value comes from: a source, as "query.page" or "body.items.0.sku", or a fixed `value`; what type it is
to have; and what holds when it is not there. A target is a path of names with dots. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from constellation.base.errors import InvalidRequest

WHOLE = "*"  # the target that is the event itself
MAX_RULES = 64
MAX_NAMES = 8  # of a target or of a place in a body
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BY_NAME = ("query", "path", "headers", "cookies")
_FACTS = ("method", "host", "url", "source_ip", "request_id", "caller")
_ANSWER_FACTS = ("status", "request_id")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ABSENT = object()

Source = Annotated[str, Meta(max_length=256)]


class Rule(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One value: of a source or fixed, maybe of another type, maybe not there."""

    source: Source = field(name="from", default="")
    value: Any = UNSET
    type: Literal["", "string", "integer", "number", "boolean", "json"] = ""
    default: Any = UNSET
    required: bool = False


Rules = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=256)], Source | Rule],
    Meta(max_length=MAX_RULES),
]


class ResponseRules(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of a function's answer: statuses first, then the body of one below 300, then headers."""

    status: Annotated[
        dict[Annotated[str, Meta(pattern="^([2-5][0-9][0-9]|[2-5]xx)$")], Annotated[int, Meta(ge=200, le=599)]],
        Meta(max_length=32, description='what a status becomes: {"200": 201, "5xx": 503}'),
    ] = {}
    headers: Annotated[Rules, Meta(description="headers that are set, by name")] = {}
    remove_headers: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)] = ()
    body: Annotated[Rules, Meta(description="an object of these in place of the body")] = {}


class Missing(Exception):  # not a failure of the platform's: who maps says which one it is
    """Places that rules want and that are not there, or are not what they are to be."""

    def __init__(self, places: list[tuple[str, str]]) -> None:
        super().__init__(f"{len(places)} places")
        self.places = places  # source, and what is wrong with it


# When rules are saved.


def check_request_rules(rules: Mapping[str, str | Rule], *, field: str) -> None:
    """Let rules of requests through, or raise `InvalidRequest`."""
    _check(rules, field=field, is_source=_is_request_source)
    _check_targets([target for target in rules if target != WHOLE], field=field)


def check_response_rules(rules: ResponseRules, *, field: str) -> None:
    """Let rules of answers through, or raise `InvalidRequest`."""
    for name in ("headers", "body"):
        _check(getattr(rules, name), field=f"{field}.{name}", is_source=_is_answer_source)
    _check_targets([target for target in rules.body if target != WHOLE], field=f"{field}.body")
    for name in (*rules.headers, *rules.remove_headers):
        if _NAME.fullmatch(name) is None:
            raise InvalidRequest(f"{name[:80]!r} is no name of a header", field=f"{field}.headers")


def _check(rules: Mapping[str, str | Rule], *, field: str, is_source: Callable[[str], bool]) -> None:
    for target, given in rules.items():
        rule = _rule(given)
        if (rule.source == "") == (rule.value is UNSET):
            raise InvalidRequest(f"{target[:80]!r} must have one of from and value", field=field)
        if rule.source and not is_source(rule.source):
            raise InvalidRequest(f"{rule.source[:80]!r} is no source", field=field)
        if rule.required and (rule.default is not UNSET or not rule.source):
            raise InvalidRequest(f"{target[:80]!r} is required, so it has neither a value nor a default", field=field)


def _check_targets(targets: list[str], *, field: str) -> None:
    paths = []
    for target in targets:
        names = tuple(target.split("."))
        if len(names) > MAX_NAMES or any(_NAME.fullmatch(name) is None for name in names):
            raise InvalidRequest(
                f"target {target[:80]!r} must be up to {MAX_NAMES} names of letters, digits, _ and -, with dots between",
                field=field,
            )
        paths.append(names)
    known = set(paths)
    for names in paths:
        for length in range(1, len(names)):
            if names[:length] in known:
                raise InvalidRequest(
                    f"{'.'.join(names)[:80]!r} would be a part of {'.'.join(names[:length])[:80]!r}", field=field
                )


def _is_request_source(source: str) -> bool:
    kind, dot, name = source.partition(".")
    if kind == "body":
        return not dot or _is_place(name)
    return (source in _FACTS) if not dot else (kind in _BY_NAME and bool(name))


def _is_answer_source(source: str) -> bool:
    kind, dot, name = source.partition(".")
    if kind == "body":
        return not dot or _is_place(name)
    return (source in _ANSWER_FACTS) if not dot else (kind == "headers" and bool(name))


def _is_place(text: str) -> bool:
    names = text.split(".")
    return len(names) <= MAX_NAMES and all(names)


# When they are applied.


class RequestFacts(Struct, kw_only=True):
    """What sources of a request stand for. `body` is called when a rule wants it; it may raise `Missing`."""

    texts: Mapping[str, Mapping[str, str]]  # query, path, headers (names in lower case), cookies
    facts: Mapping[str, str]
    body: Callable[[], Any]


def event_of_rules(rules: Mapping[str, str | Rule], request: RequestFacts) -> Any:
    """Return the event that rules make of a request. Raises `Missing`."""

    def look(source: str) -> Any:
        kind, dot, name = source.partition(".")
        if kind == "body":
            return _place(request.body(), name)
        if not dot:
            return request.facts.get(source) or _ABSENT
        return request.texts[kind].get(name.lower() if kind == "headers" else name, _ABSENT)

    return _made(rules, look)


def body_of_rules(rules: ResponseRules, *, status: int, headers: Mapping[str, str], request_id: str, body: Any) -> Any:
    """Return the body that rules make of an answer's. Raises `Missing`."""
    return _made(rules.body, _answer_look(status, headers, request_id, body))


def headers_of_rules(
    rules: ResponseRules, *, status: int, headers: Mapping[str, str], request_id: str, body: Any
) -> dict[str, str]:
    """Return the headers that rules set; one whose source is not there, or is no plain value, is not set."""
    look = _answer_look(status, headers, request_id, body)
    found = {}
    for name, given in rules.headers.items():
        rule = _rule(given)
        value = _converted(rule, _value(rule, look))
        if isinstance(value, bool):
            found[name.lower()] = "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            found[name.lower()] = str(value)
    return found


def status_of_rules(rules: ResponseRules, status: int) -> int:
    return rules.status.get(str(status), rules.status.get(f"{status // 100}xx", status))


def _answer_look(status: int, headers: Mapping[str, str], request_id: str, body: Any) -> Callable[[str], Any]:
    def look(source: str) -> Any:
        kind, _, name = source.partition(".")
        if kind == "body":
            return _ABSENT if body is UNSET else _place(body, name)
        if kind == "headers":
            return headers.get(name.lower(), _ABSENT)
        return status if kind == "status" else request_id

    return look


def _made(rules: Mapping[str, str | Rule], look: Callable[[str], Any]) -> Any:
    whole: Any = UNSET
    made: dict[str, Any] = {}
    missing: list[tuple[str, str]] = []
    for target, given in rules.items():
        rule = _rule(given)
        value = _value(rule, look)
        if value is _ABSENT:
            if rule.required:
                missing.append((rule.source, "is not there"))
            continue
        value = _converted(rule, value)
        if value is _ABSENT:
            missing.append((rule.source, f"is no {rule.type}"))
        elif target == WHOLE:
            whole = value
        else:
            _put(made, target.split("."), value)
    if missing:
        raise Missing(missing)
    if whole is UNSET or (isinstance(whole, dict) and not made):
        return made if whole is UNSET else whole
    if len(rules) == 1:
        return whole
    if not isinstance(whole, dict):
        raise Missing([(_rule(rules[WHOLE]).source, "is no object, and other rules add to it")])
    return _merged(whole, made)


def _value(rule: Rule, look: Callable[[str], Any]) -> Any:
    if not rule.source:
        return rule.value
    found = look(rule.source)
    if found is _ABSENT and not isinstance(rule.default, UnsetType):
        return rule.default
    return found


def source_of(rule: str | Rule) -> str:
    """Return where a rule's value comes from; "": it is fixed."""
    return _rule(rule).source


def converted(rule: Rule, value: Any, *, otherwise: Any) -> Any:
    """Return a value as the rule's type, `otherwise` when it can not be that."""
    found = _converted(rule, value)
    return otherwise if found is _ABSENT else found


def _converted(rule: Rule, value: Any) -> Any:
    match rule.type:
        case "":
            return value
        case "string":
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
        case "json":
            if not isinstance(value, str):
                return value
            try:
                return msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError):
                return _ABSENT
        case "boolean":
            return value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower(), _ABSENT)
        case "integer":
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else _ABSENT
        case "number":
            return _number(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return _ABSENT
    if isinstance(value, (int, float)):
        return value
    try:
        number = float(value) if isinstance(value, str) and len(value) <= 64 else math.nan
    except ValueError:
        return _ABSENT
    return number if math.isfinite(number) else _ABSENT


def _place(body: Any, path: str) -> Any:
    found = body
    for name in path.split(".") if path else ():
        if isinstance(found, dict):
            found = found.get(name, _ABSENT)
        elif (
            isinstance(found, list) and name.isascii() and name.isdigit() and len(name) <= 7 and int(name) < len(found)
        ):
            found = found[int(name)]
        else:
            return _ABSENT
        if found is _ABSENT:
            return _ABSENT
    return found


def _put(made: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        made = made.setdefault(name, {})
    made[names[-1]] = value


def _merged(whole: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    merged = dict(whole)
    for name, value in made.items():
        under = merged.get(name)
        merged[name] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _rule(given: str | Rule) -> Rule:
    return Rule(source=given) if isinstance(given, str) else given
