"""What the log shows of a statement: its beginning, on one line, with a question mark in the place of each literal."""

from __future__ import annotations

import re

SHOWN_CHARS = 200
LOOKED_AT_CHARS = 2000  # chosen: of a longer one the rest is not looked at

# What a literal, a comment or a quoted name is; one that does not end goes to the end of the text, so that nothing of it
# is shown. Of a comment within a comment everything behind is one.
_PARTS = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*(?:[^*/]|\*(?!/)|/(?!\*))*(?:\*/|/\*.*|\Z))
    |(?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\\?\Z))
    |(?P<text>(?:\b[bBxXnN]|\b[uU]&)?'(?:[^']|'')*(?:'|\Z))
    |(?P<name>"(?:[^"]|"")*(?:"|\Z))
    |(?P<parameter>\$[0-9]+)
    |(?P<word>[A-Za-z_\x80-\uffff][\w$]*)
    |(?P<number>\.?[0-9][\w.]*(?:(?<=[eE])[+-][0-9]+)?)
    |(?P<blank>\s+)
    """,
    re.VERBOSE | re.DOTALL,
)


def shown(text: str) -> str:
    """Return what may be written down of a statement."""
    said = _PARTS.sub(_instead, text[:LOOKED_AT_CHARS])
    said = " ".join("".join(each if each.isprintable() else " " for each in said).split())
    return said if len(said) <= SHOWN_CHARS else f"{said[: SHOWN_CHARS - 1]}…"


def _instead(match: re.Match[str]) -> str:
    match match.lastgroup:
        case "name" | "parameter" | "word":
            return match[0]
        case "comment" | "blank":
            return " "
        case _:
            return "?"
