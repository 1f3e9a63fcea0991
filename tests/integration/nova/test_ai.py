"""AI over the API, against a real endpoint that answers well and badly."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.access import Role
from constellation.nova.domain.invocation import InvocationRecord
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.pool import connect
from constellation.testing.chat import ANSWER, serving_chat

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

KEY = "the-endpoints-own-key"
CODE = "import os\n\ndef handler(event, context):\n    return event['name'] + os.environ['TOKEN']\n"


@pytest.fixture
def chat():
    with serving_chat() as serving:
        yield serving


async def put(nova, key: str, value: object) -> None:
    answer = await nova.http.put(f"/settings/{key}", json={"value": value}, headers=nova.admin())
    assert answer.status_code == 200, answer.text


async def turn_on(nova, chat, model: str = "good", *, timeout: str = "30s") -> None:
    for key, value in (("ai.base_url", chat.url), ("ai.timeout", timeout), ("ai.key", KEY), ("ai.model", model)):
        await put(nova, key, value)
    with anyio.fail_after(20):
        while (await nova.http.get("/ai/status", headers=nova.admin())).json()["model"] != model:
            await anyio.sleep(0.02)


async def ask(nova, path: str, body: object, headers=None) -> tuple[int, str, dict[str, object]]:
    """Return the status, the text, and how it ended: the data of `done` or the problem."""
    answer = await nova.http.post(path, json=body, headers=headers or nova.admin(), timeout=60)
    if answer.status_code != 200:
        return answer.status_code, "", answer.json()
    assert answer.headers["content-type"] == "text/event-stream"
    text, end = "", {}
    for event in answer.text.strip().split("\n\n"):
        name, data = event.split("\n")
        found = json.loads(data.removeprefix("data: "))
        if name == "event: piece":
            text += found["text"]
        else:
            end = found
    return 200, text, end


async def test_it_is_off_until_an_address_and_a_model_are_set(nova):
    status, _, problem = await ask(nova, "/ai/generate", {"description": "x"})
    assert (status, problem["code"]) == (409, "ai_off")
    assert "ai.base_url" in str(problem["detail"])
    seen = (await nova.http.get("/ai/status", headers=nova.admin())).json()
    assert seen == {"is_on": False, "model": "", "has_key": False}


@pytest.mark.parametrize("model", ["good", "plain"])
async def test_an_answer_comes_in_pieces_whether_the_endpoint_streams_or_not(nova, chat, model):
    await turn_on(nova, chat, model)
    assert await ask(nova, "/ai/generate", {"description": "greets", "runtime": "node"}) == (
        200, ANSWER, {"model": model, "is_cut": False},
    )  # fmt: skip
    (asked,) = chat.asked
    assert (asked.path, asked.authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert asked.body["max_tokens"] == 4096
    assert "greets" in asked.prompt
    assert "node" in asked.prompt


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("refuses-key", 502, "ai_endpoint_refused"),
        ("no-model", 502, "ai_endpoint_refused"),
        ("busy", 503, "ai_endpoint_busy"),
        ("fails", 502, "ai_endpoint_failed"),
        ("moved", 502, "ai_endpoint_failed"),
        ("silent", 504, "deadline_exceeded"),
    ],
)
async def test_an_endpoint_that_refuses_is_told_of_without_what_it_said(nova, chat, model, status, code):
    await turn_on(nova, chat, model, timeout="1s")
    answer = await nova.http.post("/ai/generate", json={"description": "x"}, headers=nova.admin(), timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert KEY not in answer.text
    assert answer.headers.get("retry-after") == ("7" if model == "busy" else None)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("noise", "ai_endpoint_failed"),
        ("noisy-stream", "ai_endpoint_failed"),
        ("broken", "ai_endpoint_failed"),
        ("stalled", "deadline_exceeded"),
    ],
)
async def test_an_answer_that_breaks_off_ends_with_the_problem(nova, chat, model, code):
    await turn_on(nova, chat, model, timeout="1s")
    status, _, end = await ask(nova, "/ai/generate", {"description": "x"})
    assert (status, end["code"]) == (200, code)


@pytest.mark.parametrize("model", ["endless", "one-line"])
async def test_an_answer_without_an_end_is_cut(nova, chat, model):
    await turn_on(nova, chat, model)
    status, text, end = await ask(nova, "/ai/generate", {"description": "x"})
    assert (status, end["is_cut"]) == (200, True)
    assert len(text) <= 200_000


async def test_places_are_given_back_however_an_answer_ends(nova, chat):
    await turn_on(nova, chat, "fails", timeout="1s")
    for _ in range(6):  # more than a tenant may have at a time
        assert (await ask(nova, "/ai/generate", {"description": "x"}))[0] == 502
    await turn_on(nova, chat, "stalled", timeout="60s")
    for number in range(4):  # callers who leave in the middle
        async with nova.http.stream(
            "POST", "/ai/generate", json={"description": "x"}, headers=nova.admin(), timeout=60
        ) as answer:
            assert answer.status_code == 200, number
    await turn_on(nova, chat, "good")
    with anyio.fail_after(20):  # that a caller left is noticed a moment later
        while (await ask(nova, "/ai/generate", {"description": "x"}))[0] != 200:
            await anyio.sleep(0.05)


async def test_a_tenant_has_at_most_so_many_at_a_time(nova, chat):
    await turn_on(nova, chat, "silent")
    codes: list[str] = []

    async def one() -> None:
        codes.append(str((await ask(nova, "/ai/generate", {"description": "x"}))[2].get("code")))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(one)
        with anyio.fail_after(20):
            while len(chat.asked) < 4:
                await anyio.sleep(0.02)
        assert (await ask(nova, "/ai/generate", {"description": "x"}))[2]["code"] == "overloaded"
        chat.released.set()
    assert codes == ["ai_endpoint_failed"] * 4  # it went on with nothing


async def test_the_key_is_nowhere_and_outlives_a_rotation(nova, chat, database):
    await turn_on(nova, chat)
    shown = (await nova.http.get("/settings/ai.key", headers=nova.admin())).json()
    assert (shown["value"], shown["source"], shown["is_set"]) == ("(set)", "run time", True)
    await put(nova, "ai.key", KEY + "2")
    history = (await nova.http.get("/settings/ai.key/history", headers=nova.admin())).text
    assert KEY not in history
    assert "(set)" in history
    back = await nova.http.post("/settings/ai.key/revert", json={"version": 1}, headers=nova.admin())
    assert back.status_code == 422
    async with connect(database.dsn(), application="tests", max_size=1) as db:
        for table in ("settings", "setting_changes", "changes"):
            assert KEY not in str([tuple(row) for row in await db.fetch(f"SELECT * FROM {table}")])
        before = await db.fetch_value("SELECT value FROM settings WHERE key = 'ai.key'")
        assert (await nova.http.post("/master-keys", headers=nova.admin())).status_code == 201
        with anyio.fail_after(20):
            while (now := await db.fetch_value("SELECT value FROM settings WHERE key = 'ai.key'")) == before:
                await anyio.sleep(0.02)
        assert now.startswith("2:")
    await ask(nova, "/ai/generate", {"description": "x"})
    assert chat.asked[-1].authorization == f"Bearer {KEY}2"
    assert (await nova.http.get("/internal/settings", headers=nova.service())).json() == {"values": {}}


async def failed_call(
    nova, database, *, name: str, status: str = "error", log: str = "", error: str = "KeyError: 'name'"
) -> str:
    function = (await nova.http.get(f"/functions/{name}", headers=nova.admin())).json()
    record = InvocationRecord(
        tenant="default", namespace="default", id=uuid7(), function_id=function["id"], function_name=name,
        function_version=1, runtime="python", node="here", started_at=datetime.now(UTC), duration_ms=3.0, queued_ms=0.0,
        cold_start=False, status=status, error=error, input_bytes=2, output_bytes=0, log=log,
        log_truncated=False, source="api",
    )  # fmt: skip
    async with connect(database.dsn("comet"), application="comet", max_size=2) as db:
        await Invocations(db).record([record])
    return str(record.id)


async def test_a_failure_is_explained_from_its_record_and_no_secret_leaves(nova, chat, database):
    await turn_on(nova, chat)
    secret = "hunter2-and-more"
    await nova.http.post("/secrets", json={"name": "db.token", "value": secret}, headers=nova.admin())
    await nova.deploy(
        "greet", code=CODE + f"# left behind: {secret}\n", env={"TOKEN": "$SECRET:db.token", "HOST": "db.internal"}
    )
    request_id = await failed_call(nova, database, name="greet", log=f"connecting to db.internal with {secret}\n")
    assert (await ask(nova, "/ai/explain", {"request_id": request_id}))[:2] == (200, ANSWER)
    prompt = chat.asked[-1].prompt
    assert "KeyError: 'name'" in prompt
    assert "event['name']" in prompt
    assert "connecting to [hidden] with [hidden]" in prompt
    assert secret not in prompt
    for path in ("/ai/review", "/ai/tests"):
        assert (await ask(nova, path, {"function": "greet"}))[0] == 200
        assert "event['name']" in chat.asked[-1].prompt
        assert secret not in chat.asked[-1].prompt


async def test_the_calls_of_a_function_are_analyzed_by_their_figures_and_no_secret_leaves(nova, chat, database):
    await turn_on(nova, chat)
    secret = "hunter2-and-more"
    await nova.http.post("/secrets", json={"name": "db.token", "value": secret}, headers=nova.admin())
    await nova.deploy("greet", code=CODE, env={"TOKEN": "$SECRET:db.token"})
    nothing = await ask(nova, "/ai/analyze", {"function": "greet"})
    assert (nothing[0], nothing[2]["field"]) == (400, "days")
    for number in range(30):
        await failed_call(nova, database, name="greet", status="ok" if number % 3 else "function_error")
    await failed_call(nova, database, name="greet", status="timeout", error=f"it waited for {secret}")
    assert (await ask(nova, "/ai/analyze", {"function": "greet", "days": 7}))[:2] == (200, ANSWER)
    prompt = chat.asked[-1].prompt
    for shown in ("calls: 31", "function_error: 10", "KeyError: 'name'", "memory_mb: 128", "event['name']", "[hidden]",
                  "errors: 11 of 31 calls failed by themselves"):  # fmt: skip
        assert shown in prompt, shown
    assert prompt.count("KeyError: 'name'") == 1
    assert secret not in prompt
    theirs = nova.member("default", role=Role.VIEWER)
    assert (await ask(nova, "/ai/analyze", {"function": "greet"}, theirs))[0] == 403
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    assert (await ask(nova, "/ai/analyze", {"function": "greet"}, nova.member("acme")))[0] == 404
    assert len(chat.asked) == 1


async def test_what_is_shown_to_the_model_is_the_callers_to_see(nova, chat, database):
    await turn_on(nova, chat)
    await nova.deploy("greet", code=CODE)
    request_id = await failed_call(nova, database, name="greet")
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    theirs = nova.member("acme")
    assert (await ask(nova, "/ai/explain", {"request_id": request_id}, theirs))[0] == 404
    assert (await ask(nova, "/ai/review", {"function": "greet"}, theirs))[0] == 404
    viewer = nova.member("default", role=Role.VIEWER)
    assert (await ask(nova, "/ai/review", {"function": "greet"}, viewer))[0] == 403
    fine = await failed_call(nova, database, name="greet", status="ok")
    assert (await ask(nova, "/ai/explain", {"request_id": fine}))[0] == 400
    assert (await ask(nova, "/ai/review", {}))[0] == 400
    assert (await ask(nova, "/ai/review", {"function": "greet", "code": "x"}))[0] == 400
    # A tenant's administrator names no address.
    refused = await nova.http.put("/settings/ai.base_url", json={"value": chat.url}, headers=theirs)
    assert refused.status_code == 403
    assert len(chat.asked) == 0
