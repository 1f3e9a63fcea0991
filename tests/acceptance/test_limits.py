"""Limits of a tenant on a whole platform: the same for every way in, live at once, and counted over restarts."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from constellation.testing.orbit import OrbitRig
from tests.acceptance.conftest import Platform

TENANT = "pear"
SCOPE = {"X-Nova-Tenant": TENANT, "X-Nova-Namespace": "default"}
ECHO = "def handler(event, context):\n    return event\n"
SLOW = "import time\n\n\ndef handler(event, context):\n    time.sleep(event)\n    return event\n"
CALLS = """
def handler(event, context):
    try:
        return context.invoke("echo", event)
    except Exception as error:
        return str(error)
"""
FAILS_ONCE = """
def handler(event, context):
    tries = context.state.store("tries")
    if tries.get(event["n"]) is None:
        tries.put(event["n"], 1)
        raise ValueError("the first time")
    return event["n"]
"""
WAYS = {
    "invoke": ("POST", "/functions/echo/invoke"),
    "stream": ("POST", "/functions/echo/invoke-stream"),
    "async": ("POST", "/functions/echo/invoke-async"),
    "durable": ("POST", "/functions/echo/invoke-durable"),
    "url": ("GET", "/fn/echo"),
    "open url": ("GET", f"/url/{TENANT}/default/echo"),
}


@pytest.fixture(scope="module")
def orbit(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> OrbitRig:
    rig = OrbitRig(home=tmp_path_factory.mktemp("home"), platform=None, env={"ZENITH_URL": platform.url})
    assert rig.run("tenants", "create", TENANT).code == 0
    platform.deploy("echo", ECHO, headers=SCOPE)
    platform.deploy("calls", CALLS, headers=SCOPE)
    put = platform.http.put("/functions/echo/url", json={"auth": "none"}, headers=SCOPE)
    assert put.status_code == 200, put.text
    assert platform.invoke("echo", 1, headers=SCOPE).json()["output"] == 1
    return rig


def answers(platform: Platform) -> dict[str, tuple[int, str]]:
    """Ask in every way; return the status and the problem's code."""
    found = {}
    for way, (method, path) in WAYS.items():
        if way == "open url":
            answer = httpx.get(platform.url + path, headers={"Via": "1.1 proxy"}, trust_env=False, timeout=20)
        else:
            answer = platform.http.request(method, path, json={} if method == "POST" else None, headers=SCOPE)
        is_problem = answer.headers["content-type"].startswith("application/problem+json")
        found[way] = (answer.status_code, answer.json()["code"] if is_problem else "")
    return found


def used(orbit: OrbitRig) -> dict[str, Any]:
    return {row["dimension"]: row["used"] for row in orbit.run("tenants", "usage", TENANT, "-o", "json").json}


def everywhere(platform: Platform, status: int, code: str) -> bool:
    return set(answers(platform).values()) == {(status, code)}


def test_a_monthly_quota_ends_calls_in_every_way_and_outlives_comet(platform, orbit):
    platform.eventually(lambda: used(orbit)["invocations_per_month"] >= 1)
    before = used(orbit)["invocations_per_month"]
    assert orbit.run("tenants", "limit", TENANT, "invocations_per_month", str(int(before) + 1)).code == 0
    shown = platform.eventually(lambda: _limit_of(orbit) == before + 1)
    assert shown
    # The caller takes the last one, and what it calls is a call of the tenant, too.
    platform.eventually(lambda: "quota" in str(platform.invoke("calls", 1, headers=SCOPE).json().get("output", "")))
    platform.eventually(lambda: everywhere(platform, 429, "quota_exceeded"))
    refused = platform.invoke("echo", 1, headers=SCOPE)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["dimension"] == "invocations_per_month"
    platform.eventually(lambda: used(orbit)["invocations_per_month"] == before + 1)
    pid = platform.planes()["comet"]["pid"]
    os.kill(pid, signal.SIGKILL)
    platform.eventually(lambda: platform.planes()["comet"]["pid"] not in (pid, None))
    platform.eventually(lambda: everywhere(platform, 429, "quota_exceeded"))
    assert used(orbit)["invocations_per_month"] == before + 1
    assert orbit.run("tenants", "limit", TENANT, "invocations_per_month", "tier").code == 0
    platform.eventually(lambda: platform.invoke("echo", 1, headers=SCOPE).status_code == 200)


def _limit_of(orbit: OrbitRig) -> float | None:
    rows = orbit.run("tenants", "usage", TENANT, "-o", "json").json
    return next(row["limit"] for row in rows if row["dimension"] == "invocations_per_month")


def test_a_daily_quota_is_told_from_the_months(platform, orbit):
    platform.eventually(lambda: used(orbit)["invocations_per_day"] >= 1)
    assert orbit.run("tenants", "limit", TENANT, "invocations-per-day", "1").code == 0
    refused = platform.eventually(
        lambda: (answer := platform.invoke("echo", 1, headers=SCOPE)).status_code == 429 and answer
    )
    assert (refused.json()["code"], refused.json()["dimension"]) == ("quota_exceeded", "invocations_per_day")
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400
    assert orbit.run("tenants", "limit", TENANT, "invocations_per_day", "none").code == 0
    platform.eventually(lambda: platform.invoke("echo", 1, headers=SCOPE).status_code == 200)


def test_a_key_has_the_rate_that_its_tenant_lets_each_key_have(platform, orbit):
    made = platform.http.post("/apikeys", json={"name": "plain", "role": "invoker"}, headers=SCOPE)
    assert made.status_code == 201, made.text
    key = {"X-API-Key": made.json()["key"]}
    assert platform.invoke("echo", 1, headers=key).status_code == 200
    assert orbit.run("tenants", "limit", TENANT, "key_invocations_per_s", "0.001", "--burst", "2").code == 0
    refused = platform.eventually(
        lambda: (answer := platform.invoke("echo", 1, headers=key)).status_code == 429 and answer
    )
    assert (refused.json()["code"], refused.json()["rate_per_s"]) == ("rate_limited", 0.001)
    assert platform.http.get("/whoami", headers=key).json()["rate_per_s"] == 0.001
    assert platform.invoke("echo", 1, headers=SCOPE).status_code == 200  # others are not in its bucket
    wanted = {"rate_per_s": 100, "burst": 100}
    assert platform.http.patch("/apikeys/plain", json=wanted, headers=SCOPE).status_code == 200
    platform.eventually(lambda: platform.invoke("echo", 1, headers=key).status_code == 429)  # it may only lower it
    assert orbit.run("tenants", "limit", TENANT, "key_invocations_per_s", "tier").code == 0
    platform.eventually(lambda: platform.invoke("echo", 1, headers=key).status_code == 200)
    assert platform.http.delete("/apikeys/plain", headers=SCOPE).status_code == 200


def test_a_tenant_has_no_more_memory_in_use_than_it_may(platform, orbit):
    wanted = {"memory_mb": 256, "timeout_s": 20, "capacity": {"max_queue_wait_s": 1}}
    for name in ("one", "two"):
        platform.deploy(name, SLOW, headers=SCOPE, **wanted)
    assert orbit.run("tenants", "limit", TENANT, "memory_mb", "500").code == 0
    platform.eventually(lambda: platform.invoke("one", 0, headers=SCOPE).status_code == 200)
    platform.eventually(
        lambda: platform.invoke("two", 0, headers=SCOPE).status_code == 200
    )  # in the place of the first
    with ThreadPoolExecutor(1) as other:
        busy = other.submit(platform.invoke, "one", 3, headers=SCOPE)
        refused = platform.eventually(
            lambda: (answer := platform.invoke("two", 0, headers=SCOPE)).status_code == 429 and answer
        )
        assert (refused.json()["code"], refused.json()["dimension"]) == ("quota_exceeded", "memory_mb")
        assert busy.result().status_code == 200
    grown = platform.http.patch("/functions/one", json={"memory_mb": 512}, headers=SCOPE)
    assert (grown.status_code, grown.json()["dimension"]) == (429, "memory_mb")
    assert orbit.run("tenants", "limit", TENANT, "memory_mb", "none").code == 0


def test_a_tenant_with_a_seed_is_called_by_its_own_program(platform, orbit):
    assert orbit.run("tenants", "create", "sown", "--seed").code == 0
    made = orbit.run("--tenant", "sown", "keys", "create", "ci", "--service-account", "invoker", "-o", "json")
    assert made.code == 0, made.out
    key = {"X-API-Key": made.json["key"]}
    answer = platform.invoke("hello-python", {"name": "Ada"}, headers=key)
    assert (answer.status_code, answer.json().get("output")) == (200, {"message": "Hello, Ada!"})
    assert platform.http.delete("/functions/hello-python", headers=key).status_code == 403
    assert orbit.run("tenants", "delete", "sown", "--yes").code == 0


def test_all_callers_of_a_tenant_share_its_rate_and_others_do_not(platform, orbit):
    platform.deploy("echo", ECHO)
    assert orbit.run("tiers", "set", "slow", "--limit", "invocations_per_s=0.001:2").code == 0
    assert "slow" in orbit.run("tiers", "list").out
    assert orbit.run("tenants", "tier", TENANT, "slow").code == 0
    refused = platform.eventually(
        lambda: (answer := platform.invoke("echo", 1, headers=SCOPE)).status_code == 429 and answer
    )
    assert refused.json()["code"] == "tenant_rate_limited"
    assert int(refused.headers["retry-after"]) > 1
    assert platform.invoke("echo", 1).status_code == 200
    url = platform.http.get("/fn/echo", headers=SCOPE)
    assert (url.status_code, url.json()["code"]) == (429, "tenant_rate_limited")
    accepted = platform.http.post("/functions/echo/invoke-async", json={}, headers=SCOPE)
    assert accepted.status_code == 202, accepted.text  # it waits for its turn
    assert orbit.run("tenants", "tier", TENANT, "unlimited").code == 0
    platform.eventually(lambda: platform.invoke("echo", 1, headers=SCOPE).status_code == 200)
    assert orbit.run("tiers", "delete", "slow", "--yes").code == 0


def test_messages_have_a_rate_and_the_queue_a_depth(platform, orbit):
    http = platform.http
    assert http.post("/topics", json={"name": "t"}, headers=SCOPE).status_code == 201
    for dimension, limit, more in (("publishes_per_s", "0.001", ("--burst", "2")), ("queue_depth", "0", ())):
        assert orbit.run("tenants", "limit", TENANT, dimension, limit, *more).code == 0
    publish = lambda: http.post("/topics/t/publish", json={"payload": 1}, headers=SCOPE)  # noqa: E731
    refused = platform.eventually(lambda: (answer := publish()).status_code == 429 and answer)
    assert refused.json()["code"] == "tenant_rate_limited"
    assert refused.json()["dimension"] == "publishes_per_s"
    full = platform.eventually(
        lambda: (
            (answer := http.post("/functions/echo/invoke-async", json={}, headers=SCOPE)).status_code == 429 and answer
        )
    )
    assert (full.json()["code"], full.json()["dimension"]) == ("quota_exceeded", "queue_depth")
    for dimension in ("publishes_per_s", "queue_depth"):
        assert orbit.run("tenants", "limit", TENANT, dimension, "none").code == 0
    platform.eventually(lambda: publish().status_code == 201)


def test_a_suspended_tenant_is_refused_in_every_way_and_loses_nothing(platform, orbit):
    platform.deploy("once", FAILS_ONCE, headers=SCOPE)
    job = platform.http.post("/functions/once/invoke-async", json={"payload": {"n": "a"}}, headers=SCOPE).json()
    path = f"/async-invocations/{job['id']}"
    made = platform.http.post("/sandboxes", json={}, headers=SCOPE)
    box = f"/sandboxes/{made.json()['id']}" if made.status_code == 201 else None  # not every host has any
    platform.eventually(lambda: platform.http.get(path, headers=SCOPE).json()["attempt"] >= 1)
    assert orbit.run("tenants", "suspend", TENANT).code == 0
    platform.eventually(lambda: everywhere(platform, 403, "tenant_suspended"), within_s=5)
    assert platform.http.get("/functions/echo", headers=SCOPE).status_code == 200
    assert platform.http.post("/topics/t/publish", json={"payload": 1}, headers=SCOPE).status_code == 403
    if box is not None:
        platform.eventually(lambda: platform.http.get(box, headers=SCOPE).json()["state"] == "paused")
        assert platform.http.get(box + "/processes", headers=SCOPE).status_code == 403
    assert orbit.run("tenants", "activate", TENANT).code == 0
    platform.eventually(lambda: platform.http.get(path, headers=SCOPE).json()["status"] == "succeeded")
    platform.eventually(lambda: platform.invoke("echo", 1, headers=SCOPE).status_code == 200)
    if box is not None:
        platform.eventually(lambda: platform.http.get(box, headers=SCOPE).json()["state"] == "running")
        assert platform.http.delete(box, headers=SCOPE).status_code == 200


def test_sandboxes_are_no_way_round_the_quotas_of_memory_and_cpu(platform, orbit):
    """They count with the instances of functions, before and after comet is killed, until they are gone."""

    def make(**wanted: Any) -> httpx.Response:
        return platform.http.post("/sandboxes", json=small | wanted, headers=SCOPE)

    def ask(sandbox: Any, path: str) -> httpx.Response:
        return platform.http.post(f"/sandboxes/{sandbox['id']}/{path}", json={}, headers=SCOPE)

    small = {"memory_mb": 100, "disk_mb": 50, "cpu_millis": 500}
    platform.deploy("other", ECHO, headers=SCOPE)  # with 128 MiB and a core
    assert orbit.run("tenants", "limit", TENANT, "memory_mb", "400").code == 0
    assert platform.eventually(lambda: platform.invoke("echo", 1, headers=SCOPE)).status_code == 200
    first = make()
    assert first.status_code == 201, first.text
    second = make()  # it takes the place of the instance that is idle now
    assert second.status_code == 201, second.text
    refused = make()
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert {name: refused.json()[name] for name in ("dimension", "used", "limit")} == {
        "dimension": "memory_mb",
        "used": 450,
        "limit": 400,
    }
    assert int(refused.headers["retry-after"]) >= 1
    assert ask(first.json(), "fork").json()["code"] == "quota_exceeded"
    called = platform.invoke("other", 1, headers=SCOPE)
    assert (called.status_code, called.json()["dimension"]) == (429, "memory_mb")
    pid = platform.planes()["comet"]["pid"]
    os.kill(pid, signal.SIGKILL)
    platform.eventually(lambda: platform.planes()["comet"]["pid"] not in (pid, None))
    assert platform.eventually(lambda: (again := make()).status_code == 429 and again).json()["used"] == 450
    assert orbit.run("tenants", "limit", TENANT, "memory_mb", "none").code == 0
    assert orbit.run("tenants", "limit", TENANT, "vcpu_milli", "1000").code == 0
    assert ask(first.json(), "pause").json()["state"] == "paused"  # it needs no CPU, and keeps its memory
    third = make()
    assert third.status_code == 201, third.text
    resumed = ask(first.json(), "resume")
    assert (resumed.status_code, resumed.json()["dimension"], resumed.json()["used"]) == (429, "vcpu_milli", 1500)
    for each in (second, third):
        assert platform.http.delete(f"/sandboxes/{each.json()['id']}", headers=SCOPE).status_code == 200
    assert ask(first.json(), "resume").json()["state"] == "running"
    assert platform.http.delete(f"/sandboxes/{first.json()['id']}", headers=SCOPE).status_code == 200
    assert orbit.run("tenants", "limit", TENANT, "vcpu_milli", "none").code == 0
    platform.eventually(lambda: platform.invoke("other", 1, headers=SCOPE).status_code == 200)
