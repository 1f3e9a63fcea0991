from __future__ import annotations

import pytest

from constellation.nova.store.queries import parse

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
        "-- name: listed\n-- Has no such list.\nSELECT {nothing};",
    ],
)
def test_a_query_that_repeats_a_name_or_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="query"):
        parse(text)


def test_a_list_of_columns_stands_for_its_columns() -> None:
    one = parse("-- name: one\n-- Both ways.\nSELECT {ingress}, {was.ingress} FROM x AS was;")["one"].sql
    callers = "ingress_callers, ingress_functions, ingress_allow, ingress_deny"
    assert one == f"SELECT {callers}, {callers.replace('ingress', 'was.ingress')} FROM x AS was"
