from __future__ import annotations

import re

import pytest

from constellation.nova.store.queries import parse, read

FILE = """
-- name: one
-- Says one.
-- index: numbers_pkey or numbers_by_name
SELECT 1;

-- name: two_lines
-- Says two,
-- in two lines.
SELECT 2
     , 3;
"""


def test_a_file_is_read_query_by_query() -> None:
    queries = parse(FILE)
    assert {name: query.sql for name, query in queries.items()} == {
        "one": "SELECT 1",
        "two_lines": "SELECT 2\n     , 3",
    }
    assert queries["one"].indexes == (frozenset({"numbers_pkey", "numbers_by_name"}),)
    assert queries["two_lines"].indexes == ()


@pytest.mark.parametrize(
    "text",
    [
        "-- name: one\n-- A comment.\nSELECT 1;\n-- name: one\n-- Again.\nSELECT 1;",
        "-- name: silent\nSELECT 1;",
        "-- name: empty\n-- Only a comment.",
    ],
)
def test_a_query_that_repeats_a_name_or_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="query"):
        parse(text)


def test_versions_are_read_with_every_column_of_a_function():
    columns = columns_of(parse(read("functions.sql"))["get"].sql)
    columns = {each for each in columns if not each.startswith("ingress_")}  # who may call it is no matter of versions
    assert len(columns) > 40
    for name in ("get", "some", "list"):
        selected = columns_of(parse(read("versions.sql"))[name].sql)
        assert {each.removeprefix("was.") for each in selected if each.startswith("was.")} == columns, name


def columns_of(sql: str) -> set[str]:
    return set(re.split(r",\s+", re.sub(r"^SELECT\s+|\nFROM.*", "", sql, flags=re.DOTALL)))
