from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.base.errors import InvalidRequest
from constellation.routes.models.functions import FunctionCreate
from constellation.routes.models.topics import Publish, PublishBatch
from constellation.routes.reading import Window, decode_body, params_of, query_of, window_of
from constellation.routes.registry import ROUTES


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ({}, Window(limit=100, offset=0)),
        ({"limit": "1"}, Window(limit=1, offset=0)),
        ({"limit": "500", "offset": "1000000000"}, Window(limit=500, offset=1_000_000_000)),
        ({"limit": "007"}, Window(limit=7, offset=0)),
    ],
)
def test_a_window_is_read(query, window):
    assert window_of(query) == window


@pytest.mark.parametrize("text", ["0", "501", "-1", "+1", "1.0", "", " 1", "\u0661", "1" * 5000])
def test_a_limit_out_of_range_is_refused(text):
    with pytest.raises(InvalidRequest) as refused:
        window_of({"limit": text})
    assert refused.value.field == "limit"


def test_names_in_paths_are_percent_decoded_once():
    assert params_of({"name": "a%2Fb%2525"}) == {"name": "a/b%25"}
    for bad in ("%ff", "%00"):
        with pytest.raises(InvalidRequest):
            params_of({"name": bad})


LIST_FUNCTIONS = next(route for route in ROUTES if route.operation == "list_functions")


def test_a_query_says_each_known_thing_once():
    assert query_of(LIST_FUNCTIONS, b"limit=1&search=") == {"limit": "1", "search": ""}
    for raw, field in (
        (b"limit=1&limit=1", "limit"),
        (b"search=x%00", "search"),
        (b"lmit=1", "lmit"),
        (b"a=%ff", None),
    ):
        with pytest.raises(InvalidRequest) as refused:
            query_of(LIST_FUNCTIONS, raw)
        assert refused.value.field == field


@given(data=st.binary(max_size=200))
def test_no_body_breaks_the_decoder(data):
    try:
        body = decode_body(data, FunctionCreate)
    except InvalidRequest:
        return
    assert isinstance(body, FunctionCreate)  # bytes that happen to be one


@given(depth=st.integers(min_value=1, max_value=100_000))
def test_depth_is_an_answer_not_a_crash(depth):
    with pytest.raises(InvalidRequest):
        decode_body(b'{"env": ' + b"[" * depth, FunctionCreate)


def test_the_field_is_a_path():
    body = b'{"name": "f", "runtime": "python", "capacity": {"max_inflight": "1"}}'
    with pytest.raises(InvalidRequest) as refused:
        decode_body(body, FunctionCreate)
    assert refused.value.field == "capacity.max_inflight"
    assert "Expected `int`, got `str`" in str(refused.value)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (rb'{"messages": [{"payload": 1, "attributes": {"\u0000a": "x"}}]}', "messages[0].attributes"),
        (rb'{"messages": [{"payload": 1}, {"payload": 1, "key": "\u0000"}]}', "messages[1].key"),
    ],
)
def test_a_text_with_a_nul_is_refused_wherever_it_stands(data, field):
    with pytest.raises(InvalidRequest) as refused:
        decode_body(data, PublishBatch)
    assert refused.value.field == field


def test_json_that_is_kept_as_it_came_may_have_a_nul():
    body = decode_body(rb'{"payload": {"\u0000": "\u0000"}}', Publish)
    assert bytes(body.payload) == rb'{"\u0000": "\u0000"}'
