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
