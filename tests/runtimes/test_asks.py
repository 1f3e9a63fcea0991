"""Every language's client of the platform, on a whole one: state, calls, steps; and many calls at a time."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest

from tests.runtimes.asks import ASKS, DURABLE, PLAIN
from tests.runtimes.test_platform import deployed, platform  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # builds of compiled languages


@pytest.fixture
def asking(platform, any_runtime):  # noqa: F811 - the fixture
    if any_runtime not in ASKS:
        pytest.skip(f"{any_runtime} has no client of the platform")
    platform.deploy("echo", "def handler(e, c):\n    return e\n")
    platform.deploy("raises", "def handler(e, c):\n    raise ValueError('no')\n")
    platform.http.post("/topics", json={"name": "news"})
    name = f"asks-{any_runtime}"
    with deployed(platform, name, ASKS[any_runtime], runtime=any_runtime, memory_mb=256):
        yield name


def test_a_function_keeps_state_and_calls_others(platform, asking):  # noqa: F811
    for _ in range(2):  # the second one in the same instance
        assert platform.output(asking, {}) == PLAIN
    kept = platform.http.get("/topics/news/messages", params={"limit": 2, "key": "k"}).json()["items"]
    own = [each for each in kept if each["publisher"] == f"function:{asking}"]
    assert [(each["payload"], each["attributes"]) for each in own] == [({"n": 1}, {"is": "new"})] * 2
    assert own[0]["call_chain"] == [asking]


def test_calls_of_one_instance_do_not_mix_up_their_answers(platform, any_runtime, asking):  # noqa: F811
    settings: dict[str, Any] = {"instance_concurrency": 8, "max_replicas": 1}
    code = ASKS[any_runtime]
    if any_runtime in ("php", "lua", "perl", "r"):
        pytest.skip("one call at a time")
    name = f"many-{asking}"
    with (
        deployed(platform, name, code, runtime=any_runtime, memory_mb=256, **settings),
        concurrent.futures.ThreadPoolExecutor(8) as callers,
    ):
        answers = list(callers.map(lambda _: platform.invoke(name, {}).json(), range(16)))
    # They share one store, so some miss what others took away and raise; no two may take each other's answers.
    answered = [answer["output"] for answer in answers if answer["error"] is None]
    assert answered, answers
    assert all(output[5:] == PLAIN[5:] for output in answered)


def test_steps_are_replayed_and_waits_end(platform, asking):  # noqa: F811
    answer = platform.http.post(f"/functions/{asking}/invoke-durable", json={"payload": {"durable": True}})
    path = f"/executions/{answer.json()['id']}"
    assert platform.http.post(f"{path}/events/go", json={"paid": 1}).status_code == 202

    def done() -> dict[str, Any]:
        found = platform.http.get(path).json()
        assert found["status"] in ("succeeded", "failed"), found
        return found

    found = platform.eventually(done, within_s=40)
    assert (found["output"], found["error"]) == (DURABLE, None)
    assert [(step["kind"], step["name"], step["status"]) for step in found["steps"]["items"]] == [
        ("run", "one", "succeeded"),
        ("sleep", "sleep", "succeeded"),
        ("run", "bad", "failed"),
        ("event", "go", "succeeded"),
        ("event", "never", "failed"),
        ("run", "tell", "succeeded"),
        ("message", "news", "succeeded"),
        ("message", "news", "failed"),
    ]
