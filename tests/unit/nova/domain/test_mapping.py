"""Rules that make an event of a request, and another answer of a function's."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.mapping import (
    Missing,
    RequestFacts,
    ResponseRules,
    Rules,
    body_of_rules,
    check_request_rules,
    check_response_rules,
    event_of_rules,
    headers_of_rules,
    status_of_rules,
)

BODY = {"user": {"name": "Ada", "tags": ["a", "b"]}, "n": 3, "ok": True, "nothing": None}


def rules(given: dict[str, object]) -> dict[str, object]:
    return msgspec.json.decode(json.dumps(given), type=Rules)


def facts(body: object = BODY) -> RequestFacts:
    return RequestFacts(
        texts={
            "query": {"page": "2", "big": "1e400", "flag": "TRUE", "a.b": "dotted", "blank": "", "doc": '{"x": [1]}'},
            "path": {"id": "a/b"},
            "headers": {"x-trace": "t"},
            "cookies": {"c": "1"},
        },
        facts={"method": "POST", "host": "h", "url": "/u", "source_ip": "::1", "request_id": "r", "caller": ""},
        body=lambda: body,
    )


@pytest.mark.parametrize(
    ("given", "event"),
    [
        ({"a": "query.page"}, {"a": "2"}),
        ({"a": "query.absent", "b": "path.id"}, {"b": "a/b"}),
        ({"a": {"from": "query.page", "type": "integer"}}, {"a": 2}),
        ({"a": {"from": "query.page", "type": "number"}}, {"a": 2.0}),
        ({"a": {"from": "query.flag", "type": "boolean"}}, {"a": True}),
        ({"a": {"from": "query.doc", "type": "json"}}, {"a": {"x": [1]}}),
        ({"a": {"from": "query.absent", "default": 7}}, {"a": 7}),
        ({"a": {"from": "query.blank", "default": 7}}, {"a": ""}),
        ({"a": {"value": None}}, {"a": None}),
        ({"a": {"value": {"b": [1]}}, "c.d.e": "method"}, {"a": {"b": [1]}, "c": {"d": {"e": "POST"}}}),
        ({"a": "query.a.b"}, {"a": "dotted"}),
        ({"a": "headers.X-Trace", "b": "cookies.c"}, {"a": "t", "b": "1"}),
        ({"a": "body.user.tags.1", "b": "body.user.tags.2", "c": "body.n.x"}, {"a": "b"}),
        ({"a": "body.nothing"}, {"a": None}),
        ({"a": {"from": "body.n", "type": "string"}}, {"a": "3"}),
        ({"a": {"from": "body.user", "type": "string"}}, {"a": '{"name":"Ada","tags":["a","b"]}'}),
        ({"*": "body"}, BODY),
        (
            {"*": "body.user", "id": "path.id", "name": {"value": "Eve"}},
            {"name": "Eve", "tags": ["a", "b"], "id": "a/b"},
        ),
        ({"*": "body", "user.age": {"value": 1}}, BODY | {"user": BODY["user"] | {"age": 1}}),
        ({"*": {"from": "body.n"}}, 3),
        ({"a": "caller"}, {}),
        ({}, {}),
    ],
)
def test_an_event_is_what_the_rules_say(given, event):
    made = rules(given)
    check_request_rules(made, field="f")
    assert event_of_rules(made, facts()) == event


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({"a": {"from": "query.absent", "required": True}}, ["query.absent"]),
        (
            {"a": {"from": "path.id", "type": "integer"}, "b": {"from": "query.big", "type": "number"}},
            ["path.id", "query.big"],
        ),
        ({"a": {"from": "body.ok", "type": "integer"}}, ["body.ok"]),
        ({"a": {"from": "path.id", "type": "json"}}, ["path.id"]),
        ({"*": "body.n", "b": "path.id"}, ["body.n"]),
    ],
)
def test_every_place_that_is_missing_is_named(given, places):
    with pytest.raises(Missing) as caught:
        event_of_rules(rules(given), facts())
    assert [source for source, _ in caught.value.places] == places


def test_the_body_is_asked_for_by_rules_that_want_it_alone():
    def never() -> object:
        raise AssertionError

    asked = facts()
    asked.body = never
    assert event_of_rules(rules({"a": "query.page"}), asked) == {"a": "2"}


@pytest.mark.parametrize(
    "given",
    [
        {"a": ""},
        {"a": {}},
        {"a": {"from": "method", "value": 1}},
        {"a": "nowhere"},
        {"a": "query"},
        {"a": "query."},
        {"a": "method.x"},
        {"a": "body..x"},
        {"a": "body." + "x." * 8 + "x"},
        {"a b": "method"},
        {"a..b": "method"},
        {".".join("abcdefghi"): "method"},
        {"a": "method", "a.b": "host"},
        {"a": {"from": "query.x", "required": True, "default": 1}},
        {"a": {"value": 1, "required": True}},
        {"__proto__.x": "status"},
    ],
)
def test_rules_that_make_no_sense_are_refused_when_they_are_saved(given):
    with pytest.raises(InvalidRequest) as refused:
        check_request_rules(rules(given), field="policy.request")
    assert refused.value.field == "policy.request"


ANSWER = {"status": 200, "headers": {"x-a": "1"}, "request_id": "r", "body": {"rows": [1, 2], "total": 2, "ok": True}}


def answer_rules(**given: object) -> ResponseRules:
    return msgspec.convert(given, ResponseRules)


def test_an_answer_is_what_the_rules_say():
    made = answer_rules(
        status={"200": 201, "5xx": 503},
        body={"items": "body.rows", "meta.count": "body.total", "none": "body.absent"},
        headers={
            "X-Total": "body.total",
            "X-Ok": "body.ok",
            "X-Rows": "body.rows",
            "X-B": "headers.X-A",
            "X-C": "body.no",
        },
    )
    check_response_rules(made, field="f")
    assert body_of_rules(made, **ANSWER) == {"items": [1, 2], "meta": {"count": 2}}
    assert headers_of_rules(made, **ANSWER) == {"x-total": "2", "x-ok": "true", "x-b": "1"}
    assert [status_of_rules(made, status) for status in (200, 204, 500, 599)] == [201, 204, 503, 503]
    assert headers_of_rules(made, **ANSWER | {"body": UNSET}) == {"x-b": "1"}


@pytest.mark.parametrize(
    "given",
    [
        {"body": {"a": "query.x"}},
        {"headers": {"a b": "status"}},
        {"remove_headers": ["a:b"]},
        {"body": {"a": "status", "a.b": "status"}},
    ],
)
def test_rules_of_answers_that_make_no_sense_are_refused(given):
    with pytest.raises(InvalidRequest):
        check_response_rules(answer_rules(**given), field="policy.response")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc0"), inner, max_size=3),
    max_leaves=8,
)
TARGETS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
SOURCES = st.lists(st.sampled_from(["a", "b", "0", "9"]), max_size=3).map(lambda names: ".".join(["body", *names]))


@given(VALUES, st.dictionaries(TARGETS | st.just("*"), SOURCES, max_size=5))
def test_whatever_the_body_rules_that_were_saved_make_json_of_it_and_leave_it_as_it_is(body, given):
    try:
        check_request_rules(given, field="f")
    except InvalidRequest:
        return
    before = json.dumps(body)
    try:
        made = event_of_rules(given, facts(body))
    except Missing as error:
        assert error.places  # noqa: PT017
    else:
        json.dumps(made)
    assert json.dumps(body) == before
