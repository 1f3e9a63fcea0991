"""Versions: what a function was each time its code or configuration changed; and how two of them differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from difflib import unified_diff
from enum import StrEnum

import msgspec

from constellation.nova.domain.function import Function

# What a function is called and how it stands, which no version says. The rest is versioned; SQL's `versioned` has the
# same names, and a test compares the two.
UNVERSIONED = frozenset({
    "tenant", "namespace", "name", "id", "halted", "pending", "version", "created_at", "updated_at", "live_version",
    "newest_version", "newest_code_version", "kept_versions", "tags",
})  # fmt: skip

MAX_COMPARED_BYTES = 64 << 10  # of a file that is compared line by line; chosen: more takes seconds
MAX_DIFF_CHARS = 256 << 10  # of all files together


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a function. It never changes."""

    number: int
    function: Function  # as it was, under the name and switches that it has now
    is_live: bool  # a call that names no version runs it
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """A setting that two versions do not share; None stands for one that is not there."""

    field: str  # nested ones with dots: "capacity.max_inflight", "env.MODE"
    before: object
    after: object


class FileState(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    path: str
    state: FileState
    diff: str | None  # unified; None: it is no text, or too long


def setting_changes(before: Function, after: Function) -> tuple[SettingChange, ...]:
    """Return the versioned settings that differ, by name."""
    a, b = dict(_settings(before)), dict(_settings(after))
    return tuple(
        SettingChange(field=name, before=a.get(name), after=b.get(name))
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name)
    )


def file_changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[FileChange, ...]:
    """Return the files that differ, by path. Takes long for long files: up to a second."""
    changes, left_chars = [], MAX_DIFF_CHARS
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) == after.get(path):
            continue
        state = FileState.CHANGED
        if path not in before or path not in after:
            state = FileState.ADDED if path in after else FileState.REMOVED
        diff = _diff(path, before.get(path, b""), after.get(path, b""))
        if diff is not None and len(diff) > left_chars:
            diff = None
        left_chars -= len(diff or "")
        changes.append(FileChange(path=path, state=state, diff=diff))
    return tuple(changes)


def _settings(function: Function) -> Iterator[tuple[str, object]]:
    for field in fields(Function):
        if field.name not in UNVERSIONED:
            yield from _flat(field.name, msgspec.to_builtins(getattr(function, field.name)))


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    else:
        yield name, value


def _diff(path: str, before: bytes, after: bytes) -> str | None:
    if max(len(before), len(after)) > MAX_COMPARED_BYTES:
        return None
    try:
        a, b = before.decode().splitlines(), after.decode().splitlines()
    except UnicodeDecodeError:
        return None
    return "\n".join(unified_diff(a, b, path, path, lineterm=""))
