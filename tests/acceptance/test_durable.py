"""Durable executions on a whole platform: what is recorded happened once, whoever is killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from constellation.nova.store.pool import connect, with_credentials
from constellation.nova.store.roles import role_of
from tests.acceptance.conftest import Platform

EXAMPLES = Path(__file__).parents[2] / "examples"
EVENT = json.loads((EXAMPLES / "order-workflow" / "event.json").read_text())

# Each step leaves a mark of its own in the store whenever it is run, and says which of its runs was recorded.
MARKS = """
import time, uuid

def handler(event, context):
    def effect(number):
        mark = uuid.uuid4().hex
        context.state.put(f"ran/{number}/{mark}", 1)
        time.sleep(event["step_s"])
        return mark

    marks = []
    for number in range(event["steps"]):
        marks.append(context.steps.run(f"step {number}", effect, number))
        context.steps.sleep(event["pause_s"], f"pause {number}")
    return marks
"""


def begin(platform: Platform, name: str, payload: Any, **more: Any) -> str:
    answer = platform.http.post(f"/functions/{name}/invoke-durable", json={"payload": payload, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/executions/{answer.json()['id']}"
    return answer.json()["id"]


def look(platform: Platform, execution: str) -> dict[str, Any]:
    answer = platform.http.get(f"/executions/{execution}", params={"limit": 500})
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(platform: Platform, execution: str, status: str, *, within_s: float = 30) -> dict[str, Any]:
    def check() -> dict[str, Any] | None:
        found = look(platform, execution)
        assert found["status"] == status, found
        return found

    return platform.eventually(check, within_s=within_s)


def keys(platform: Platform, name: str, prefix: str) -> list[str]:
    items = platform.http.get(f"/functions/{name}/state", params={"prefix": prefix, "limit": 500}).json()["items"]
    return [item["key"] for item in items]


def marks_of(platform: Platform, name: str) -> Counter[str]:
    return Counter(key.split("/")[1] for key in keys(platform, name, "ran/"))


def test_every_plane_may_be_killed_and_what_is_recorded_ran_once(own_platform):
    platform, steps = own_platform, 6
    platform.deploy("marks", MARKS, timeout_s=30)
    event = {"steps": steps, "step_s": 0.5, "pause_s": 1}
    execution = begin(platform, "marks", event, max_attempts=50, backoff_base_ms=100, backoff_max_ms=200)
    for name in ("comet", "nebula", "postgres", "nova", "comet"):
        before = platform.eventually(lambda: look(platform, execution), within_s=60)
        recorded = {step["name"]: step["output"] for step in before["steps"]["items"] if step["kind"] == "run"}
        ran = platform.eventually(lambda: marks_of(platform, "marks"), within_s=60)
        pid = platform.planes()[name]["pid"]
        os.kill(pid, signal.SIGKILL)
        platform.eventually(lambda name=name, pid=pid: platform.planes()[name]["pid"] not in (pid, None), within_s=30)
        after = platform.eventually(lambda: look(platform, execution), within_s=60)
        kept = {step["name"]: step["output"] for step in after["steps"]["items"]}
        assert {name: kept[name] for name in recorded} == recorded
        again = platform.eventually(lambda: marks_of(platform, "marks"), within_s=60)
        assert all(again[name.split()[1]] == ran[name.split()[1]] for name in recorded)
    done = until(platform, execution, "succeeded", within_s=90)
    assert done["output"] == [step["output"] for step in done["steps"]["items"] if step["kind"] == "run"]
    ran_as = [key.split("/")[2] for key in keys(platform, "marks", "ran/")]
    assert set(done["output"]) <= set(ran_as)  # each recorded result is that of a run that took place
    assert set(marks_of(platform, "marks")) == {str(number) for number in range(steps)}
    print(f"runs of {steps} steps: {dict(marks_of(platform, 'marks'))}")


def test_an_order_waits_for_its_payment_and_is_shipped(platform):
    subprocess.run(
        [Path(sys.executable).with_name("orbit"), "--server", platform.url, "deploy", EXAMPLES / "order-workflow"],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    paid, unpaid = (
        begin(platform, "order-workflow", EVENT),
        begin(platform, "order-workflow", {**EVENT, "order": "B-1", "pay_within_s": 1}),
    )
    until(platform, paid, "suspended")
    assert platform.http.post(f"/executions/{paid}/events/paid", json={"receipt": "R-1"}).status_code == 202
    shipped = until(platform, paid, "succeeded")
    assert {name: shipped["output"][name] for name in ("status", "receipt", "label")} == {
        "status": "shipped",
        "receipt": "R-1",
        "label": "label-A-17",
    }
    assert [(step["kind"], step["name"]) for step in shipped["steps"]["items"]] == [
        ("run", "reserve"),
        ("event", "paid"),
        ("sleep", "pack"),
        ("run", "ship"),
    ]
    assert until(platform, unpaid, "succeeded")["output"]["status"] == "not paid in time"
    stock = platform.http.get("/state/stock/teapot").json()
    assert stock["value"] == {"left": 8, "booked": ["A-17", "B-1", "B-1/back"]} or sorted(stock["value"]["booked"]) == [
        "A-17",
        "B-1",
        "B-1/back",
    ]
    assert stock["value"]["left"] == 8
    begun = look(platform, paid)["created_at"]
    where = "/functions/order-workflow/executions"
    listed = platform.http.get(where, params={"status": "succeeded", "since": begun, "limit": 1}).json()
    assert ([each["id"] for each in listed["items"]], listed["pagination"]["total"]) == ([unpaid], 2)
    assert platform.http.get(where, params={"until": begun}).json()["items"] == []
    assert platform.http.get("/functions/none/executions").status_code == 404


def test_a_year_of_sleep_ends_when_its_time_has_come(own_platform):
    platform = own_platform
    code = "def handler(e, c):\n    c.steps.sleep(366 * 86400, 'long')\n    return 'rested'\n"
    platform.deploy("sleeper", code)
    execution = begin(platform, "sleeper", {})
    asleep = until(platform, execution, "suspended")
    assert asleep["resumes_at"] > asleep["created_at"]
    assert platform.http.get("/executions", params={"status": "queued"}).json()["items"][0]["id"] == execution
    password = (platform.data_dir / "owner.password").read_text().strip()
    dsn = with_credentials((platform.data_dir / "nova.dsn").read_text().strip(), role_of("owner"), password)

    async def a_year_passes() -> None:
        async with connect(dsn, application="tests", max_size=1) as db, db.transaction() as tx:
            await tx.execute("UPDATE execution_steps SET due_at = now()")
            await tx.execute("UPDATE jobs SET run_at = now()")

    anyio.run(a_year_passes)
    assert until(platform, execution, "succeeded")["output"] == "rested"


def test_other_steps_than_the_recorded_ones_fail_the_execution_and_say_why(platform):
    first = (
        "def handler(e, c):\n    c.steps.run('one', lambda: 1)\n    c.steps.wait_for_event('go')\n"
        "    raise ValueError('no')\n"
    )
    platform.deploy("changed", first)
    execution = begin(platform, "changed", {}, max_attempts=2, backoff_base_ms=1)
    until(platform, execution, "suspended")
    other = "def handler(e, c):\n    c.steps.run('other', lambda: 1)\n"
    assert platform.http.put("/functions/changed/code", json={"code": other}).status_code == 200
    platform.eventually(lambda: platform.invoke("changed", {}).json()["version"] == "2")
    assert platform.http.post(f"/executions/{execution}/events/go", json=1).status_code == 202
    done = until(platform, execution, "failed")  # of the version that it began with, whatever is live
    assert (done["version"], done["error"]["type"]) == ("1", "ValueError")
    retry = f"/executions/{execution}/retry"
    assert platform.http.post(retry, params={"qualifier": "7"}).status_code == 404
    assert platform.http.post(retry, params={"qualifier": "$LATEST"}).json()["version"] == "2"
    failed = until(platform, execution, "failed")
    assert failed["error"]["code"] == "steps_diverged"
    assert "step 0 is run 'one' on record and run 'other' now" in failed["error"]["detail"]


def test_a_handler_that_raises_is_tried_again_from_its_record_and_then_failed(platform):
    code = "def handler(e, c):\n    c.steps.run('one', lambda: 1)\n    raise ValueError('no')\n"
    platform.deploy("gives-up", code)
    execution = begin(platform, "gives-up", {}, max_attempts=2, backoff_base_ms=1)
    failed = until(platform, execution, "failed")
    assert (failed["error"]["type"], failed["error"]["message"], failed["attempt"]) == ("ValueError", "no", 2)
    mended = code.replace("raise ValueError('no')", "return 'yes'")
    assert platform.http.put("/functions/gives-up/code", json={"code": mended}).status_code == 200
    platform.eventually(lambda: platform.invoke("gives-up", {}).json()["version"] == "2")
    assert platform.http.post(f"/executions/{execution}/retry", params={"qualifier": "2"}).status_code == 200
    done = until(platform, execution, "succeeded")
    assert (done["output"], done["version"], len(done["steps"]["items"])) == ("yes", "2", 1)


def test_an_execution_of_an_alias_stays_with_the_version_that_it_began_with(platform):
    code = "def handler(e, c):\n    c.steps.wait_for_event('go')\n    return [{}, c.function_version]\n"
    platform.deploy("stays", code.format(1))
    assert platform.http.put("/functions/stays/aliases/prod", json={"version": 1}).status_code == 200
    assert platform.http.put("/functions/stays/code", json={"code": code.format(2)}).status_code == 200
    platform.eventually(lambda: platform.invoke("stays", {}).json()["version"] == "2")
    begun = [begin(platform, "stays:prod", {}), begin(platform, "stays:2", {}), begin(platform, "stays", {})]
    for execution in begun:
        until(platform, execution, "suspended")
    assert platform.http.put("/functions/stays/aliases/prod", json={"version": 2}).status_code == 200
    assert platform.http.put("/functions/stays/code", json={"code": code.format(3)}).status_code == 200
    platform.eventually(lambda: platform.invoke("stays", {}).json()["version"] == "3")
    for execution, version in zip(begun, (1, 2, 2), strict=True):
        assert look(platform, execution)["version"] == str(version)
        assert platform.http.post(f"/executions/{execution}/events/go", json=1).status_code == 202
        assert until(platform, execution, "succeeded")["output"] == [version, str(version)]
    refused = platform.http.post("/functions/stays:gone/invoke-durable", json={})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_a_cancelled_execution_runs_no_more(platform):
    platform.deploy("waits", "def handler(e, c):\n    c.steps.wait_for_event('go')\n    return 1\n")
    execution = begin(platform, "waits", {})
    until(platform, execution, "suspended")
    assert platform.http.post(f"/executions/{execution}/cancel").json()["status"] == "cancelled"
    for path in (f"/executions/{execution}/cancel", f"/executions/{execution}/events/go"):
        assert platform.http.post(path, **({"json": 1} if "events" in path else {})).status_code == 409
    assert look(platform, execution)["status"] == "cancelled"


def test_what_is_asked_for_wrongly_is_refused(platform):
    platform.deploy("plain", "def handler(e, c):\n    c.steps.run('one', lambda: 1)\n")
    error = platform.invoke("plain").json()["error"]
    assert (error["type"], "not a durable execution" in error["message"]) == ("ConstellationError", True)
    assert platform.http.get(f"/executions/{'0' * 8}-0000-7000-8000-{'0' * 12}").status_code == 404
    assert platform.http.post("/functions/nobody/invoke-durable", json={}).status_code == 404
    assert platform.http.post("/functions/plain/invoke-durable", json={"max_attempts": 0}).status_code == 400
    assert platform.http.put("/functions/plain/state/k", json={"value": "x" * (257 << 10)}).status_code == 413
    assert platform.http.get("/functions/plain/state/none").status_code == 404
    assert platform.http.put("/functions/plain/state/k", json={"value": 1, "if_version": 5}).status_code == 409


def test_a_published_message_wakes_who_waits_for_it_whoever_is_killed(own_platform):
    platform = own_platform
    code = (
        "def handler(e, c):\n"
        "    came = c.steps.wait_for_message('orders', key=e['order'], filter={'kind': ['paid', {'prefix': 'gift'}]})\n"
        "    return [came['data'], came['attributes'], came['subject']]\n"
    )
    platform.deploy("shipping", code)
    assert platform.http.post("/topics", json={"name": "orders"}).status_code == 201
    waiting = [begin(platform, "shipping", {"order": order}) for order in ("7", "8")]
    for execution in waiting:
        until(platform, execution, "suspended")
    for name in ("comet", "nebula"):
        pid = platform.planes()[name]["pid"]
        os.kill(pid, signal.SIGKILL)
        platform.eventually(lambda name=name, pid=pid: platform.planes()[name]["pid"] not in (pid, None), within_s=30)

    def publish(data: int, kind: str) -> bool:
        message = {"payload": data, "key": "7", "attributes": {"kind": kind}}
        return platform.http.post("/topics/orders/publish", json=message).status_code in (200, 201, 202)

    platform.eventually(lambda: publish(1, "placed"), within_s=30)
    platform.eventually(lambda: publish(2, "gift.card"), within_s=30)
    os.kill(
        platform.planes()["nebula"]["pid"], signal.SIGKILL
    )  # the message is committed, and so is the end of the wait
    done = until(platform, waiting[0], "succeeded", within_s=60)
    assert done["output"] == [2, {"kind": "gift.card"}, "7"]
    assert [(step["kind"], step["name"], step["status"]) for step in done["steps"]["items"]] == [
        ("message", "orders", "succeeded")
    ]
    assert look(platform, waiting[1])["status"] == "suspended"
