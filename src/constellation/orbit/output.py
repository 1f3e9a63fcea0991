"""What orbit prints: tables for people, JSON and YAML for programs, notes on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")


# Without slots: `Column[X](...)` stores X on the instance, and a frozen class with slots fails at that before 3.12.
@dataclass(frozen=True)
class Column(Generic[T]):
    """A heading, and how a row's value becomes text."""

    title: str
    text: Callable[[T], object]


class Output:
    """One command's output. Results go to standard output, all else to standard error; a pipe gets no decoration."""

    def __init__(self, form: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.form = form
        self.now = now
        self._out = Console(highlight=False, soft_wrap=True, emoji=False)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    @property
    def is_table(self) -> bool:
        return self.form == "table"

    @property
    def is_terminal(self) -> bool:
        return self._out.is_terminal

    def rows(self, items: Sequence[T], columns: Sequence[Column[T]], *, empty: str) -> None:
        """Print a list: a table, or an array of whole items."""
        if not self.is_table:
            self.data(items)
        elif not items:
            self.note(empty)
        elif self._out.is_terminal:
            self._out.print(_rich_table(items, columns), soft_wrap=False)
        else:
            self.line(_plain_table(items, columns))

    def item(self, item: object, *, hide: Sequence[str] = ()) -> None:
        """Print one thing: its fields by line, or whole."""
        facts = builtins(item)
        if not self.is_table or not isinstance(facts, dict):
            self.data(item)
            return
        shown = {name: _cell(value) for name, value in facts.items() if name not in hide}
        width = max(map(len, shown), default=0)
        for name, text in shown.items():
            self._out.print(Text.assemble((name.ljust(width), "bold"), "  ", text))

    def data(self, value: object) -> None:
        """Print a value as JSON or YAML; JSON where the form is a table."""
        if self.form == "yaml":
            self.line(yaml.safe_dump(builtins(value), sort_keys=False, allow_unicode=True).rstrip())
        else:
            self.line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

    def record(self, value: object) -> None:
        """Print one of many that come one after the other: a line of JSON, or a YAML document."""
        if self.form == "yaml":
            self.line("---\n" + yaml.safe_dump(builtins(value), sort_keys=False, allow_unicode=True).rstrip())
        else:
            self.line(msgspec.json.encode(value).decode())

    def line(self, text: str, style: str = "") -> None:
        self._out.print(Text(text, style=style))

    def raw(self, data: bytes) -> None:
        """Write bytes as they are, at once."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def printed(self, text: str) -> None:
        """Pass on what something else prints, as it is and as the result."""
        self._out.out(text, end="", highlight=False)

    def done(self, text: str) -> None:
        """Say what was done: the result of a command in table form, a note in the others."""
        if self.is_table:
            self.line(text)

    def made(self, value: object, told: str) -> None:
        """Print what a command made: in a sentence where the form is a table, as data in the others."""
        if self.is_table:
            self.line(told)
        else:
            self.data(value)

    def note(self, text: str, style: str = "dim") -> None:
        self._err.print(Text(text, style=style))

    def told(self, text: str) -> None:
        """Pass on what something else prints, as it is and beside the result."""
        self._err.out(text, end="", highlight=False)

    def aside(self, text: str) -> None:
        """A note for people only: silent unless standard error is a terminal."""
        if self._err.is_terminal:
            self.note(text)

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}", style="yellow")

    def error(self, message: str, hint: str = "") -> None:
        self._err.print(Text.assemble(("error: ", "bold red"), message))
        if hint:
            self._err.print(Text(hint))

    def progress(self, text: str) -> AbstractContextManager[object]:
        """Show that something is going on; nothing at all when nobody looks."""
        return self._err.status(text) if self._err.is_terminal else nullcontext()

    def age(self, instant: datetime | None) -> str:
        """Return how long ago, or how soon, in one unit."""
        if instant is None:
            return "-"
        seconds = (self.now() - instant).total_seconds()
        return f"{brief(seconds)} ago" if seconds >= 0 else f"in {brief(-seconds)}"


def brief(seconds: float) -> str:
    """Return a duration in its largest unit: "42s", "3m", "5h", "12d"."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def size(count_bytes: int) -> str:
    if count_bytes < 1024:
        return f"{count_bytes} B"
    return f"{count_bytes / 1024:.1f} KiB" if count_bytes < 1 << 20 else f"{count_bytes / (1 << 20):.1f} MiB"


def counted(count: int, noun: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def builtins(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name}={_cell(item)}" for name, item in value.items()) or "-"
        case list() | tuple():
            return ", ".join(_cell(item) for item in value) or "-"
        case float():
            return f"{value:g}"
    return str(value)


def _lines(items: Iterable[T], columns: Sequence[Column[T]]) -> list[list[str]]:
    return [[_cell(column.text(item)) for column in columns] for item in items]


def _rich_table(items: Sequence[T], columns: Sequence[Column[T]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for cells in _lines(items, columns):
        table.add_row(*map(Text, cells))
    return table


def _plain_table(items: Sequence[T], columns: Sequence[Column[T]]) -> str:
    rows = [[column.title for column in columns], *_lines(items, columns)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
