"""Objectives of functions, over the API."""

from __future__ import annotations

import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.access import Role
from constellation.nova.store.invocations import Invocations
from tests.integration.postgres.test_invocations import record

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NONE = {
    "enabled": False, "window_s": 900, "min_samples": 20,
    "objectives": {"success_rate_pct": None, "p95_duration_ms": None, "cold_start_rate_pct": None},
}  # fmt: skip
POLICY = {
    "enabled": True, "window_s": 300, "min_samples": 4,
    "objectives": {"success_rate_pct": 99.5, "p95_duration_ms": 100.0, "cold_start_rate_pct": None},
}  # fmt: skip
SLO = "/functions/f/slo"


async def test_a_policy_is_kept_shown_and_taken_back(nova, db):
    await nova.deploy("f")
    assert (await nova.http.get(SLO, headers=nova.admin())).json() == NONE
    seen = await db.fetch_value("SELECT max(seq) FROM changes")
    put = await nova.http.put(SLO, json=POLICY, headers=nova.admin())
    assert (put.status_code, put.json()) == (200, POLICY)
    assert (await nova.http.get(SLO, headers=nova.admin())).json() == POLICY
    assert await db.fetch_value("SELECT max(seq) FROM changes") == seen  # no call knows of it
    assert (await nova.http.delete(SLO, headers=nova.admin())).json() == NONE
    assert (await nova.http.delete(SLO, headers=nova.admin())).json() == NONE
    assert (await nova.http.get(SLO, headers=nova.admin())).json() == NONE


async def test_status_says_how_the_calls_of_the_window_do(nova, db):
    made = await nova.deploy("f")
    status = (await nova.http.get(SLO + "/status", headers=nova.admin())).json()
    assert (status["state"], status["snapshot"]["success_rate_pct"], status["breaches"]) == ("off", None, [])
    await nova.http.put(SLO, json=POLICY, headers=nova.admin())
    facts = {"function_id": made["id"], "function_name": "f"}
    await Invocations(db).record([record(id=uuid7(), duration_ms=20.0, **facts) for _ in range(3)])
    status = (await nova.http.get(SLO + "/status", headers=nova.admin())).json()
    assert (status["state"], status["has_enough_samples"], status["snapshot"]["calls"]) == ("unknown", False, 3)
    await Invocations(db).record([record(id=uuid7(), status="timeout", duration_ms=500.0, **facts)])
    status = (await nova.http.get(SLO + "/status", headers=nova.admin())).json()
    assert (status["state"], status["has_enough_samples"], status["policy"]) == ("met", True, POLICY)
    assert status["breaches"] == [
        {"objective": "success_rate_pct", "limit": 99.5, "actual": 75.0},
        {"objective": "p95_duration_ms", "limit": 100.0, "actual": 500.0},
    ]
    await nova.http.put(SLO, json=POLICY | {"enabled": False}, headers=nova.admin())
    status = (await nova.http.get(SLO + "/status", headers=nova.admin())).json()
    assert (status["state"], status["breaches"], status["snapshot"]["calls"]) == ("off", [], 4)


async def test_it_goes_with_its_function_and_is_nobody_elses(nova):
    await nova.deploy("f")
    await nova.http.put(SLO, json=POLICY, headers=nova.admin())
    assert (await nova.http.post("/tenants", json={"id": "other"}, headers=nova.admin())).status_code == 201
    for headers in (nova.admin("other"), nova.admin(namespace="empty")):
        for method, path, more in (
            ("get", "", {}),
            ("get", "/status", {}),
            ("put", "", {"json": POLICY}),
            ("delete", "", {}),
        ):
            answer = await getattr(nova.http, method)(SLO + path, headers=headers, **more)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)
    assert (await nova.http.get(SLO, headers=nova.admin())).json() == POLICY
    await nova.http.delete("/functions/f", headers=nova.admin())
    await nova.deploy("f")
    assert (await nova.http.get(SLO, headers=nova.admin())).json() == NONE


async def test_a_viewer_reads_and_does_not_set(nova):
    await nova.deploy("f")
    viewer = nova.member("default", role=Role.VIEWER)
    assert (await nova.http.get(SLO + "/status", headers=viewer)).status_code == 200
    assert (await nova.http.put(SLO, json=POLICY, headers=viewer)).status_code == 403
    assert (await nova.http.delete(SLO, headers=viewer)).status_code == 403


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"objectives": {}}, "objectives"),
        ({"window_s": 59}, "window_s"),
        ({"window_s": 86_401}, "window_s"),
        ({"min_samples": 0}, "min_samples"),
        ({"objectives": {"success_rate_pct": 100.5}}, "objectives.success_rate_pct"),
        ({"objectives": {"p95_duration_ms": 0}}, "objectives.p95_duration_ms"),
        ({"objectives": {"cold_start_rate_pct": -1}}, "objectives.cold_start_rate_pct"),
        ({"objectives": {"latency": 1}}, "objectives.latency"),
    ],
)
async def test_what_means_nothing_is_refused(nova, change, field):
    await nova.deploy("f")
    refused = await nova.http.put(SLO, json=POLICY | change, headers=nova.admin())
    assert (refused.status_code, refused.json()["field"]) == (400, field)
