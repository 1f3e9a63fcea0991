"""Named queries: SQL lives in `sql/<noun>.sql` and is called by name; Python never builds any.

A file is a row of queries, each begun by `-- name: words_of_it`; the comment lines that follow say what it
does and, as `-- index: name` or `-- index: name or other`, which index it counts on (a test asks the planner).
Lists of columns that many queries name are said once, in `sql/columns.sql`: `{list}`, or `{alias.list}`, stands for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)$", re.MULTILINE)
_INDEX = re.compile(r"^-- index: (?P<names>[a-z0-9_]+(?: or [a-z0-9_]+)*)$", re.MULTILINE)
_COLUMNS = re.compile(r"^-- columns: (?P<name>[a-z_]+)\n(?P<list>[a-z0-9_,\s]+)", re.MULTILINE)
_LISTED = re.compile(r"\{(?:(?P<of>[a-z_]+)\.)?(?P<name>[a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement of a file."""

    name: str
    sql: str
    about: str  # its comment
    indexes: tuple[frozenset[str], ...]  # of each set one is used


def parse(text: str) -> dict[str, Query]:
    """Return the queries of one file by name.

    Raises:
        ValueError: a name is used twice, a query says nothing about itself, or names a list of columns that is not there.
    """
    queries: dict[str, Query] = {}
    marks = list(_NAME.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark["name"]
        body = text[mark.end() : following.start() if following else len(text)].strip()
        comments = [line for line in body.splitlines() if line.startswith("--")]
        statement = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
        if name in queries:
            raise ValueError(f"query {name} is there twice")
        if not comments or not statement:
            raise ValueError(f"query {name} needs a comment and a statement")
        about = "\n".join(comments)
        queries[name] = Query(
            name=name,
            sql=_LISTED.sub(_columns_of, statement.removesuffix(";")),
            about=about,
            indexes=tuple(frozenset(match["names"].split(" or ")) for match in _INDEX.finditer(about)),
        )
    return queries


def _columns_of(mark: re.Match[str]) -> str:
    listed = _columns().get(mark["name"])
    if listed is None:
        raise ValueError(f"there is no list of columns {mark['name']} for a query")
    return ", ".join(f"{mark['of']}.{column}" if mark["of"] else column for column in listed)


@cache
def _columns() -> Mapping[str, tuple[str, ...]]:
    return {
        mark["name"]: tuple(column.strip() for column in mark["list"].split(","))
        for mark in _COLUMNS.finditer(read("columns.sql"))
    }


def read(file: str) -> str:
    """Return the text of a file under `sql/`."""
    return resources.files(__package__).joinpath("sql", *file.split("/")).read_text(encoding="utf-8")


def load(noun: str) -> Mapping[str, str]:
    """Return the statements of `sql/<noun>.sql` by name."""
    return {name: query.sql for name, query in parse(read(f"{noun}.sql")).items()}
