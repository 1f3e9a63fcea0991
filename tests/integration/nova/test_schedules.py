from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def make(nova, **body):
    answer = await nova.http.post("/functions/f/schedules", json=body, headers=nova.admin())
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_schedule_knows_its_next_run(nova):
    await nova.deploy("f")
    made = await make(nova, cron=" 30 6 * * * ", time_zone="Asia/Tokyo", input={"a": [1, None]})
    assert made["cron"] == "30 6 * * *"
    assert made["input"] == {"a": [1, None]}
    planned = datetime.fromisoformat(made["next_run_at"])
    assert (planned.hour, planned.minute) == (21, 30)
    assert datetime.now(UTC) < planned <= datetime.now(UTC) + timedelta(days=1)
    assert made["last_run_at"] is None
    assert (await make(nova, cron="@daily"))["input"] is None


async def test_a_schedule_is_changed_paused_and_deleted(nova):
    await nova.deploy("f")
    made = await make(nova, cron="@every 1h", input=1)
    path = f"/functions/f/schedules/{made['id']}"
    paused = (await nova.http.patch(path, json={"enabled": False}, headers=nova.admin())).json()
    assert (paused["enabled"], paused["next_run_at"]) == (False, None)
    bad = await nova.http.patch(path, json={"cron": "61 * * * *"}, headers=nova.admin())
    assert (bad.status_code, bad.json()["field"]) == (400, "cron")
    resumed = (await nova.http.patch(path, json={"enabled": True}, headers=nova.admin())).json()
    assert resumed["next_run_at"] is not None
    same = (await nova.http.patch(path, json={"input": {"x": 1}}, headers=nova.admin())).json()
    assert same["next_run_at"] == resumed["next_run_at"]
    assert same["input"] == {"x": 1}
    moved = (
        await nova.http.patch(path, json={"time_zone": "Europe/Paris", "cron": "@yearly"}, headers=nova.admin())
    ).json()
    assert moved["next_run_at"].endswith("-12-31T23:00:00Z")
    assert (await nova.http.delete(path, headers=nova.admin())).json() == {"status": "deleted", "name": made["id"]}
    assert (await nova.http.delete(path, headers=nova.admin())).status_code == 404


async def test_a_schedule_belongs_to_its_function(nova):
    await nova.deploy("f")
    await nova.deploy("g")
    made = await make(nova, cron="@daily")
    assert (await nova.http.delete(f"/functions/g/schedules/{made['id']}", headers=nova.admin())).status_code == 404
    assert (await nova.http.get("/functions/g/schedules", headers=nova.admin())).json()["items"] == []
    assert (await nova.http.get("/functions/h/schedules", headers=nova.admin())).status_code == 404
    assert (await nova.http.get("/functions/f/schedules", headers=nova.admin())).json()["items"] == [made]
    assert (await nova.http.get("/schedules?limit=1", headers=nova.admin())).json()["pagination"]["total"] == 1
    await nova.http.delete("/functions/f", headers=nova.admin())
    assert (await nova.http.get("/schedules", headers=nova.admin())).json()["items"] == []


async def test_an_input_that_is_no_text_is_refused(nova):
    await nova.deploy("f")
    headers = nova.admin() | {"content-type": "application/json"}
    for raw in (b'{"cron": "@daily", "input": "\xff"}', b'{"cron": "@daily", "input": "\\ud800"}'):
        answer = await nova.http.post("/functions/f/schedules", content=raw, headers=headers)
        assert answer.status_code == 400
