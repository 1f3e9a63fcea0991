"""What the log shows of statements: never a literal, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.comet.databases.statement import SHOWN_CHARS, shown

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT  *\n FROM t WHERE a = 'x' AND b=12.5e-3", "SELECT * FROM t WHERE a = ? AND b=?"),
        ("select $1, \"a b\".c -- 'comment'\n, t2", 'select $1, "a b".c , t2'),
        ("INSERT INTO t VALUES (E'it\\'s', 'it''s', $$a$b$$, $q$x$$y$q$, B'01', U&'d')", "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)"),
        ("SELECT /* one /* two */ ' */ 'hunter2'", "SELECT"),
        ("SELECT 'never ends hunter2", "SELECT ?"),
        ("SELECT $tag$never ends hunter2", "SELECT ?"),
        ("a1 + 1a", "a1 + ?"),
        ("", ""),
    ],
)  # fmt: skip
def test_literals_are_left_out(text, said):
    assert shown(text) == said


@pytest.mark.parametrize("quoted", ["'{}'", "E'{}'", "$${}$$", "$a${}$a$", "/* {} */", "'a''{}'", "E'\\'{}'", "N'{}'"])
@settings(deadline=None)  # a busy machine is no fault
@given(before=st.text(alphabet="SELECT ,()=\n", max_size=20), after=st.text(max_size=20))
def test_what_is_quoted_never_shows(quoted, before, after):
    assert SECRET not in shown(f"{before} {quoted.format(SECRET)} {after}")


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=4000))
def test_any_text_is_one_short_line(text):
    said = shown(text)
    assert len(said) <= SHOWN_CHARS
    assert said.isprintable()
