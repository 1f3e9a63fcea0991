"""Server-sent events."""

from __future__ import annotations

from constellation.comet.dataplane.events import TextPieces, event


def test_line_ends_become_lines_of_data():
    assert event("a\nb\r\nc\rd") == b"data: a\ndata: b\ndata: c\ndata: d\n\n"
    assert event("", kind="done", id="7") == b"id: 7\nevent: done\ndata: \n\n"


def test_a_character_cut_in_two_comes_with_the_next_piece():
    pieces = TextPieces()
    whole = "a\N{SNOWMAN}b".encode()
    assert pieces.feed(whole[:2]) + pieces.feed(whole[2:]) + pieces.feed(b"", is_last=True) == "a\N{SNOWMAN}b"
    assert TextPieces().feed(b"\xe2", is_last=True) == "\N{REPLACEMENT CHARACTER}"
