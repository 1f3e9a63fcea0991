from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from constellation.base.errors import InvalidRequest, PayloadTooLarge
from constellation.nova.domain.message import (
    MAX_PAYLOAD_BYTES,
    Message,
    MessageLoop,
    NewMessage,
    Publisher,
    check_depth,
    check_message,
    envelope,
)
from constellation.nova.domain.topic import Condition, Filter, Subscription, check_filter, check_name

ID = UUID("0190a0a0-0000-7000-8000-000000000000")


def taken(filter: Filter, attributes: dict[str, str]) -> bool:
    facts = {"tenant": "t", "namespace": "n", "id": ID, "name": "s", "topic_name": "c", "function_name": "f"}
    return Subscription(**facts, filter=filter).takes(attributes)


@pytest.mark.parametrize(
    ("filter", "attributes", "expected"),
    [
        ((), {}, True),
        ((Condition(attribute="a", equals=("x",)),), {"a": "x", "b": "y"}, True),
        ((Condition(attribute="a", equals=("x",)),), {"a": "xy"}, False),
        ((Condition(attribute="a", equals=("x",)),), {}, False),
        ((Condition(attribute="a", prefixes=("x",)),), {"a": "xy"}, True),
        ((Condition(attribute="a", equals=("z",), prefixes=("x",)),), {"a": "z"}, True),
        ((Condition(attribute="a", prefixes=("x",)),), {"a": "yx"}, False),
        ((Condition(attribute="a", equals=("x",)), Condition(attribute="b", equals=("y",))), {"a": "x"}, False),
        (
            (Condition(attribute="a", equals=("x",)), Condition(attribute="b", equals=("y",))),
            {"a": "x", "b": "y"},
            True,
        ),
        ((Condition(attribute="a", equals=("",)),), {"a": ""}, True),
    ],
)
def test_every_condition_of_a_filter_must_hold(filter: Filter, attributes: dict[str, str], expected: bool):
    assert taken(filter, attributes) is expected


@pytest.mark.parametrize("name", ["a", "orders.v1", "A-b_c", "9", "x" * 128])
def test_names_that_may_be(name: str):
    assert check_name("topic", name) == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "x" * 129, "ä"])
def test_names_that_may_not(name: str):
    with pytest.raises(InvalidRequest):
        check_name("topic", name)


@pytest.mark.parametrize(
    "filter",
    [
        tuple(Condition(attribute=str(n), equals=("x",)) for n in range(17)),
        (Condition(attribute="a"),),
        (Condition(attribute="a", equals=tuple(map(str, range(65)))),),
    ],
)
def test_filters_are_bounded(filter: Filter):
    with pytest.raises(InvalidRequest):
        check_filter(filter)


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"key": "x" * 257}, "key"),
        ({"key": "\x00"}, "key"),
        ({"attributes": {"a b": "x"}}, "attributes"),
        ({"attributes": {"a": "\x00"}}, "attributes.a"),
        ({"attributes": {"a": "x" * 1025}}, "attributes.a"),
        ({"attributes": {f"a{n}": "x" for n in range(33)}}, "attributes"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "\n"}, "idempotency_key"),
    ],
)
def test_messages_that_may_not_be(facts: dict[str, object], field: str):
    with pytest.raises(InvalidRequest) as told:
        check_message(NewMessage(payload=b"1", **facts))
    assert told.value.field == field


def test_a_payload_has_a_bound():
    check_message(NewMessage(payload=b"1" * MAX_PAYLOAD_BYTES))
    with pytest.raises(PayloadTooLarge):
        check_message(NewMessage(payload=b"1" * (MAX_PAYLOAD_BYTES + 1)))


def test_what_messages_led_to_ends_at_the_depth_of_calls():
    check_depth("c", Publisher(subject="function:f", call_depth=31))
    with pytest.raises(MessageLoop):
        check_depth("c", Publisher(subject="function:f", call_depth=32))


def test_the_event_is_a_cloud_event_and_its_data_is_not_touched():
    message = Message(
        id=ID,
        key="",
        payload=b'{"n": 1.50, "n": 2}',
        attributes={"a": "x"},
        publisher="apikey:ci",
        call_depth=0,
        call_chain=(),
        published_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    event = envelope("orders", message)
    assert message.payload in event
    assert json.loads(event) | {"data": None} == {
        "specversion": "1.0",
        "id": str(ID),
        "type": "constellation.message",
        "source": "/topics/orders",
        "subject": None,
        "time": "2026-01-02T00:00:00Z",
        "datacontenttype": "application/json",
        "topic": "orders",
        "attributes": {"a": "x"},
        "publisher": "apikey:ci",
        "data": None,
    }
