"""Each capability of the platform, as a user meets it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

ORBIT = Path(sys.executable).with_name("orbit")

ECHO = "def handler(event, context):\n    print('saw', event)\n    return event\n"


def test_async_invocation_to_its_result(platform):
    platform.deploy("echo", ECHO)
    accepted = platform.http.post("/functions/echo/invoke-async", json={"payload": {"n": 1}})
    assert accepted.status_code == 202, accepted.text
    where = accepted.headers["location"]
    done = platform.eventually(lambda: (b := platform.http.get(where).json())["status"] == "succeeded" and b)
    assert done["output"] == {"n": 1}
    assert done["attempt"] == 1


def test_an_idempotency_key_accepts_once(platform):
    platform.deploy("echo", ECHO)
    key = uuid.uuid4().hex
    answers = [
        platform.http.post("/functions/echo/invoke-async", json={"payload": n}, headers={"Idempotency-Key": key})
        for n in range(3)
    ]
    assert [a.status_code for a in answers] == [202, 200, 200]
    assert len({a.json()["id"] for a in answers}) == 1
    assert answers[1].headers["x-idempotency-status"] == "replay"


def test_what_keeps_failing_dies_and_can_be_redriven(platform):
    platform.deploy("fails", "def handler(event, context):\n    raise RuntimeError('always')\n")
    made = platform.http.post(
        "/functions/fails/invoke-async", json={"payload": 1, "max_attempts": 2, "backoff_base_ms": 10}
    ).json()
    where = f"/async-invocations/{made['id']}"
    dead = platform.eventually(lambda: (b := platform.http.get(where).json())["status"] == "dead" and b)
    assert dead["attempt"] == 2
    assert "always" in str(dead["error"])
    platform.deploy("fails", ECHO)
    platform.eventually(lambda: platform.output("fails", 5) == 5)
    assert platform.http.post(f"{where}/retry", json={}).status_code == 200
    done = platform.eventually(lambda: (b := platform.http.get(where).json())["status"] == "succeeded" and b)
    assert done["output"] == 1


def test_dead_letters_are_listed_and_purged(platform):
    platform.deploy("buried", "def handler(event, context):\n    raise RuntimeError('always')\n")
    made = platform.http.post("/functions/buried/invoke-async", json={"payload": 1, "max_attempts": 1}).json()
    letters = {"params": {"function": "buried"}}
    found = platform.eventually(lambda: platform.http.get("/async-invocations/dlq", **letters).json()["items"])
    assert [(each["id"], each["status"]) for each in found] == [(made["id"], "dead")]
    assert platform.http.get("/async-invocations/dlq", params={"function": "fails"}).json()["items"] == []
    assert platform.http.delete("/async-invocations/dlq", **letters).json() == {"deleted": 1}
    assert platform.http.get(f"/async-invocations/{made['id']}").status_code == 404
    assert platform.http.get("/async-invocations/dlq", **letters).json()["pagination"]["total"] == 0


def test_prometheus_reads_the_figures_of_a_namespace_and_administrators_all(platform):
    platform.deploy("counted", ECHO)
    assert platform.output("counted", 1) == 1

    def series() -> str | None:
        text = platform.http.get("/metrics").text
        return text if 'constellation_invocations_total{function="counted"' in text else None

    text = platform.eventually(series)
    assert 'constellation_function_instances{function="counted",namespace="default",state="idle"' in text
    assert all('tenant="default"' in line for line in text.splitlines() if line and not line.startswith("#"))
    whole = platform.http.get("/metrics", params={"scope": "platform"})
    assert whole.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "process_open_fds" in whole.text
    for role, status in (("viewer", 403), ("invoker", 403)):
        key = platform.http.post("/apikeys", json={"name": f"reads-{role}", "role": role}).json()["key"]
        asked = platform.http.get("/metrics", params={"scope": "platform"}, headers={"x-api-key": key})
        assert asked.status_code == status, asked.text
        platform.http.delete(f"/apikeys/reads-{role}")
    assert platform.http.get("/metrics", params={"scope": "all"}).status_code == 400
    told = platform.http.get("/metrics", headers={"accept": "application/json"}).json()
    (mine,) = [each for each in told["functions"] if each["function"] == "counted"]
    assert (mine["calls"], mine["statuses"], mine["tenant"], mine["idle"]) == (1, {"ok": 1}, "default", 1)
    assert mine["p50_ms"] > 0
    assert told["total"]["calls"] == sum(each["calls"] for each in told["functions"])
    alike = platform.http.get("/metrics/summary").json()
    assert alike["node"] == told["node"]
    assert platform.http.get("/metrics/summary", params={"scope": "all"}).status_code == 400


def test_an_unknown_function_is_refused_before_it_is_queued(platform):
    assert platform.http.post("/functions/none/invoke-async", json={"payload": 1}).status_code == 404


def test_calls_that_are_cut_off_speak_against_the_settings(platform):
    code = "import time\ndef handler(event, context):\n    return time.sleep(30) if event == 'slow' else len('x' * event)\n"
    platform.deploy("hasty", code, timeout_s=0.5, memory_mb=64, min_replicas=1)
    for _ in range(40):
        assert platform.output("hasty", 1) == 1
    assert platform.invoke("hasty", "slow").status_code == 504
    platform.http.patch("/functions/hasty", json={"tags": {"a": "b"}})  # makes no version
    about = "/functions/hasty/recommendations"
    platform.eventually(lambda: platform.http.get(about).json()["calls"] == 41)
    found = platform.http.get(about).json()
    told = {each["setting"]: each for each in found["recommendations"]}
    assert list(told) == ["timeout_s"], found
    timeout = told["timeout_s"]
    assert (timeout["priority"], timeout["current_value"], timeout["recommended_value"]) == ("critical", 0.5, 1.0)
    assert timeout["metrics"]["timeouts"] == 1

    platform.http.patch("/functions/hasty", json={"timeout_s": 20})
    platform.eventually(lambda: platform.http.get(about).json()["version"] == found["version"] + 1)
    assert platform.http.get(about).json()["recommendations"] == []  # what was said was of the version before
    for _ in range(25):
        platform.output("hasty", 1)
    assert platform.invoke("hasty", 300_000_000).status_code in (200, 502)  # it runs out of memory, or Python says so
    platform.eventually(lambda: [each["setting"] for each in platform.http.get(about).json()["recommendations"]])
    shown = subprocess.run(
        [ORBIT, "recommend", "hasty", "--days", "1", "--server", platform.url], check=True, capture_output=True, text=True,
        timeout=60,
    ).stdout  # fmt: skip
    assert "memory_mb" in shown
    assert "calls ran out of the 64 MiB" in " ".join(shown.split())
    platform.http.delete("/functions/hasty")


def test_a_breaker_is_set_read_and_reset(platform):
    platform.deploy("echo", ECHO)
    wanted = {"breaker_error_percent": 50, "breaker_min_samples": 5, "breaker_window_s": 30, "breaker_open_s": 1.5}
    put = platform.http.put("/functions/echo/capacity", json=wanted)
    assert put.status_code == 200, put.text
    seen = platform.http.get("/functions/echo").json()["capacity"]
    assert {name: seen[name] for name in wanted} == wanted
    assert platform.output("echo", 1) == 1
    refused = platform.http.put("/functions/echo/capacity", json={"breaker_probes": 0})
    assert (refused.status_code, refused.json()["field"]) == (400, "breaker_probes")
    assert platform.http.delete("/functions/echo/capacity").json()["breaker_error_percent"] == 0


def test_a_keys_rate_reaches_the_gateway_and_follows_a_change(platform):
    name = f"rated-{uuid.uuid4().hex[:8]}"
    made = platform.http.post("/apikeys", json={"name": name, "role": "invoker", "rate_per_s": 100, "burst": 200})
    assert made.status_code == 201, made.text
    credential = {"X-API-Key": made.json()["key"]}

    def rate() -> tuple[float, int]:
        seen = platform.http.get("/whoami", headers=credential).json()
        return seen["rate_per_s"], seen["burst"]

    assert rate() == (100.0, 200)
    changed = platform.http.patch(f"/apikeys/{name}", json={"rate_per_s": 2.5, "burst": 0})
    assert changed.status_code == 200, changed.text
    platform.eventually(lambda: rate() == (2.5, 3))
    assert platform.http.patch(f"/apikeys/{name}", json={"rate_per_s": 0}).status_code == 200
    platform.eventually(lambda: rate() == (0.0, 0))
    assert platform.http.delete(f"/apikeys/{name}").status_code == 200


def test_a_schedule_fires_once_a_tick(platform):
    platform.deploy("ticks", ECHO)
    made = platform.http.post(
        "/functions/ticks/schedules", json={"cron": "@every 1s", "time_zone": "Europe/Berlin", "input": {"by": "clock"}}
    )
    assert made.status_code == 201, made.text
    schedule = made.json()

    def calls():
        return platform.http.get("/functions/ticks/invocations").json()["items"]

    platform.eventually(lambda: len(calls()) >= 3, within_s=30)
    assert platform.http.delete(f"/functions/ticks/schedules/{schedule['id']}").status_code == 200
    jobs = platform.http.get("/functions/ticks/async-invocations").json()["items"]
    assert all(j["payload"] == {"by": "clock"} for j in jobs)
    assert all(j["source"].startswith("schedule/") for j in jobs)


@pytest.mark.parametrize("cron", ["every day", "* * * *", "61 * * * *", "@every 0s", ""])
def test_a_schedule_that_makes_no_sense_is_not_saved(platform, cron):
    platform.deploy("ticks", ECHO)
    assert platform.http.post("/functions/ticks/schedules", json={"cron": cron}).status_code == 400
    bad_zone = platform.http.post("/functions/ticks/schedules", json={"cron": "@hourly", "time_zone": "Mars/Olympus"})
    assert bad_zone.status_code == 400


def test_calls_and_logs_are_kept(platform):
    platform.deploy("kept", ECHO)
    answer = platform.invoke("kept", {"n": 7}).json()

    def row():
        items = platform.http.get("/functions/kept/logs", params={"request_id": answer["request_id"]}).json()["items"]
        return items and items[0]

    found = platform.eventually(row)
    assert "saw {'n': 7}" in found["log"]
    assert found["status"] == "ok"
    listed = platform.http.get("/invocations", params={"function": "kept"}).json()
    assert answer["request_id"] in [i["id"] for i in listed["items"]]
    platform.invoke("kept", {"n": 8})
    of = {"function": "kept", "search": "SAW {'N': 7"}
    (hit,) = platform.http.get("/invocations", params=of).json()["items"]
    assert hit["id"] == answer["request_id"]
    assert platform.http.get("/invocations", params=of | {"until": "2020-01-01T00:00:00Z"}).json()["items"] == []
    one = platform.http.get("/functions/kept/logs", params={"request_id": hit["id"], "search": "no such"}).json()
    assert one["items"] == []
    assert platform.http.get("/invocations", params={"search": ""}).status_code == 400

    def summary():
        found = platform.http.get("/invocations/summary", params={"function": "kept", "range": "15m"}).json()
        return found if found["total"]["calls"] == 2 else None

    found = platform.eventually(summary)
    (kept,) = found["functions"]["items"]
    assert (kept["function"], kept["calls"], kept["error_rate"], found["error_rate"]) == ("kept", 2, 0.0, 0.0)
    assert kept["p95_ms"] >= kept["p50_ms"] > 0
    assert found["functions"]["pagination"]["total"] == 1


def test_the_log_can_be_followed(platform):
    platform.deploy("followed", ECHO)
    seen: list[str] = []

    def follow():
        with platform.http.stream("GET", "/functions/followed/logs/stream") as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    seen.append(line)
                    if len(seen) == 5:
                        return

    reader = threading.Thread(target=follow)
    reader.start()
    time.sleep(0.5)
    for n in range(5):
        platform.output("followed", f"marker-{n}")
    reader.join(timeout=30)
    assert len(seen) == 5
    assert all(any(f"marker-{n}" in line for line in seen) for n in range(5))


def test_a_streamed_answer_comes_as_it_is_made(platform):
    code = "import time\ndef handler(event, context):\n    for n in range(4):\n        yield f'piece {n}\\n'\n        time.sleep(0.4)\n"
    platform.deploy("pieces", code)
    platform.invoke("pieces")
    arrivals = []
    with platform.http.stream("POST", "/functions/pieces/invoke-stream", json=None) as stream:
        assert stream.status_code == 200
        arrivals.extend((time.monotonic(), piece) for piece in stream.iter_bytes())
    assert b"".join(p for _, p in arrivals) == b"piece 0\npiece 1\npiece 2\npiece 3\n"
    assert arrivals[-1][0] - arrivals[0][0] > 0.6  # buffered whole, they would come together


def test_a_client_that_hangs_up_stops_a_stream(platform):
    code = "import time\ndef handler(event, context):\n    while True:\n        yield 'tick\\n'\n        time.sleep(0.05)\n"
    platform.deploy("endless", code, max_replicas=1, timeout_s=60)
    with platform.http.stream("POST", "/functions/endless/invoke-stream", json=None) as stream:
        next(stream.iter_bytes())

    def is_free():
        stats = platform.http.get("/stats").json()
        return all(f["inflight"] == 0 for f in stats["functions"] if f["function"] == "endless")

    platform.eventually(is_free)


def test_a_function_url_gets_the_request(platform):
    code = (
        "def handler(event, context):\n"
        "    return {'statusCode': 201, 'headers': {'x-made-by': 'me'}, 'body': event['method'] + ' ' + event['path']}\n"
    )
    platform.deploy("web", code)
    answer = platform.http.put("/fn/web/a/b?c=d", content=b"hello")
    assert (answer.status_code, answer.headers["x-made-by"]) == (201, "me")
    assert answer.text.startswith("PUT ")
    assert "/a/b" in answer.text


def test_an_update_is_live_within_a_second_or_so(platform):
    platform.deploy("moves", "def handler(event, context):\n    return 1\n")
    assert platform.output("moves") == 1
    platform.http.put("/functions/moves/code", json={"code": "def handler(event, context):\n    return 2\n"})
    platform.eventually(lambda: platform.output("moves") == 2, within_s=5)


def test_environment_and_context(platform):
    code = (
        "import os\ndef handler(event, context):\n"
        "    return [os.environ['GREETING'], context.function_name, context.tenant, context.namespace,\n"
        "            context.memory_limit_mb, context.remaining_ms() > 0, str(context.request_id)]\n"
    )
    platform.deploy("context", code, env={"GREETING": "hi"}, memory_mb=96)
    answer = platform.invoke("context").json()
    assert answer["output"][:6] == ["hi", "context", "default", "default", 96, True]
    assert answer["output"][6] == answer["request_id"]


def test_two_tenants_with_the_same_names_never_meet(platform):
    for tenant in ("blue", "green"):
        made = platform.http.post("/tenants", json={"id": tenant})
        assert made.status_code in (201, 409), made.text
    keys = {}
    for tenant in ("blue", "green"):
        scope = {"X-Nova-Tenant": tenant, "X-Nova-Namespace": "default"}
        made = platform.http.post("/apikeys", json={"name": f"k{uuid.uuid4().hex[:8]}", "role": "admin"}, headers=scope)
        assert made.status_code == 201, made.text
        keys[tenant] = {"X-API-Key": made.json()["key"]}
        code = (
            "import os, glob\nSEEN = []\ndef handler(event, context):\n    SEEN.append(event)\n"
            f"    return ['{tenant}', SEEN, sorted(os.listdir('/tmp')), [p for p in os.listdir('/proc') if p.isdigit()]]\n"
        )
        platform.deploy("same", code, headers=keys[tenant])
    for tenant, other in (("blue", "green"), ("green", "blue")):
        out = platform.http.post("/functions/same/invoke", json=f"secret of {tenant}", headers=keys[tenant]).json()[
            "output"
        ]
        assert out == [tenant, [f"secret of {tenant}"], [], ["1"]]
        assert other not in platform.http.get("/functions/same/code", headers=keys[tenant]).json()["code"]
        listed = platform.http.get("/functions", headers=keys[tenant])
        assert listed.status_code == 200, listed.text
        items = listed.json()["items"]
        assert [f["name"] for f in items] == ["same"]
        logs = platform.eventually(
            lambda t=tenant: platform.http.get("/functions/same/logs", headers=keys[t]).json()["items"]
        )
        assert len(logs) == 1
        # A key of one tenant does not open the other, whatever it asks for.
        asked = {**keys[tenant], "X-Nova-Tenant": other, "X-Nova-Namespace": "default"}
        for path in ("/functions", "/functions/same", "/functions/same/code", "/functions/same/logs", "/invocations"):
            assert platform.http.get(path, headers=asked).status_code == 403, path
        assert platform.http.post("/functions/same/invoke", json=1, headers=asked).status_code == 403
        assert platform.http.post("/tenants", json={"id": "red"}, headers=keys[tenant]).status_code == 403
    job = platform.http.post("/functions/same/invoke-async", json={"payload": "j"}, headers=keys["blue"]).json()
    assert platform.http.get(f"/async-invocations/{job['id']}", headers=keys["green"]).status_code == 404


PRELOADED = """
import os, sys, preloaded

def handler(event, context):
    if event == 'leave':
        os._exit(0)
    return preloaded.PID != os.getpid()
"""


def test_a_preloaded_function_is_forked_with_its_modules_imported(platform):
    if os.geteuid() != 0:
        pytest.skip("instances are forked from nurseries where root has control groups")
    files = {"main.py": PRELOADED, "deps/preloaded/__init__.py": "import os\nPID = os.getpid()\n"}
    encoded = {path: base64.b64encode(text.encode()).decode() for path, text in files.items()}
    body = {"name": "preloads", "runtime": "python", "files": encoded, "preload": ["preloaded"]}
    made = platform.http.post("/functions", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["preload"] == ["preloaded"]

    def forked() -> bool:
        platform.invoke("preloads", "leave")
        return platform.output("preloads") is True

    assert platform.eventually(forked), "an instance comes from where the module was imported before"
    refused = platform.http.patch("/functions/preloads", json={"preload": ["not a module"]})
    assert refused.status_code == 400
    changed = platform.http.patch("/functions/preloads", json={"preload": []})
    assert changed.status_code == 200, changed.text
    platform.eventually(lambda: platform.output("preloads") is False)
