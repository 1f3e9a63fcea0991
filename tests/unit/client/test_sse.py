"""Server-sent events, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.client.sse import MAX_EVENT_CHARS, Event, EventReader, MalformedEvent

TEXT = (
    b": ping\n\nevent: log\nid: 7\ndata: one\ndata:two\n\n\r\ndata: \xc3\xa9\r\n\r\nretry: 10\n\n"
    b"data\n\ndata: a: b\r\rdata: unfinished"
)
EVENTS = [
    Event(name="log", data="one\ntwo", id="7"),
    Event(name="message", data="\u00e9", id="7"),
    Event(name="message", data="", id="7"),
    Event(name="message", data="a: b", id="7"),
]


def test_events_have_name_data_and_id():
    assert EventReader().feed(TEXT) == EVENTS


@given(st.lists(st.integers(min_value=0, max_value=len(TEXT)), max_size=12))
def test_cuts_make_no_difference(cuts):
    reader = EventReader()
    edges = [0, *sorted(cuts), len(TEXT)]
    found = [event for start, end in pairwise(edges) for event in reader.feed(TEXT[start:end])]
    assert found == EVENTS


def test_event_without_an_end_is_bounded():
    reader = EventReader()
    reader.feed(b"data: " + b"x" * (MAX_EVENT_CHARS - 100))
    with pytest.raises(MalformedEvent):
        reader.feed(b"x" * 200)
