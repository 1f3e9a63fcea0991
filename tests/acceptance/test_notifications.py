"""What went wrong on a whole platform is told, once for each thing, to whoever follows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.acceptance.conftest import Platform

ORBIT = Path(sys.executable).with_name("orbit")


def told(platform: Platform, **query: str) -> dict[tuple[str, str], dict[str, object]]:
    answer = platform.http.get("/notifications", params={"limit": "500", **query})
    assert answer.status_code == 200, answer.text
    return {(each["kind"], each["subject"]): each for each in answer.json()["items"]}


def test_dead_calls_and_open_breakers_are_told_with_a_count(platform: Platform) -> None:
    platform.deploy(
        "fragile",
        "def handler(event, context):\n    raise RuntimeError('broken')\n",
        capacity={"breaker_error_percent": 50, "breaker_min_samples": 4, "breaker_open_s": 60},
    )
    platform.deploy("sunk", "def handler(event, context):\n    raise RuntimeError('broken')\n")
    for _ in range(3):
        answer = platform.http.post("/functions/sunk/invoke-async", json={"payload": None, "max_attempts": 1})
        assert answer.status_code == 202, answer.text
    for _ in range(8):
        platform.invoke("fragile")
    dead, opened = ("call_dead", "sunk"), ("breaker_opened", "fragile")
    platform.eventually(lambda: told(platform).get(dead, {}).get("count") == 3 and opened in told(platform))
    assert told(platform)[opened]["count"] == 1

    # Whoever follows is told of what was, and of what comes.
    after = str(min(int(str(told(platform)[each]["seq"])) for each in (dead, opened)) - 1)
    with platform.http.stream("GET", "/notifications/stream", params={"after": after}) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        seen = set()
        for line in stream.iter_lines():
            if line.startswith("data: "):
                each = json.loads(line[6:])
                seen.add((each["kind"], each["subject"]))
                if {dead, opened} <= seen:
                    break

    platform.http.post(f"/notifications/{told(platform)[opened]['id']}/read")
    assert opened not in told(platform, unread="1")
    done = subprocess.run(
        [ORBIT, "notifications", "list", "--about", "sunk", "--server", platform.url],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Durable calls of sunk are given up" in done.stdout


def test_a_function_that_misses_its_objectives_is_told_of_once_and_again_when_it_keeps_them(platform: Platform) -> None:
    def orbit(*words: str) -> str:
        command = [ORBIT, *words, "--server", platform.url]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def status() -> dict[str, object]:
        return dict(platform.http.get("/functions/moody/slo/status").json())

    code = "def handler(event, context):\n    assert event != 'fail'\n    return event\n"
    platform.deploy("moody", code)
    orbit("slo", "set", "moody", "--success", "70", "--window", "1m", "--min-samples", "10")
    assert status()["state"] == "unknown"
    for _ in range(10):
        platform.invoke("moody", "fail")
    breached, met = ("slo_breached", "moody"), ("slo_met", "moody")
    platform.eventually(lambda: breached in told(platform), within_s=30)
    assert str(told(platform)[breached]["detail"]).startswith("0.00 % of calls succeeded, at least 70 % should")
    assert (status()["state"], status()["breached"]) == ("breached", ["success_rate_pct"])
    assert "success_rate_pct" in orbit("slo", "status", "moody")
    assert met not in told(platform)

    for _ in range(90):
        platform.invoke("moody", 1)
    platform.eventually(lambda: met in told(platform), within_s=30)
    assert status()["state"] == "met"
    assert [told(platform)[each]["count"] for each in (breached, met)] == [1, 1]
    orbit("slo", "rm", "moody")
    assert status()["state"] == "off"
