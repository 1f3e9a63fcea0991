"""Patterns of names: `*` any run, `?` any character, `[a-c]` one of some, `[!a-c]` none of them; the whole name must fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache

from constellation.base.errors import InvalidRequest

MAX_GLOBS = 32  # chosen: of one binding
_GLOB = re.compile(r"(?:[A-Za-z0-9._*?-]|\[!?[A-Za-z0-9._-]+\]){1,64}")
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


def check_globs(field: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return patterns in order, each once, or raise `InvalidRequest`."""
    if len(patterns) > MAX_GLOBS:
        raise InvalidRequest(f"{field} may be at most {MAX_GLOBS} patterns", field=field)
    for pattern in patterns:
        if len(pattern) > 64 or _GLOB.fullmatch(pattern) is None:
            raise InvalidRequest(
                f"{field}: {pattern[:80]!r} must be up to 64 of letters, digits, '.', '_', '-', '*', '?' and [sets]",
                field=field,
            )
        try:
            re.compile(expression(pattern))
        except re.error as error:  # [z-a]
            raise InvalidRequest(f"{field}: {pattern!r}: {error}", field=field) from error
    return tuple(sorted(set(patterns)))


def fits(pattern: str, name: str) -> bool:
    """Tell whether the whole name fits a pattern."""
    return pattern in ("*", name) or _compiled(pattern).match(name) is not None


def fits_any(patterns: Sequence[str], name: str) -> bool:
    return any(fits(pattern, name) for pattern in patterns)


def is_plain(pattern: str) -> bool:
    """Tell whether a pattern fits one name only: itself."""
    return _PLAIN.fullmatch(pattern) is not None


def expression(pattern: str) -> str:
    """Return a pattern as a regular expression that PostgreSQL and Python take alike."""
    pieces = re.findall(r"\[!?[^]]+\]|.", pattern)
    return "^" + "".join(_expression(piece) for piece in pieces) + "$"


def _expression(piece: str) -> str:
    match piece:
        case "*":
            return ".*"
        case "?":
            return "."
        case _ if piece.startswith("["):
            return piece.replace("[!", "[^")
        case _:
            return re.escape(piece)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))  # which never tries a run twice: a pattern of many stars costs no more
