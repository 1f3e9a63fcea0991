"""Schemas and values of strangers: bounds, references, patterns, and places that do not fit."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.base.errors import InvalidRequest
from constellation.base.json_schema import MAX_BYTES, MAX_DEPTH, MAX_FAULTS, Checker, SchemaTooSlow

pytestmark = pytest.mark.anyio


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def nested(depth: int) -> dict[str, object]:
    return {"items": nested(depth - 1)} if depth else {}


@pytest.fixture
def checker() -> Checker:
    return Checker()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"$ref": "http://127.0.0.1:9/x.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "other.json"}}},
        {"$dynamicRef": "http://127.0.0.1:9/x"},
        {"$ref": "#/$defs/absent"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"pattern": "(?=a)b"},
        {"pattern": "(a)\\1"},
        {"pattern": "((a{1000}){1000}){1000}"},
        {"minimum": "3"},
        {"description": "x" * MAX_BYTES},
        nested(MAX_DEPTH + 1),
        {"enum": list(range(5001))},
    ],
)
async def test_a_schema_that_is_wrong_too_much_or_leads_elsewhere_is_refused(checker, schema):
    with pytest.raises(InvalidRequest) as refused:
        await checker.compile(text(schema), field="policy.schema.body", owner="t")
    assert refused.value.field == "policy.schema.body"


async def test_every_place_that_does_not_fit_is_named(checker):
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/order",
        "$defs": {"sku": {"type": "string", "pattern": "^[A-Z]{3}$"}},
        "type": "object",
        "properties": {
            "a/b": {"items": {"$ref": "#/$defs/sku"}},
            "n": {"exclusiveMinimum": 0},
            "mail": {"format": "email"},
        },
        "required": ["n"],
        "unevaluatedProperties": False,
    }
    await checker.compile(text(schema), field="f", owner="t")
    good = {"a/b": ["ABC"], "n": 1, "mail": "a@b.example"}
    assert await checker.faults({"body": (text(schema), text(good))}, owner="t") == []
    bad = {"a/b": ["ABC", "x"], "more": 1, "mail": "no"}
    found = await checker.faults({"body": (text(schema), text(bad)), "query": (b"false", b"{}")}, owner="t")
    assert {(fault.part, fault.pointer) for fault in found} == {
        ("body", "/a~1b/1"), ("body", "/mail"), ("body", ""), ("query", ""),
    }  # fmt: skip
    (broken,) = await checker.faults({"body": (text(schema), b"{")}, owner="t")
    assert (broken.part, broken.pointer) == ("body", "")
    many = await checker.faults({"body": (text({"items": {"type": "string"}}), text(list(range(99))))}, owner="t")
    assert len(many) == MAX_FAULTS
    assert all(len(fault.message) <= 300 for fault in many)


async def test_patterns_take_linear_time(checker):
    schema = text({"pattern": "^(a+)+$"})
    found = await checker.faults({"body": (schema, text("a" * 50_000 + "b"))}, owner="t")
    assert [fault.pointer for fault in found] == [""]


async def test_a_check_that_takes_too_long_is_ended_and_others_go_on(checker):
    # Each level asks for each of two alternatives, which both come down to the same below: 2 ** 60 ways to the end.
    way = {"properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": False}
    slow = text({"anyOf": [{"allOf": [way, way]}, {"allOf": [way, way]}], "unevaluatedProperties": False})
    value: dict[str, object] = {"b": 1}
    for _ in range(60):
        value = {"a": value}

    async def hostile() -> None:
        with pytest.raises(SchemaTooSlow):
            await checker.faults({"body": (slow, text(value))}, owner="mallory")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hostile)
        assert await checker.faults({"body": (b"true", b"1")}, owner="ann") == []
    assert await checker.faults({"body": (b"true", b"1")}, owner="mallory") == []
