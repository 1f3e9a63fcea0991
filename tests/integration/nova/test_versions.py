from __future__ import annotations

from collections import Counter

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NEW = "def handler(event, context):\n    return 'new'\n"


async def test_versions_are_listed_compared_and_gone_back_to(nova):
    created = await nova.deploy("hello", env={"A": "1"})
    assert created["live_version"] == 1
    changed = await nova.http.patch(
        "/functions/hello", json={"code": NEW, "memory_mb": 256, "env": {"A": "2"}}, headers=nova.admin()
    )
    assert changed.json()["live_version"] == 2

    listed = (await nova.http.get("/functions/hello/versions?limit=1", headers=nova.admin())).json()
    assert [(each["version"], each["is_live"]) for each in listed["items"]] == [(2, True)]
    assert listed["pagination"]["total"] == 2
    first = (await nova.http.get("/functions/hello/versions/1", headers=nova.admin())).json()
    assert (first["is_live"], first["configuration"]["env"], first["memory_mb"]) == (False, {"A": "1"}, 128)
    code = (await nova.http.get("/functions/hello/versions/2/code", headers=nova.admin())).json()
    assert code["code"] == NEW

    diff = (await nova.http.get("/functions/hello/versions/1/diff/2", headers=nova.admin())).json()
    assert {"field": "memory_mb", "from": 128, "to": 256} in diff["changes"]
    assert [(each["path"], each["state"]) for each in diff["files"]] == [("main.py", "changed")]
    assert "+    return 'new'" in diff["files"][0]["diff"]

    back = await nova.http.post("/functions/hello/rollback", json={}, headers=nova.admin())
    assert (back.json()["live_version"], back.json()["memory_mb"], back.json()["env"]) == (1, 128, {"A": "1"})
    nothing = await nova.http.post("/functions/hello/rollback", json={}, headers=nova.admin())
    assert (nothing.status_code, nothing.json()["code"]) == (409, "state_conflict")
    again = await nova.http.post("/functions/hello/versions/2/activate", headers=nova.admin())
    assert again.json()["live_version"] == 2
    assert (await nova.http.post("/functions/hello/rollback", json={"version": 1}, headers=nova.admin())).json()[
        "live_version"
    ] == 1

    refused = await nova.http.delete("/functions/hello/versions/1", headers=nova.admin())
    assert refused.status_code == 409
    assert (await nova.http.delete("/functions/hello/versions/2", headers=nova.admin())).status_code == 200
    for path in ("versions/2", "versions/2/code", "versions/1/diff/2"):
        assert (await nova.http.get(f"/functions/hello/{path}", headers=nova.admin())).status_code == 404
    for wrong in ("x", "0", "-1", "99999999999"):
        answer = await nova.http.get(f"/functions/hello/versions/{wrong}", headers=nova.admin())
        assert answer.status_code == 400, wrong
    assert (await nova.http.get("/functions/absent/versions", headers=nova.admin())).status_code == 404


async def test_of_two_tenants_with_one_name_neither_sees_the_others_versions(nova):
    await nova.http.post("/tenants", json={"id": "other"}, headers=nova.admin())
    await nova.deploy("hello")
    await nova.deploy("hello", nova.member("other"), memory_mb=512)
    seen = (await nova.http.get("/functions/hello/versions/1", headers=nova.member("other"))).json()
    assert seen["memory_mb"] == 512


async def test_who_read_an_older_function_does_not_change_the_newer_one(nova):
    created = await nova.http.post(
        "/functions", json={"name": "hello", "runtime": "python", "code": NEW}, headers=nova.admin()
    )
    read = await nova.http.get("/functions/hello", headers=nova.admin())
    tag = read.headers["etag"]
    assert tag == created.headers["etag"]
    matching = {**nova.admin(), "if-match": tag}
    statuses: list[int] = []

    async def change(memory_mb: int) -> None:
        answer = await nova.http.patch("/functions/hello", json={"memory_mb": memory_mb}, headers=matching)
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(change, 200 + number)
    assert Counter(statuses) == {200: 1, 412: 7}

    for method, path, body in (
        ("PATCH", "", {"memory_mb": 128}),
        ("PUT", "/code", {"code": NEW + "#"}),
        ("POST", "/versions/1/activate", None),
        ("POST", "/rollback", {}),
        ("DELETE", "", None),
    ):
        answer = await nova.http.request(method, f"/functions/hello{path}", json=body, headers=matching)
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), path
    for unclear in ("5", '"a", b', '"' * 3):
        answer = await nova.http.patch(
            "/functions/hello", json={"memory_mb": 128}, headers={**nova.admin(), "if-match": unclear}
        )
        assert answer.status_code == 400, unclear
    current = (await nova.http.get("/functions/hello", headers=nova.admin())).headers["etag"]
    weak = await nova.http.delete("/functions/hello", headers={**nova.admin(), "if-match": f"W/{current}"})
    assert weak.status_code == 412
    one_of = await nova.http.patch(
        "/functions/hello", json={"memory_mb": 128}, headers={**nova.admin(), "if-match": f'"x", {current}'}
    )
    assert one_of.status_code == 200
    assert one_of.headers["etag"] != current
    gone = await nova.http.delete("/functions/hello", headers={**nova.admin(), "if-match": one_of.headers["etag"]})
    assert gone.status_code == 200


async def test_aliases_are_put_listed_promoted_and_deleted(nova):
    await nova.deploy("hello")
    await nova.http.put("/functions/hello/code", json={"code": NEW}, headers=nova.admin())
    path = "/functions/hello/aliases/prod"
    made = await nova.http.put(path, json={"weights": {"1": 75, "2": 25}, "is_sticky": True}, headers=nova.admin())
    assert (made.status_code, made.json()["weights"], made.json()["is_sticky"]) == (200, {"1": 75, "2": 25}, True)
    assert (await nova.http.get(path, headers=nova.admin())).json() == made.json()
    await nova.http.put("/functions/hello/aliases/dev", json={"version": 2}, headers=nova.admin())
    listed = (await nova.http.get("/functions/hello/aliases?limit=1&offset=1", headers=nova.admin())).json()
    assert ([each["alias"] for each in listed["items"]], listed["pagination"]["total"]) == (["prod"], 2)
    for wrong in (
        {},
        {"version": 1, "weights": {"1": 100}},
        {"weights": {"1": 99}},
        {"weights": {}},
        {"weights": {"x": 100}},
        {"version": 0},
    ):
        assert (await nova.http.put(path, json=wrong, headers=nova.admin())).status_code == 400, wrong
    assert (await nova.http.put(path, json={"version": 9}, headers=nova.admin())).status_code == 404
    assert (
        await nova.http.put("/functions/hello/aliases/7", json={"version": 1}, headers=nova.admin())
    ).status_code == 400
    promoted = await nova.http.post(f"{path}/promote", json={}, headers=nova.admin())
    assert (promoted.json()["weights"], promoted.json()["is_sticky"]) == ({"2": 100}, True)
    back = await nova.http.post(f"{path}/promote", json={"version": 1}, headers=nova.admin())
    assert back.json()["weights"] == {"1": 100}
    assert (await nova.http.delete(path, headers=nova.admin())).json() == {"status": "deleted", "name": "prod"}
    for method in ("GET", "DELETE"):
        assert (await nova.http.request(method, path, headers=nova.admin())).status_code == 404


async def test_a_canary_is_begun_looked_at_and_ended(nova):
    await nova.deploy("hello")
    await nova.http.put("/functions/hello/code", json={"code": NEW}, headers=nova.admin())
    alias, canary = "/functions/hello/aliases/prod", "/functions/hello/canary"
    assert (await nova.http.get(canary, headers=nova.admin())).status_code == 404
    await nova.http.put(alias, json={"version": 1}, headers=nova.admin())
    wanted = {"alias": "prod", "version": 2, "steps": [5, 50]}
    begun = await nova.http.post(canary, json=wanted, headers=nova.admin())
    assert (begun.status_code, begun.json()["state"], begun.json()["percent"]) == (201, "running", 5)
    assert (await nova.http.get(alias, headers=nova.admin())).json()["weights"] == {"1": 95, "2": 5}
    shown = (await nova.http.get(canary, headers=nova.admin())).json()
    assert shown["new"] == {"calls": 0, "errors": 0, "p95_ms": None}
    for method, path, body in (
        ("POST", canary, wanted),
        ("PUT", alias, {"version": 1}),
        ("POST", f"{alias}/promote", {}),
        ("DELETE", alias, None),
        ("DELETE", "/functions/hello/versions/1", None),
    ):
        refused = await nova.http.request(method, path, json=body, headers=nova.admin())
        assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict"), path
    cancelled = await nova.http.post(f"{canary}/cancel", headers=nova.admin())
    assert (cancelled.json()["state"], cancelled.json()["percent"]) == ("cancelled", 0)
    assert (await nova.http.get(alias, headers=nova.admin())).json()["weights"] == {"1": 100}
    assert (await nova.http.post(f"{canary}/promote", headers=nova.admin())).status_code == 409
    await nova.http.post(canary, json=wanted, headers=nova.admin())
    promoted = await nova.http.post(f"{canary}/promote", headers=nova.admin())
    assert (promoted.json()["state"], promoted.json()["percent"]) == ("promoted", 100)
    assert (await nova.http.get(alias, headers=nova.admin())).json()["weights"] == {"2": 100}
    listed = (await nova.http.get("/functions/hello/canaries", headers=nova.admin())).json()["items"]
    assert [each["state"] for each in listed] == ["promoted", "cancelled"]
    for wrong, status in (
        ({"alias": "prod", "version": 2}, 400),
        ({"alias": "prod", "version": 9}, 404),
        ({"alias": "none", "version": 1}, 404),
        ({"alias": "prod", "version": 1, "steps": [50, 10]}, 400),
        ({"alias": "prod", "version": 1, "step_s": 0}, 400),
    ):
        assert (await nova.http.post(canary, json=wrong, headers=nova.admin())).status_code == status, wrong
