"""Versions, aliases and who runs what, on a whole platform through zenith."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.acceptance.conftest import Platform

ORBIT = Path(sys.executable).with_name("orbit")
CODE = "def handler(event, context):\n    return {{'code': {0}, 'version': context.function_version}}\n"
CALLS = 2000


def orbit(platform: Platform, *args: str) -> str:
    return subprocess.run(
        [ORBIT, *args, "--server", platform.url], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def put(platform: Platform, name: str, code: int) -> dict[str, object]:
    answer = platform.http.put(f"/functions/{name}/code", json={"code": CODE.format(code)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def alias(platform: Platform, name: str, **body: object) -> None:
    answer = platform.http.put(f"/functions/{name}/aliases/prod", json=body)
    assert answer.status_code == 200, answer.text


def version_of(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-nova-version"] == answer.json()["version"]
    return int(answer.json()["version"])


def runs(platform: Platform, name: str, **options: object) -> int:
    return version_of(platform.invoke(name, {}, **options))


def test_back_past_fifty_versions_to_code_and_configuration(platform: Platform) -> None:
    platform.deploy("back", CODE.format(0), env={"A": "1"})
    for number in range(1, 56):
        put(platform, "back", number)
    assert platform.http.patch("/functions/back", json={"env": {"A": "2"}}).json()["live_version"] == 57
    platform.eventually(lambda: runs(platform, "back") == 57)
    assert platform.output("back", {}) == {"code": 55, "version": "57"}
    read = platform.http.get("/functions/back")

    assert "back is version 1 again" in orbit(platform, "rollback", "back", "1")
    platform.eventually(lambda: runs(platform, "back") == 1)
    assert platform.output("back", {}) == {"code": 0, "version": "1"}
    now = platform.http.get("/functions/back").json()
    assert (now["env"], now["live_version"]) == ({"A": "1"}, 1)
    late = platform.http.patch("/functions/back", json={"memory_mb": 256}, headers={"if-match": read.headers["etag"]})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert put(platform, "back", 99)["live_version"] == 58
    platform.eventually(lambda: runs(platform, "back") == 58)
    # A policy is a version too, and its instances are those of before.
    policy = platform.http.patch("/functions/back", json={"max_replicas": 3}).json()
    assert policy["live_version"] == 59
    platform.eventually(lambda: runs(platform, "back") == 59)
    assert not platform.invoke("back", {}).json()["cold_start"]
    listed = orbit(platform, "versions", "list", "back", "--limit", "3")
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["59", "58", "57"]
    assert "+    return {'code': 1," in orbit(platform, "versions", "diff", "back", "1", "2")
    logged = platform.eventually(lambda: platform.http.get("/functions/back/invocations?limit=1").json()["items"])
    assert logged[0]["function_version"] in (58, 59)


def test_an_alias_divides_calls_as_it_says_whatever_is_deployed(platform: Platform) -> None:
    platform.deploy("split", CODE.format(1))
    put(platform, "split", 2)
    alias(platform, "split", weights={"1": 90, "2": 10})
    put(platform, "split", 3)
    platform.eventually(lambda: runs(platform, "split") == 3)
    platform.eventually(lambda: platform.invoke("split:prod", {}).status_code == 200)
    for ways in (
        {"params": {"qualifier": "prod"}},
        {"headers": {"x-nova-qualifier": "prod"}},
    ):
        assert runs(platform, "split", **ways) in (1, 2)
    assert runs(platform, "split:prod") in (1, 2)
    assert runs(platform, "split:2") == 2
    assert runs(platform, "split", headers={"x-nova-qualifier": "1"}) == 1
    url = platform.http.get("/fn/split:2")
    assert (url.headers["x-nova-version"], url.json()) == ("2", {"code": 2, "version": "2"})
    for unknown in ("4", "0", "stage", "prod2"):
        answer = platform.invoke(f"split:{unknown}", {})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), unknown

    with ThreadPoolExecutor(8) as threads:
        ran = Counter(
            threads.map(lambda _: runs(platform, "split", headers={"x-nova-qualifier": "prod"}), range(CALLS))
        )
    # Five standard deviations: one run in two million lies outside.
    bound = 5 * math.sqrt(CALLS * 0.1 * 0.9)
    assert set(ran) == {1, 2}
    assert abs(ran[2] - CALLS * 0.1) < bound, ran

    assert platform.http.delete("/functions/split/versions/1").status_code == 409  # an alias names it
    promoted = platform.http.post("/functions/split/aliases/prod/promote", json={})
    assert promoted.json()["weights"] == {"2": 100}
    platform.eventually(lambda: all(runs(platform, "split:prod") == 2 for _ in range(20)))
    assert orbit(platform, "alias", "set", "split", "prod", "1=50", "3=50").strip() == "split:prod is 1=50%, 3=50%"
    assert "3=50%" in orbit(platform, "alias", "list", "split")
    assert platform.http.delete("/functions/split/aliases/prod").status_code == 200
    platform.eventually(lambda: platform.invoke("split:prod", {}).status_code == 404)


def test_a_sticky_alias_gives_a_key_one_version(platform: Platform) -> None:
    platform.deploy("sticky", CODE.format(1))
    put(platform, "sticky", 2)
    alias(platform, "sticky", weights={"1": 50, "2": 50}, is_sticky=True)
    platform.eventually(lambda: platform.invoke("sticky:prod", {}).status_code == 200)
    by_key: dict[str, int] = {}
    for number in range(40):
        key = f"user-{number}"
        header = {"x-nova-qualifier": "prod", "x-nova-sticky": key}
        cookie = {"x-nova-qualifier": "prod", "cookie": f"a=b; nova-sticky={key}"}
        found = {runs(platform, "sticky", headers=each) for each in (header, header, cookie)}
        assert len(found) == 1, key
        by_key[key] = found.pop()
    assert set(by_key.values()) == {1, 2}
    alias(platform, "sticky", weights={"1": 20, "2": 80}, is_sticky=True)
    old = [key for key, version in by_key.items() if version == 1]

    def moved() -> bool:
        return any(
            runs(platform, "sticky", headers={"x-nova-qualifier": "prod", "x-nova-sticky": key}) == 2 for key in old
        )

    platform.eventually(moved)
    for key, version in by_key.items():
        if version == 2:  # who has the growing version keeps it
            assert runs(platform, "sticky", headers={"x-nova-qualifier": "prod", "x-nova-sticky": key}) == 2


def test_a_canary_goes_back_from_a_bad_version_and_on_to_a_good_one(platform: Platform) -> None:
    platform.deploy("canary", CODE.format(1))
    bad = "def handler(event, context):\n    raise ValueError('bad')\n"
    assert platform.http.put("/functions/canary/code", json={"code": bad}).status_code == 200
    put(platform, "canary", 3)
    alias(platform, "canary", version=1)

    def ends(version: int) -> dict[str, object]:
        wanted = {
            "alias": "prod",
            "version": version,
            "steps": [50],
            "step_s": 1,
            "min_calls": 5,
            "max_p95_ratio": 1000,
        }
        begun = platform.http.post("/functions/canary/canary", json=wanted)
        assert begun.status_code == 201, begun.text

        def ended() -> dict[str, object] | None:
            for _ in range(10):
                platform.invoke("canary:prod", {})
            now = platform.http.get("/functions/canary/canary").json()
            return now if now["state"] != "running" else None

        return platform.eventually(ended, within_s=30)

    back = ends(2)
    assert back["state"] == "rolled_back", back
    assert "calls of version 2 failed" in str(back["reason"])
    platform.eventually(lambda: all(runs(platform, "canary:prod") == 1 for _ in range(10)))
    assert ends(3)["state"] == "promoted"
    platform.eventually(lambda: all(runs(platform, "canary:prod") == 3 for _ in range(10)))
    assert "promoted" in orbit(platform, "canary", "list", "canary")


def test_calls_that_run_later_ask_for_their_version_when_they_run(platform: Platform) -> None:
    platform.deploy("later", CODE.format(1))
    put(platform, "later", 2)
    alias(platform, "later", version=1)
    platform.eventually(lambda: runs(platform, "later:prod") == 1)
    assert platform.http.post("/functions/later/async-invocations/pause").status_code == 200
    event = {"x-nova-invocation-type": "Event"}
    accepted = [
        platform.http.post("/functions/later:1/invoke-async", json={}),
        platform.http.post("/functions/later/invoke-async", params={"qualifier": "prod"}, json={}),
        platform.invoke("later:prod", {}, headers=event),
        platform.invoke("later", {}, headers={**event, "x-nova-qualifier": "1"}),
        platform.http.post("/functions/later/invoke-async", json={}),
    ]
    assert [answer.status_code for answer in accepted] == [202] * 5, [answer.text for answer in accepted]
    alias(platform, "later", version=2)
    platform.eventually(lambda: runs(platform, "later:prod") == 2)
    put(platform, "later", 3)
    platform.eventually(lambda: runs(platform, "later") == 3)
    assert platform.http.post("/functions/later/async-invocations/resume").status_code == 200
    wanted = [(1, "1"), (2, "prod"), (2, "prod"), (1, "1"), (3, "")]
    for answer, (version, qualifier) in zip(accepted, wanted, strict=True):
        path = f"/async-invocations/{answer.json()['id']}"

        def output(path: str = path) -> dict[str, object] | None:
            job = platform.http.get(path).json()
            return job if job["status"] == "succeeded" else None

        job = platform.eventually(output)
        assert (job["output"]["version"], job["qualifier"]) == (str(version), qualifier)
    missing = [
        platform.http.post("/functions/later:gone/invoke-async", json={}),
        platform.invoke("later:77", {}, headers=event),
    ]
    assert [answer.status_code for answer in missing] == [404, 404]


def test_a_schedule_fires_the_version_that_it_names(platform: Platform) -> None:
    platform.deploy("timed", CODE.format(1))
    put(platform, "timed", 2)
    alias(platform, "timed", version=1)
    assert "timed:prod" in orbit(platform, "schedules", "create", "timed:prod", "@every 1s")
    (schedule,) = platform.http.get("/functions/timed/schedules").json()["items"]
    assert schedule["qualifier"] == "prod"

    def fired(version: int) -> bool:
        jobs = platform.http.get("/functions/timed/async-invocations", params={"status": "succeeded"}).json()["items"]
        return any(job["output"]["version"] == str(version) and job["qualifier"] for job in jobs)

    platform.eventually(lambda: fired(1))
    alias(platform, "timed", version=2)
    platform.eventually(lambda: fired(2))
    path = f"/functions/timed/schedules/{schedule['id']}"
    refused = platform.http.patch(path, json={"qualifier": "gone"})
    assert (refused.status_code, refused.json()["field"]) == (400, "qualifier")
    assert platform.http.patch(path, json={"qualifier": "1", "enabled": False}).json()["qualifier"] == "1"
    assert platform.http.patch(path, json={"qualifier": "$LATEST"}).json()["qualifier"] == ""


def test_an_execution_begins_with_what_was_deployed_the_moment_before(platform: Platform) -> None:
    platform.deploy("moment", CODE.format(0))
    for number in range(1, 6):
        live = put(platform, "moment", number)["live_version"]
        begun = platform.http.post("/functions/moment/invoke-durable", json={})
        assert (begun.status_code, begun.json()["version"]) == (202, str(live)), begun.text
    where = f"/executions/{begun.json()['id']}"
    done = platform.eventually(lambda: (e := platform.http.get(where).json())["status"] == "succeeded" and e)
    assert done["output"] == {"code": 5, "version": str(live)}
    unknown = platform.http.post("/functions/moment/invoke-durable", params={"qualifier": "none"}, json={})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_a_subscription_delivers_to_the_version_that_it_names(platform: Platform) -> None:
    code = "def handler(e, c):\n    c.state.store('ran').put(f'{{e[\"id\"]}}/{0}/{{c.function_version}}', 1)\n"
    platform.deploy("taker", code.format("one"))
    assert platform.http.put("/functions/taker/code", json={"code": code.format("two")}).status_code == 200
    alias(platform, "taker", weights={"1": 100})
    assert platform.http.post("/topics", json={"name": "named"}).status_code == 201
    orbit(platform, "subscriptions", "create", "to-prod", "--topic", "named", "--function", "taker:prod")
    orbit(platform, "subscriptions", "create", "to-live", "--topic", "named", "--function", "taker")
    for unknown in ("taker:9", "taker:stage"):
        body = {"name": "to-none", "function": unknown}
        refused = platform.http.post("/topics/named/subscriptions", json=body)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    bad = platform.http.post("/topics/named/subscriptions", json={"name": "to-none", "function": "taker:"})
    assert (bad.status_code, bad.json()["field"]) == (400, "function")
    assert platform.http.get("/subscriptions/to-prod").json()["function"] == "taker:prod"
    assert len(platform.http.get("/subscriptions", params={"function": "taker"}).json()["items"]) == 2

    def published() -> set[str]:
        sent = platform.http.post("/topics/named/publish", json={"payload": 1}).json()
        assert sent["deliveries"] == 2

        def ran() -> set[str] | None:
            found = platform.http.get("/state/ran", params={"prefix": sent["id"]}).json()["items"]
            return {each["key"].partition("/")[2] for each in found} if len(found) == 2 else None

        return platform.eventually(ran)

    assert published() == {"one/1", "two/2"}
    orbit(platform, "subscriptions", "update", "to-live", "--function", "taker:1")
    alias(platform, "taker", weights={"2": 100})
    platform.eventually(lambda: published() == {"two/2", "one/1"})
