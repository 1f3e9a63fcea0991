"""Paths that gateway routes serve, and the choice among them by specificity. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

from constellation.base.errors import InvalidRequest

MAX_PATH_CHARS = 512
MAX_SEGMENTS = 32
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@-]*")
_NAMED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(\+?)\}")
_REST = "*"
_ONE, _MANY = "{}", "{+}"  # what a name and a wildcard are in a shape; no literal has braces

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTemplate:
    """A path in parts. Two templates with one shape match the same paths."""

    parts: tuple[str, ...]  # literals; "{}" stands for one segment, "{+}" for all that are left
    names: tuple[str, ...]  # of what stands for something, in order

    @property
    def shape(self) -> str:
        return "/" + "/".join(self.parts)


def path_template(path: str) -> PathTemplate:
    """Read a template: "/users/{id}/files/{path+}"; a "*" at the end is a wildcard, too, called "*".

    Raises:
        InvalidRequest: it is malformed, too long, or a name comes twice.
    """
    if not path.startswith("/") or len(path) > MAX_PATH_CHARS or path.count("/") > MAX_SEGMENTS:
        raise _invalid(path, f"must begin with / and have at most {MAX_PATH_CHARS} characters, {MAX_SEGMENTS} segments")
    parts: list[str] = []
    names: list[str] = []
    segments = path[1:].split("/")
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        named = _NAMED.fullmatch(segment)
        if named is not None or segment == _REST:
            name, is_many = (_REST, "+") if named is None else (named[1], named[2])
            if is_many and not is_last:
                raise _invalid(path, f"{segment} must be its last segment")
            parts.append(_MANY if is_many else _ONE)
            names.append(name)
        elif _LITERAL.fullmatch(segment) is None or segment in (".", ".."):
            raise _invalid(path, f"{segment!r} is neither {{name}}, {{name+}}, * nor a plain segment")
        else:
            parts.append(segment)
    if len(set(names)) < len(names):
        raise _invalid(path, "has a name twice")
    return PathTemplate(parts=tuple(parts), names=tuple(names))


def segments_of(path: str) -> list[str] | None:
    """Return the segments of a request's path, percent-decoded one by one; None for a path that no route may have.

    A segment that is "." or "..", however it is written, would be another path to whoever resolves it later.
    """
    if not path.startswith("/") or path.count("/") > 4 * MAX_SEGMENTS:
        return None
    segments = path[1:].split("/")
    if "%" in path:
        try:
            segments = [unquote(segment, errors="strict") for segment in segments]
        except UnicodeDecodeError:
            return None
    return None if any(segment in (".", "..") or "\0" in segment for segment in segments) else segments


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    one: _Node[T] | None = None
    ends: list[tuple[PathTemplate, T]] = field(default_factory=list)
    many: list[tuple[PathTemplate, T]] = field(default_factory=list)


class PathIndex(Generic[T]):
    """Many templates, each with what it is for."""

    def __init__(self, entries: Iterable[tuple[PathTemplate, T]]) -> None:
        self._root: _Node[T] = _Node()
        for template, target in entries:
            node = self._root
            for part in template.parts:
                if part == _MANY:
                    node.many.append((template, target))
                    break
                if part == _ONE:
                    node.one = node.one or _Node()
                    node = node.one
                else:
                    node = node.literals.setdefault(part, _Node())
            else:
                node.ends.append((template, target))

    def find(self, path: str) -> Iterator[tuple[T, Mapping[str, str]]]:
        """Return what a path is for, the most specific first, with what the template's names stand for.

        Segment by segment from the left, a literal is more specific than a name, a name more than a wildcard. The
        path is percent-encoded as it came.
        """
        segments = segments_of(path)
        return iter(()) if segments is None else _walk(self._root, segments, 0, ())


def _walk(
    node: _Node[T], segments: list[str], at: int, taken: tuple[str, ...]
) -> Iterator[tuple[T, Mapping[str, str]]]:
    # A node stands for one beginning of templates, so a path visits each at most once, whatever tenants write.
    if at == len(segments):
        for template, target in node.ends:
            yield target, dict(zip(template.names, taken, strict=True))
        return
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, at + 1, taken)
    if node.one is not None and segment:
        yield from _walk(node.one, segments, at + 1, (*taken, segment))
    for template, target in node.many:
        yield target, dict(zip(template.names, (*taken, "/".join(segments[at:])), strict=True))


def _invalid(path: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"path {path[:80]!r}: {why}", field="path")
