"""Settings over the API: what is refused, who may, history, conditions, and how fast they hold."""

from __future__ import annotations

from base64 import b64encode

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

KEY = "/settings/builds.timeout"


async def test_a_value_is_set_shown_kept_in_history_and_taken_back(nova):
    first = (await nova.http.get(KEY, headers=nova.admin())).json()
    assert (first["value"], first["source"], first["version"], first["is_set"]) == ("10m", "default", 0, False)
    assert (first["at_least"], first["at_most"], first["planes"]) == ("1s", "1d", ["comet"])

    answer = await nova.http.put(KEY, json={"value": "90s", "note": "slow mirror"}, headers=nova.admin())
    assert answer.status_code == 200, answer.text
    assert (answer.json()["value"], answer.json()["source"], answer.headers["etag"]) == ("90s", "run time", '"1"')
    await nova.http.put(KEY, json={"value": "120s"}, headers=nova.admin())
    again = await nova.http.put(KEY, json={"value": "2m"}, headers=nova.admin())
    assert again.json()["version"] == 2  # the same value in other words is no change

    unset = (await nova.http.delete(KEY, headers=nova.admin())).json()
    assert (unset["value"], unset["version"], unset["is_set"]) == ("10m", 3, False)

    history = (await nova.http.get(f"{KEY}/history", headers=nova.admin())).json()
    assert [(each["version"], each["was"], each["value"], each["note"]) for each in history["items"]] == [
        (3, "2m", None, ""),
        (2, "90s", "2m", ""),
        (1, None, "90s", "slow mirror"),
    ]
    assert history["items"][0]["actor"]
    assert history["pagination"]["total"] == 3

    for version, value in ((1, "90s"), (0, "10m")):
        back = await nova.http.post(f"{KEY}/revert", json={"version": version}, headers=nova.admin())
        assert back.json()["value"] == value
    gone = await nova.http.post(f"{KEY}/revert", json={"version": 77}, headers=nova.admin())
    assert gone.status_code == 404


async def test_an_if_match_that_is_outdated_is_refused_and_changes_nothing(nova):
    seen = (await nova.http.get(KEY, headers=nova.admin())).headers["etag"]
    mine = {**nova.admin(), "if-match": seen}
    assert (await nova.http.put(KEY, json={"value": "1m"}, headers=mine)).status_code == 200
    late = await nova.http.put(KEY, json={"value": "2m"}, headers=mine)
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await nova.http.delete(KEY, headers=mine)).status_code == 412
    assert (await nova.http.post(f"{KEY}/revert", json={"version": 0}, headers=mine)).status_code == 412
    assert (await nova.http.get(KEY, headers=nova.admin())).json()["value"] == "1m"


async def test_of_many_writers_with_one_tag_one_wins(nova):
    statuses: list[int] = []

    async def write(value: str) -> None:
        headers = {**nova.admin(), "if-match": '"0"'}
        statuses.append((await nova.http.put(KEY, json={"value": value}, headers=headers)).status_code)

    async with anyio.create_task_group() as tasks:
        for seconds in range(20, 28):
            tasks.start_soon(write, f"{seconds}s")
    assert sorted(statuses) == [200] + [412] * 7


async def test_what_is_wrong_is_said_with_the_nearest_key_and_the_range(nova):
    unknown = await nova.http.put("/settings/builds.timout", json={"value": "1m"}, headers=nova.admin())
    assert (unknown.status_code, unknown.json()["nearest"]) == (404, "builds.timeout")
    wrong = await nova.http.put(KEY, json={"value": "2d"}, headers=nova.admin())
    assert (wrong.status_code, wrong.json()["code"]) == (422, "setting_invalid")
    assert "at most" in wrong.json()["detail"]
    platforms = await nova.http.put(
        "/settings/audit.retention_days?tenant=default", json={"value": 3}, headers=nova.admin()
    )
    assert platforms.status_code == 400
    missing = await nova.http.put(f"{KEY}?tenant=nobody", json={"value": "1m"}, headers=nova.admin())
    assert missing.status_code == 404


async def test_a_tenant_sees_its_own_and_sets_nothing(nova):
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    await nova.http.put(KEY, json={"value": "50s"}, headers=nova.admin())
    await nova.http.put(f"{KEY}?tenant=acme", json={"value": "40s"}, headers=nova.admin())
    own = nova.member("acme")
    seen = (await nova.http.get(KEY, headers=own)).json()
    assert (seen["tenant"], seen["value"], seen["source"]) == ("acme", "40s", "run time")
    other = (await nova.http.get("/settings/builds.memory", headers=own)).json()
    assert (other["value"], other["is_set"]) == ("2GiB", False)
    listed = (await nova.http.get("/settings", headers=own)).json()["items"]
    assert listed
    assert all(each["per_tenant"] for each in listed)
    assert (await nova.http.get("/settings/audit.retention_days", headers=own)).status_code == 403
    assert (await nova.http.get(f"{KEY}?tenant=default", headers=own)).status_code == 403
    assert (await nova.http.get(f"{KEY}?tenant=", headers=own)).status_code == 403
    assert (await nova.http.put(KEY, json={"value": "1m"}, headers=own)).status_code == 403

    # A deleted tenant's values go, and whoever takes its name has none.
    assert (await nova.http.delete("/tenants/acme", headers=nova.admin())).status_code == 200
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    fresh = (await nova.http.get(f"{KEY}?tenant=acme", headers=nova.admin())).json()
    assert (fresh["value"], fresh["source"], fresh["version"]) == ("50s", "run time (platform)", 0)


async def test_a_limit_of_a_tenant_holds_without_a_restart(nova):
    """The rig lets two builds of a tenant stand in line, and nobody builds."""
    sources = {"main.py": "", "build.sh": "true"}
    files = {path: b64encode(text.encode()).decode() for path, text in sources.items()}
    statuses: list[int] = []

    async def is_refused() -> bool:
        body = {"name": f"built-{len(statuses)}", "runtime": "python", "handler": "main.handler", "files": files}
        statuses.append((await nova.http.post("/functions", json=body, headers=nova.admin())).status_code)
        return statuses[-1] == 429

    while not await is_refused():
        continue
    assert statuses == [201, 201, 429]
    await nova.http.put("/settings/builds.queue_depth?tenant=default", json={"value": 4}, headers=nova.admin())
    with anyio.fail_after(20):
        while statuses.count(201) < 4:
            await is_refused()
    assert await is_refused()
    page = (await nova.http.get("/settings?set=1&tenant=default", headers=nova.admin())).json()
    assert [each["key"] for each in page["items"]] == ["builds.queue_depth"]


async def test_gateways_are_told_the_platforms_values(nova):
    await nova.http.put("/settings/state.max_keys?tenant=default", json={"value": 9}, headers=nova.admin())
    await nova.http.put("/settings/zenith.sockets.max_open", json={"value": 5}, headers=nova.admin())
    seen = (await nova.http.get("/internal/settings", headers=nova.service())).json()
    assert seen == {"values": {"zenith.sockets.max_open": "5"}}
