"""What routes of custom domains make of requests and answers: schemas, rules, and calls that are made again."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest

from constellation.base.errors import Overloaded

from .conftest import problem
from .test_domains import SHOP, serve
from .test_web_socket import opened

pytestmark = pytest.mark.anyio

ORDER = {
    "type": "object",
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["sku"],
}
QUERY = {
    "properties": {
        "page": {"type": "integer", "maximum": 9},
        "ids": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        "dry": {"type": "boolean"},
    },
    "additionalProperties": False,
}


@pytest.fixture
async def shop(rig):
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=30, headers={"Host": SHOP}) as client:
        yield client


async def test_a_request_that_does_not_fit_is_refused_with_its_places(rig, shop):
    schemas = {
        "body": ORDER,
        "query": QUERY,
        "headers": {"required": ["x-trace"]},
        "path": {"properties": {"id": {"type": "integer"}}},
    }
    await serve(rig, {"path": "/orders/{id}", "policy": {"schema": schemas}})
    fits = await shop.post(
        "/orders/7?page=3&ids=1&ids=2&dry=true", json={"sku": "A", "count": 2}, headers={"X-Trace": "t"}
    )
    assert fits.status_code == 200, fits.text
    assert json.loads(fits.json()["body"]) == {"sku": "A", "count": 2}
    calls = len(rig.comet.calls)
    refused = await shop.post("/orders/x?page=10&ids=1&ids=2&ids=3&dry=1&more=1", json={"count": 0})
    told = problem(refused, 400, "validation_failed")
    assert {(each["in"], each["pointer"]) for each in told["errors"]} == {  # type: ignore[attr-defined]
        ("body", ""), ("body", "/count"), ("query", "/page"), ("query", "/ids"), ("query", ""), ("headers", ""),
        ("path", "/id"),
    }  # fmt: skip
    headers = {"X-Trace": "t"}
    for body, places in ((b"", {("body", "")}), (b"{", {("body", "")}), (b"[]", {("body", "")})):
        answer = problem(await shop.post("/orders/7", content=body, headers=headers), 400, "validation_failed")
        assert {(each["in"], each["pointer"]) for each in answer["errors"]} == places  # type: ignore[attr-defined]
    text = await shop.post("/orders/7", content=b"{}", headers=headers | {"Content-Type": "text/plain"})
    problem(text, 415, "unsupported_media_type")
    assert len(rig.comet.calls) == calls


async def test_rules_make_the_event_and_the_answer(rig, shop):
    policy = {
        "request": {
            "user.id": "path.id",
            "page": {"from": "query.page", "type": "integer", "default": 1},
            "lang": {"from": "headers.Accept-Language", "default": "en"},
            "theme": "cookies.theme",
            "order": "body",
            "sku": {"from": "body.items.0.sku", "required": True},
            "via": {"value": "web"},
        },
        "response": {
            "status": {"200": 201},
            "headers": {"X-Sku": "body.sku", "Cache-Control": {"value": "no-store"}, "Content-Length": {"value": "9"}},
            "remove_headers": ["X-Secret"],
            "body": {"who": "body.user", "page": "body.page"},
        },
    }
    seen: list[bytes] = []

    async def shown(payload: bytes) -> bytes:
        seen.append(payload)
        return json.dumps(
            {"statusCode": 200, "headers": {"X-Secret": "s", "X-Kept": "k"}, "body": json.loads(payload)}
        ).encode()

    rig.comet.functions["shown"] = shown
    await serve(rig, {"path": "/users/{id}", "function": "shown", "policy": policy})
    order = {"items": [{"sku": "A"}]}
    answer = await shop.post("/users/7?page=2", json=order, headers={"Cookie": "theme=dark", "Accept-Language": "de"})
    assert json.loads(seen[0]) == {
        "user": {"id": "7"}, "page": 2, "lang": "de", "theme": "dark", "order": order, "sku": "A", "via": "web",
    }  # fmt: skip
    assert (answer.status_code, answer.json()) == (201, {"who": {"id": "7"}, "page": 2})
    assert (answer.headers["x-sku"], answer.headers["cache-control"], answer.headers["x-kept"]) == (
        "A",
        "no-store",
        "k",
    )
    assert "x-secret" not in answer.headers
    assert answer.headers["content-type"] == "application/json"
    lacks = problem(await shop.post("/users/7", json={}), 400, "mapping_failed")
    assert lacks["errors"] == [{"in": "body.items.0.sku", "pointer": "", "message": "is not there"}]
    problem(await shop.post("/users/7", content=b"{"), 400, "mapping_failed")
    assert len(seen) == 1


async def test_an_answer_that_rules_can_not_map_is_the_functions_fault_and_errors_stay(rig, shop):
    async def text(payload: bytes) -> bytes:
        status = json.loads(payload)["query_params"]["s"]
        return json.dumps({"statusCode": int(status), "body": "plain"}).encode()

    rig.comet.functions["text"] = text
    response = {"body": {"a": {"from": "body.a", "required": True}}, "status": {"4xx": 422}}
    await serve(rig, {"path": "/", "function": "text", "policy": {"response": response}})
    problem(await shop.get("/?s=200"), 502, "response_mapping_failed")
    kept = await shop.get("/?s=404")
    assert (kept.status_code, kept.text) == (422, "plain")


async def test_a_web_socket_does_not_pass_by_a_schema(rig):
    await serve(rig, {"path": "/", "policy": {"schema": {"body": ORDER}}})
    async with opened(rig, "/", host=SHOP) as socket:
        assert (await socket.rejection())[0] == 426
    assert rig.comet.calls == []


async def test_the_first_event_is_there_before_the_last_and_who_hangs_up_stops_the_function(rig, shop):
    goes_on, stopped = anyio.Event(), anyio.Event()

    async def clock(_payload: bytes):
        try:
            yield b"one"
            await goes_on.wait()
            yield b"two"
            await anyio.sleep_forever()
        finally:
            stopped.set()

    rig.comet.streams["clock"] = clock
    await serve(rig, {"path": "/", "function": "clock", "policy": {"stream": True, "schema": {"query": QUERY}}})
    with anyio.fail_after(30):
        async with shop.stream("GET", "/?page=1", headers={"Accept": "text/event-stream"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == "data: one"
            assert not goes_on.is_set()  # nothing of what follows was made yet
            goes_on.set()
            while (line := await anext(lines)) != "data: two":
                assert line == ""
            assert not stopped.is_set()
        await stopped.wait()
    problem(await shop.get("/?page=x"), 400, "validation_failed")


RETRY = {"attempts": 3, "backoff_s": 0.001, "max_backoff_s": 1, "statuses": [502, 503]}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_calls_that_never_began_are_made_again(rig, shop, method):
    left = [2]

    async def busy(payload: bytes) -> bytes:
        if left[0]:
            left[0] -= 1
            raise Overloaded("here", limit=1)
        return payload

    rig.comet.functions["busy"] = busy
    await serve(rig, {"path": "/", "function": "busy", "policy": {"retry": RETRY}})
    answer = await shop.request(method, "/")
    assert (answer.status_code, answer.headers["x-nova-attempts"]) == (200, "3")
    left[0] = 9
    failed = await shop.request(method, "/")
    problem(failed, 503, "overloaded")
    assert failed.headers["x-nova-attempts"] == "3"
    assert left[0] == 6


async def test_answers_are_asked_for_again_for_idempotent_methods_alone(rig, shop):
    asked: list[int] = []

    async def flaky(_payload: bytes) -> bytes:
        asked.append(1)
        return json.dumps({"statusCode": 503 if len(asked) == 1 else 200, "body": "x"}).encode()

    rig.comet.functions["flaky"] = flaky
    await serve(rig, {"path": "/", "function": "flaky", "policy": {"retry": RETRY}})
    assert (await shop.get("/")).status_code == 200
    assert len(asked) == 2
    asked.clear()
    assert (await shop.post("/")).status_code == 503
    assert len(asked) == 1


async def test_all_tries_share_the_time_of_the_call(rig, shop):
    async def busy(_payload: bytes) -> bytes:
        raise Overloaded("here", limit=1)

    rig.comet.functions["busy"] = busy
    retry = RETRY | {"backoff_s": 10, "max_backoff_s": 30}
    await serve(rig, {"path": "/", "function": "busy", "policy": {"retry": retry, "timeout_s": 5}})
    problem(await shop.get("/"), 503, "overloaded")  # at once: there is no time for a second
    assert len(rig.comet.calls) == 1
