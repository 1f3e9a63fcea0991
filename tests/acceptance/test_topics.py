"""Messages on a whole platform: published by users and functions, delivered whatever is killed, and never in a circle."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from constellation.testing.orbit import OrbitRig
from tests.acceptance.conftest import Platform

EXAMPLE = Path(__file__).parents[2] / "examples" / "order-events"
COLLECTS = """
def handler(event, context):
    context.state.store("arrived").put(f"{event['topic']}/{event['id']}", event)
    if event["data"].get("fails"):
        raise ValueError("no")
"""
# Each message makes another one.
ECHOES = """
def handler(event, context):
    return context.publish("circle", {"n": event["data"]["n"] + 1})
"""


@pytest.fixture(scope="module")
def orbit(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> OrbitRig:
    return OrbitRig(home=tmp_path_factory.mktemp("home"), platform=None, env={"ZENITH_URL": platform.url})


def post(platform: Platform, path: str, body: Any = None, *, status: int = 201) -> Any:
    answer = platform.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def items(platform: Platform, path: str, **query: Any) -> list[Any]:
    answer = platform.http.get(path, params={"limit": 500, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def topic(platform: Platform, name: str, function: str, **more: Any) -> None:
    post(platform, "/topics", {"name": name})
    post(platform, f"/topics/{name}/subscriptions", {"name": f"{function}-{name}", "function": function, **more})


def test_the_example_counts_each_order_once(platform, orbit):
    deployed = orbit.run("deploy", EXAMPLE)
    assert deployed.code == 0, deployed.err
    assert "subscription order-totals" in deployed.out
    assert orbit.run("deploy", EXAMPLE, "-o", "json").json["action"] == "unchanged"
    event = f"@{EXAMPLE / 'message.json'}"
    for region in ("eu-west", "asia", "us"):
        sent = orbit.run("publish", "orders", "-a", f"region={region}", "-d", event, "-o", "json").json
        assert sent["deliveries"] == (0 if region == "asia" else 1)
    done = platform.eventually(
        lambda: len(items(platform, "/subscriptions/order-totals/deliveries", status="succeeded")) == 2
    )
    assert done
    replayed = orbit.run("subscriptions", "replay", "order-totals", "--since", "1h", "-o", "json").json
    assert replayed == {"replayed": 2}
    platform.eventually(lambda: len(items(platform, "/subscriptions/order-totals/deliveries", status="succeeded")) == 4)
    (day,) = items(platform, "/state/totals")
    assert platform.http.get(f"/state/totals/{day['key']}").json()["value"]["cents"] == 2 * 2450
    listed = orbit.run("topics", "messages", "orders", "-o", "json").json
    assert [message["attributes"]["region"] for message in listed] == ["us", "asia", "eu-west"]
    assert orbit.run("subscriptions", "delete", "order-totals", "-y").code == 0
    assert orbit.run("topics", "delete", "orders", "-y").code == 0


def test_a_function_that_triggers_itself_ends_at_the_depth_of_calls(platform):
    platform.deploy("echoes", ECHOES)
    topic(platform, "circle", "echoes", max_attempts=1)
    post(platform, "/topics/circle/publish", {"payload": {"n": 0}})
    dead = platform.eventually(lambda: items(platform, "/subscriptions/echoes-circle/deliveries", status="dead"))
    assert [each["error"]["type"] for each in dead] == ["ConstellationError"]
    assert "32 deep" in dead[0]["error"]["message"]
    kept = items(platform, "/topics/circle/messages")
    assert sorted(message["call_depth"] for message in kept) == list(range(32))
    deepest = max(kept, key=lambda message: message["call_depth"])
    assert deepest["publisher"] == "function:echoes"
    metrics = platform.http.get("/functions/echoes/metrics")
    assert metrics.status_code == 200


def test_every_plane_may_be_killed_and_each_message_arrives(own_platform):
    platform = own_platform
    platform.deploy("collects", COLLECTS)
    topic(platform, "news", "collects", max_attempts=50, backoff_base_ms=50, backoff_max_ms=200)
    sent = []
    for name in ("nebula", "comet", "postgres"):
        batch = {"messages": [{"payload": {"n": n}} for n in range(20)]}
        sent += [each["id"] for each in post(platform, "/topics/news/publish-batch", batch)["messages"]]
        os.kill(platform.planes()[name]["pid"], signal.SIGKILL)
        # What is not acknowledged is sent again; its key makes that safe.
        answer = platform.eventually(
            lambda key=name: platform.http.post(
                "/topics/news/publish", json={"payload": {"n": -1}}, headers={"Idempotency-Key": key}
            ).raise_for_status(),
            within_s=40,
        )
        sent.append(answer.json()["id"])

    def arrived() -> bool:
        keys = {item["key"].partition("/")[2] for item in items(platform, "/state/arrived")}
        assert keys == set(sent), (len(keys), len(sent))
        return True

    platform.eventually(arrived, within_s=60)
    done = "/subscriptions/collects-news/deliveries"
    platform.eventually(lambda: len(items(platform, done, status="succeeded")) == len(sent), within_s=30)
    assert len(sent) == len(set(sent)) == 63
