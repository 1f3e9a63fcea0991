"""Who may call a function, over the API."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

OPEN = {"callers": [], "functions": [], "allow": [], "deny": []}
POLICY = {
    "callers": ["api", "function"], "functions": ["order-*"], "allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.9.0.0/16"],
}  # fmt: skip


async def test_a_policy_is_kept_shown_and_taken_back(nova, db):
    await nova.deploy("f")
    assert (await nova.http.get("/functions/f/ingress", headers=nova.admin())).json() == OPEN
    seen = await db.fetch_value("SELECT max(seq) FROM changes")
    put = await nova.http.put("/functions/f/ingress", json=POLICY, headers=nova.admin())
    assert (put.status_code, put.json()) == (200, POLICY)
    rows = await db.fetch("SELECT kind, name FROM changes WHERE seq > $1", seen)
    assert [(row["kind"], row["name"]) for row in rows] == [("function", "f")]
    await nova.http.patch("/functions/f", json={"memory_mb": 256}, headers=nova.admin())
    assert (await nova.http.get("/functions/f/ingress", headers=nova.admin())).json() == POLICY
    assert (await nova.http.delete("/functions/f/ingress", headers=nova.admin())).json() == OPEN
    assert (await nova.http.get("/functions/f/ingress", headers=nova.admin())).json() == OPEN


async def test_it_goes_with_its_function(nova):
    await nova.deploy("f")
    await nova.http.put("/functions/f/ingress", json=POLICY, headers=nova.admin())
    await nova.http.delete("/functions/f", headers=nova.admin())
    for method, more in (("get", {}), ("delete", {}), ("put", {"json": POLICY})):
        gone = await getattr(nova.http, method)("/functions/f/ingress", headers=nova.admin(), **more)
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found"), method
    await nova.deploy("f")
    assert (await nova.http.get("/functions/f/ingress", headers=nova.admin())).json() == OPEN


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"callers": ["anybody"]}, None),
        ({"callers": ["api", "api"]}, "callers"),
        ({"callers": ["api"], "functions": ["a"]}, "functions"),
        ({"functions": ["a*b"]}, "functions"),
        ({"allow": ["10.0.0.1/8"]}, "allow"),
        ({"deny": ["somewhere"]}, "deny"),
        ({"unknown": []}, None),
    ],
)
async def test_what_means_nothing_is_refused(nova, body, field):
    await nova.deploy("f")
    refused = await nova.http.put("/functions/f/ingress", json=body, headers=nova.admin())
    assert refused.status_code == 400
    if field is not None:
        assert refused.json()["field"] == field
