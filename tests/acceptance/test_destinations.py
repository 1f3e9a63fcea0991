"""Results of durable calls on a whole platform: they reach where they should, whatever is killed, and never go round for ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from constellation.testing.orbit import OrbitRig
from tests.acceptance.conftest import Platform

WORKS = """
def handler(event, context):
    if event.get("fails"):
        raise ValueError("no")
    return {"n": event["n"]}
"""
COLLECTS = """
def handler(event, context):
    told = event.get("data", event)
    context.state.store("told").put(f"{told['outcome']}.{told['id']}", told)
"""


@pytest.fixture
def orbit(own_platform: Platform, tmp_path: Path) -> OrbitRig:
    return OrbitRig(home=tmp_path, platform=None, env={"ZENITH_URL": own_platform.url})


def items(platform: Platform, path: str, **query: Any) -> list[Any]:
    answer = platform.http.get(path, params={"limit": 500, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def ask(platform: Platform, name: str, payload: Any, **options: Any) -> str:
    answer = platform.http.post(f"/functions/{name}/invoke-async", json={"payload": payload, **options})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_results_reach_where_they_should_whatever_is_killed(
    own_platform: Platform, orbit: OrbitRig, tmp_path: Path
) -> None:
    platform = own_platform
    platform.deploy("collects", COLLECTS)
    platform.http.post("/topics", json={"name": "failures"}).raise_for_status()
    subscription = {"name": "s", "function": "collects"}
    platform.http.post("/topics/failures/subscriptions", json=subscription).raise_for_status()
    source = tmp_path / "works.py"
    source.write_text(WORKS)
    told = ("--on-success", "function:collects", "--on-failure", "topic:failures")
    made = orbit.run("deploy", source, *told)
    assert made.code == 0, made.err
    assert orbit.run("deploy", source, *told, "-o", "json").json["action"] == "unchanged"
    absent = orbit.run("deploy", source, "--on-success", "topic:absent")
    assert (absent.code != 0, "topic 'absent'" in absent.err) == (True, True), absent.err

    asked = {("success", ask(platform, "works", {"n": n}, max_attempts=50)) for n in range(10)}
    asked |= {("failure", ask(platform, "works", {"fails": True}, max_attempts=1)) for _ in range(3)}
    os.kill(platform.planes()["nebula"]["pid"], signal.SIGKILL)
    asked |= {("success", ask(platform, "works", {"n": n}, max_attempts=50)) for n in range(10)}
    os.kill(platform.planes()["comet"]["pid"], signal.SIGKILL)

    def arrived() -> bool:
        ended = {
            (status, each["id"])
            for status in ("succeeded", "dead")
            for each in items(platform, "/functions/works/async-invocations", status=status)
        }
        assert {job for _, job in ended} == {job for _, job in asked}
        found = {tuple(item["key"].split(".")) for item in items(platform, "/state/told")}
        # What an attempt that was cut off left of three is a failure as well, told as one.
        assert {job for _, job in found} == {job for _, job in asked}, (len(found), len(asked))
        return True

    platform.eventually(arrived, within_s=90)
    outcome, job = next(iter(sorted(asked, reverse=True)))
    event = platform.http.get(f"/state/told/{outcome}.{job}").json()["value"]
    assert (event["function"], event["version"], event["request"], event["response"]) == (
        "works",
        1,
        {"n": event["request"]["n"]},
        event["request"],
    )


def test_functions_that_tell_each_other_end(own_platform: Platform) -> None:
    platform = own_platform
    for name in ("ping", "pong"):
        platform.deploy(name, "def handler(event, context): return 1\n")
    for name, other in (("ping", "pong"), ("pong", "ping")):
        to = {"type": "function", "target": other}
        changed = platform.http.patch(
            f"/functions/{name}", json={"async_destinations": {"on_success": to, "on_failure": to}}
        )
        assert changed.status_code == 200, changed.text
    ask(platform, "ping", {})

    def ended() -> list[Any]:
        assert not items(platform, "/async-invocations", status="queued") + items(
            platform, "/async-invocations", status="running"
        )
        return items(platform, "/notifications", kind="destination_failed") or items(
            platform, "/async-invocations", status="dead"
        )

    assert platform.eventually(ended, within_s=40)
