"""AI through the gateway and orbit, against an endpoint that streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from constellation.testing.chat import ANSWER, serving_chat
from tests.acceptance.conftest import Platform

ORBIT = Path(sys.executable).with_name("orbit")


def orbit(platform: Platform, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ORBIT, *args, "--server", platform.url], check=check, capture_output=True, text=True, timeout=60
    )


def test_a_failed_call_is_explained_and_a_function_written(platform: Platform) -> None:
    platform.deploy("unlucky", "def handler(event, context):\n    return event['name']\n")
    failed = platform.invoke("unlucky", {}).json()
    off = orbit(platform, "ai", "generate", "greets", check=False)
    assert off.returncode == 4
    assert "ai.base_url" in off.stderr
    with serving_chat() as chat:
        try:
            for key, value in (("ai.base_url", chat.url), ("ai.model", "good")):
                assert platform.http.put(f"/settings/{key}", json={"value": value}).status_code == 200
            platform.eventually(lambda: platform.http.get("/ai/status").json()["is_on"])
            logs = f"/functions/unlucky/logs?request_id={failed['request_id']}"
            platform.eventually(lambda: platform.http.get(logs).json()["items"])
            assert orbit(platform, "ai", "explain", failed["request_id"]).stdout.strip() == ANSWER
            assert "KeyError" in chat.asked[-1].prompt
            assert "event['name']" in chat.asked[-1].prompt
            assert orbit(platform, "ai", "generate", "greets", "--runtime", "node").stdout.strip() == ANSWER
        finally:
            for key in ("ai.base_url", "ai.model"):
                platform.http.delete(f"/settings/{key}")
