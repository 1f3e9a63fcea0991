"""What `runtimes.py` has measured of each language, as a table, and which of the targets it misses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MIB = 1 << 20
WARM_OVER_US = 150  # of the language's own, at most: what its calls take more than those of a worker that does nothing
AGAIN_MS = 300  # from sending code that was built before to its being callable
# Milliseconds of a cold start, by the name of a row
COLD_MS = {
    "python": 4, "node": 15, "ruby": 15, "php": 15, "lua": 15, "perl": 15, "c": 8, "go": 8, "rust": 8, "java": 60,
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Row:
    """Of one language; None: it was not measured, and `why` tells if it should have been."""

    name: str
    warm_us: int | None = None
    over_c_us: int | None = None
    over_python_us: int | None = None
    cpu_us: float | None = None  # of the instance, a call
    cold_ms: float | None = None
    cold_max_ms: float | None = None
    first_ms: float | None = None
    again_ms: float | None = None
    idle_bytes: int | None = None
    why: str = ""


def over(ours_us: Sequence[int], theirs_us: Sequence[int]) -> int:
    """Return by how much our calls took longer, of the medians of turns that were side by side.

    The median of the differences: what disturbs one turn of a busy machine disturbs one of them.
    """
    return round(statistics.median(our - their for our, their in zip(ours_us, theirs_us, strict=True)))


def _shown(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("runtime", lambda row: f"`{row.name}`"),
    ("warm p50, µs", lambda row: _shown(row.warm_us)),
    ("over C, µs", lambda row: _shown(row.over_c_us)),
    ("over Python, µs", lambda row: _shown(row.over_python_us)),
    ("CPU a call, µs", lambda row: _shown(row.cpu_us)),
    ("cold p50, ms", lambda row: _shown(row.cold_ms, 1)),
    ("cold max, ms", lambda row: _shown(row.cold_max_ms, 1)),
    ("deploy, first: ms", lambda row: _shown(row.first_ms)),
    ("deploy, again: ms", lambda row: _shown(row.again_ms)),
    ("idle, MiB", lambda row: _shown(None if row.idle_bytes is None else row.idle_bytes / MIB, 1)),
)


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows in Markdown; a column in which no row has a figure is left out."""
    columns = [(title, shown) for title, shown in _COLUMNS if not rows or any(shown(row) for row in rows)]
    lines = [" | ".join(title for title, _ in columns), "|".join("---" for _ in columns)]
    lines += [" | ".join(shown(row) for _, shown in columns) for row in rows]
    return [f"|{line}|" if set(line) <= set("-|") else f"| {line} |" for line in lines]


def missed(rows: Sequence[Row]) -> list[str]:
    """Return every target that a row does not reach, in words."""
    found = []
    for row in rows:
        for what, value, most in (
            ("cold p50, ms", row.cold_ms, COLD_MS.get(row.name)),
            ("warm over C, µs", row.over_c_us, WARM_OVER_US),
            ("deploy again, ms", row.again_ms, AGAIN_MS),
        ):
            if value is not None and most is not None and value > most:
                found.append(f"{row.name}: {what}: {_shown(value, 1)}, and {most} is wanted")
    return found
