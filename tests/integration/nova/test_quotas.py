"""Tiers, quotas and usage over HTTP: who may see and who may set them, and what is refused beyond them."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def ask(nova, method: str, path: str, body=None, *, headers=None, status: int = 200):
    answer = await nova.http.request(method, path, json=body, headers=headers or nova.admin())
    assert answer.status_code == status, answer.text
    return answer.json()


async def quotas_of(nova, tenant: str, *, headers=None) -> dict[str, tuple]:
    items = (await ask(nova, "GET", f"/tenants/{tenant}/quotas", headers=headers))["items"]
    return {item["dimension"]: (item["limit"], item["burst"], item["source"]) for item in items}


async def test_a_tenant_has_its_tiers_limits_and_its_own_instead(nova):
    made = await ask(nova, "POST", "/tenants", {"id": "acme", "tier": "free"}, status=201)
    assert made["tier"] == "free"
    assert (await ask(nova, "POST", "/tenants", {"id": "other"}, status=201))["tier"] == "standard"
    free = await quotas_of(nova, "acme")
    assert free["functions"] == (25, 0, "tier")
    assert free["invocations_per_s"] == (20, 40, "tier")
    own = await ask(nova, "PUT", "/tenants/acme/quotas/invocations-per-s", {"limit": 0.5, "burst": 2})
    assert (own["dimension"], own["limit"], own["burst"], own["source"]) == ("invocations_per_s", 0.5, 2, "tenant")
    await ask(nova, "PUT", "/tenants/acme/quotas/functions", {"limit": None})
    changed = await quotas_of(nova, "acme", headers=nova.member("acme"))
    assert changed["functions"] == (None, 0, "tenant")
    back = await ask(nova, "DELETE", "/tenants/acme/quotas/functions")
    assert (back["limit"], back["source"]) == (25, "tier")
    await ask(nova, "DELETE", "/tenants/acme/quotas/functions", status=404)
    moved = await ask(nova, "PATCH", "/tenants/acme", {"tier": "unlimited"})
    assert moved["tier"] == "unlimited"
    after = await quotas_of(nova, "acme")
    assert after.pop("invocations_per_s") == (0.5, 2, "tenant")
    assert set(after.values()) == {(None, 0, "none")}
    assert set((await quotas_of(nova, "default")).values()) == {(None, 0, "none")}


async def test_tiers_are_listed_changed_and_deleted(nova):
    body = {"description": "few", "limits": [{"dimension": "functions", "limit": 2}]}
    made = await ask(nova, "PUT", "/tiers/tiny", body)
    assert made["limits"] == [{"dimension": "functions", "limit": 2, "burst": 0}]
    await ask(nova, "POST", "/tenants", {"id": "acme", "tier": "tiny"}, status=201)
    assert (await quotas_of(nova, "acme"))["functions"] == (2, 0, "tier")
    await ask(nova, "PUT", "/tiers/tiny", {"limits": [{"dimension": "publishes_per_s", "limit": 5, "burst": 9}]})
    tiny = await quotas_of(nova, "acme")
    assert (tiny["functions"], tiny["publishes_per_s"]) == ((None, 0, "none"), (5, 9, "tier"))
    names = [tier["name"] for tier in (await ask(nova, "GET", "/tiers", headers=nova.member("acme")))["items"]]
    assert names == ["free", "premium", "standard", "tiny", "unlimited"]
    page = await ask(nova, "GET", "/tiers?limit=2&offset=1")
    assert [tier["name"] for tier in page["items"]] == ["premium", "standard"]
    assert page["pagination"]["total"] == 5
    assert (await ask(nova, "DELETE", "/tiers/tiny", status=409))["code"] == "state_conflict"
    await ask(nova, "DELETE", "/tiers/standard", status=409)
    await ask(nova, "PATCH", "/tenants/acme", {"tier": "free"})
    await ask(nova, "DELETE", "/tiers/tiny")
    await ask(nova, "DELETE", "/tiers/tiny", status=404)


async def test_what_is_no_limit_is_refused(nova):
    await ask(nova, "POST", "/tenants", {"id": "acme"}, status=201)
    refused = [
        ("/tenants/acme/quotas/speed", {"limit": 1}),
        ("/tenants/acme/quotas/functions", {"limit": -1}),
        ("/tenants/acme/quotas/functions", {"limit": 1.5}),
        ("/tenants/acme/quotas/functions", {"limit": 1, "burst": 2}),
        ("/tenants/acme/quotas/functions", {}),
        ("/tenants/acme/quotas/invocations_per_s", {"limit": 0}),
        ("/tenants/acme/quotas/publishes_per_s", {"limit": None, "burst": 2}),
        ("/tenants/acme/quotas/concurrent_invocations", {"limit": 0}),
        ("/tiers/Tiny", {"limits": []}),
        ("/tiers/tiny", {"limits": [{"dimension": "functions", "limit": 1}, {"dimension": "functions", "limit": 2}]}),
        ("/tiers/tiny", {"limits": [{"dimension": "speed", "limit": 1}]}),
    ]
    for path, body in refused:
        assert (await ask(nova, "PUT", path, body, status=400))["code"] == "invalid_request", (path, body)
    await ask(nova, "PUT", "/tenants/acme/quotas/functions", {"limit": 0})
    await ask(nova, "PUT", "/tenants/absent/quotas/functions", {"limit": 1}, status=404)
    await ask(nova, "GET", "/tenants/absent/usage", status=404)
    assert (await ask(nova, "POST", "/tenants", {"id": "x", "tier": "no"}, status=400))["field"] == "tier"
    assert (await ask(nova, "PATCH", "/tenants/acme", {"tier": "no"}, status=400))["field"] == "tier"


async def test_only_the_platforms_administrators_set_limits(nova):
    await ask(nova, "POST", "/tenants", {"id": "acme"}, status=201)
    acme = nova.member("acme")
    for method, path, body in [
        ("PUT", "/tenants/acme/quotas/functions", {"limit": 9}),
        ("DELETE", "/tenants/acme/quotas/functions", None),
        ("PUT", "/tiers/standard", {}),
        ("DELETE", "/tiers/free", None),
        ("PATCH", "/tenants/acme", {"tier": "unlimited"}),
    ]:
        assert (await ask(nova, method, path, body, headers=acme, status=403))["code"] == "forbidden", path
    for path in ("/tenants/default/quotas", "/tenants/default/usage"):
        await ask(nova, "GET", path, headers=acme, status=403)
    await ask(nova, "GET", "/tenants/acme/usage", headers=acme)


async def test_functions_beyond_a_quota_are_refused_and_usage_says_why(nova):
    await ask(nova, "POST", "/tenants", {"id": "acme"}, status=201)
    await ask(nova, "PUT", "/tenants/acme/quotas/functions", {"limit": 1})
    await ask(nova, "PUT", "/tenants/acme/quotas/memory_mb", {"limit": 200})
    acme = nova.member("acme")
    await nova.deploy("one", acme)
    body = {"name": "two", "runtime": "python", "code": "def handler(event, context): pass"}
    refused = await nova.http.post("/functions", json=body, headers=acme)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert {refused.json()[name] for name in ("dimension", "used", "limit")} == {"functions", 2, 1}
    grown = await nova.http.patch("/functions/one", json={"memory_mb": 256}, headers=acme)
    assert (grown.status_code, grown.json()["dimension"]) == (429, "memory_mb")
    assert (await nova.http.patch("/functions/one", json={"memory_mb": 200}, headers=acme)).status_code == 200
    items = (await ask(nova, "GET", "/tenants/acme/usage", headers=acme))["items"]
    used = {item["dimension"]: (item["used"], item["limit"]) for item in items}
    assert used["functions"] == (1, 1)
    assert used["memory_mb"] == (None, 200)
    assert used["invocations_per_s"] == (None, 1000)
    assert used["invocations_per_month"] == (0, None)
    resets = {item["dimension"]: item["resets_at"] for item in items if item["resets_at"]}
    assert set(resets) == {"invocations_per_day", "invocations_per_month"}
    assert resets["invocations_per_day"] <= resets["invocations_per_month"]


async def test_a_tenant_with_a_seed_is_of_use_at_once(nova):
    await ask(nova, "POST", "/tenants", {"id": "acme", "seed": True}, status=201)
    acme = nova.member("acme")
    functions = (await ask(nova, "GET", "/functions", headers=acme))["items"]
    assert [function["name"] for function in functions] == ["hello-python"]
    accounts = (await ask(nova, "GET", "/service-accounts", headers=acme))["items"]
    assert [account["name"] for account in accounts] == ["invoker", "operator", "viewer"]
    bound = (await ask(nova, "GET", "/rbac/bindings", headers=acme))["items"]
    assert {(each["subject"], each["role"], each["namespace"], each["effect"]) for each in bound} == {
        (f"service-account:{role}", role, "*", "allow") for role in ("operator", "invoker", "viewer")
    }
    await ask(nova, "POST", "/tenants", {"id": "beta"}, status=201)
    assert not (await ask(nova, "GET", "/functions", headers=nova.member("beta")))["items"]


async def test_a_tenant_is_made_with_its_seed_or_not_at_all(nova):
    await ask(nova, "PUT", "/tiers/none", {"limits": [{"dimension": "functions", "limit": 0}]})
    refused = await ask(nova, "POST", "/tenants", {"id": "acme", "tier": "none", "seed": True}, status=429)
    assert (refused["code"], refused["dimension"]) == ("quota_exceeded", "functions")
    items = (await ask(nova, "GET", "/tenants"))["items"]
    assert "acme" not in [tenant["id"] for tenant in items]
    await ask(nova, "POST", "/tenants", {"id": "acme", "tier": "none"}, status=201)
