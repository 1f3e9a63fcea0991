"""Entity tags, and the conditions that requests set with them (RFC 9110 section 13.1.1)."""

from __future__ import annotations

import re

from constellation.base.errors import InvalidRequest, PreconditionFailed
from constellation.nova.domain.function import Function
from constellation.routes.models.functions import entity_tag

MAX_HEADER_CHARS = 1024
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LIST = re.compile(rf"{_TAG.pattern}(?:[ \t]*,[ \t]*{_TAG.pattern})*")


def tag_of(function: Function) -> str:
    return entity_tag(function.id, function.version)


def check_match(function: Function, if_match: str | None) -> None:
    """Let a request through whose If-Match names the function as it is, or that has none. Raises as `check_tag`."""
    check_tag("function", function.name, tag_of(function), if_match)


def check_tag(kind: str, name: str, tag: str, if_match: str | None) -> None:
    """Let a request through whose If-Match names a thing's entity tag, or that has none.

    Raises:
        InvalidRequest: the header is no list of entity tags.
        PreconditionFailed: none of them is the thing's.
    """
    if if_match is None or (wanted := if_match.strip()) == "*":
        return
    if len(wanted) > MAX_HEADER_CHARS or _LIST.fullmatch(wanted) is None:
        raise InvalidRequest('If-Match must be "*" or entity tags as they came in ETag, in quotes', field="if-match")
    if tag not in _TAG.findall(wanted):  # a weak tag is never equal
        raise PreconditionFailed(kind, name)
