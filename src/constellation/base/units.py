"""Durations and sizes as people write them: "30s", "1h30m", "128MiB"."""

from __future__ import annotations

import re

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|KB|MB|GB)?")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


def parse_duration(text: str) -> float:
    """Return seconds for "250ms", "30s", "1h30m" or "0".

    Raises:
        ValueError: the text is not such a duration.
    """
    compact = text.strip()
    if compact == "0":
        return 0.0
    total, end = 0.0, 0
    for part in _DURATION_PART.finditer(compact):
        if part.start() != end:
            break
        total += float(part[1]) * _SECONDS[part[2]]
        end = part.end()
    if end != len(compact) or not compact:
        raise ValueError(f'{text!r} is not a duration such as "30s", "250ms" or "1h30m"')
    return total


def parse_size(text: str) -> int:
    """Return bytes for "128MiB", "64KiB", "1GB" or a bare count.

    Raises:
        ValueError: the text is not such a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a size such as "128MiB" or "64KiB"')
    return int(match[1]) * _BYTES[match[2] or "B"]


def format_duration(seconds: float) -> str:
    """Return the shortest exact form that `parse_duration` reads back."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count = seconds / _SECONDS[unit]
        if count >= 1 and abs(count - round(count)) < 1e-9:
            return f"{round(count)}{unit}"
    return "0" if seconds == 0 else f"{seconds:g}s"


def format_size(count_bytes: int) -> str:
    """Return the shortest exact form that `parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        if count_bytes and count_bytes % _BYTES[unit] == 0:
            return f"{count_bytes // _BYTES[unit]}{unit}"
    return f"{count_bytes}B"
