"""Tenants never meet, and nobody reaches further than its own rights."""

from __future__ import annotations

import pytest

from constellation.nova.domain.access import Role

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def make_tenant(nova, tenant: str, *namespaces: str) -> None:
    assert (await nova.http.post("/tenants", json={"id": tenant}, headers=nova.admin())).status_code == 201
    for namespace in namespaces:
        answer = await nova.http.post(f"/tenants/{tenant}/namespaces", json={"name": namespace}, headers=nova.admin())
        assert answer.status_code == 201


async def test_functions_of_one_name_in_two_tenants_never_meet(nova):
    await make_tenant(nova, "acme")
    await make_tenant(nova, "beta")
    acme, beta = nova.member("acme"), nova.member("beta")
    first = await nova.deploy("hello", acme, code="def handler(e, c): return 'acme'\n")
    second = await nova.deploy("hello", beta, code="def handler(e, c): return 'beta'\n")
    assert first["id"] != second["id"]
    assert "acme" in (await nova.http.get("/functions/hello/code", headers=acme)).json()["code"]
    assert "beta" in (await nova.http.get("/functions/hello/code", headers=beta)).json()["code"]

    made = await nova.http.post("/functions/hello/schedules", json={"cron": "@daily"}, headers=acme)
    assert made.status_code == 201
    path = f"/functions/hello/schedules/{made.json()['id']}"
    assert (await nova.http.get("/schedules", headers=beta)).json()["items"] == []
    assert (await nova.http.patch(path, json={"enabled": False}, headers=beta)).status_code == 404
    assert (await nova.http.delete(path, headers=beta)).status_code == 404

    assert (await nova.http.delete("/functions/hello", headers=beta)).status_code == 200
    assert (await nova.http.get("/functions/hello", headers=acme)).json() == first
    assert (await nova.http.get("/functions", headers=nova.admin())).json()["items"] == []


async def test_functions_of_one_name_in_two_namespaces_never_meet(nova):
    await make_tenant(nova, "acme", "dev")
    await nova.deploy("hello", nova.member("acme"))
    dev = nova.member("acme", "dev")
    assert (await nova.http.get("/functions/hello", headers=dev)).status_code == 404
    await nova.deploy("hello", dev)
    await nova.http.delete("/functions/hello", headers=dev)
    assert (await nova.http.get("/functions/hello", headers=nova.member("acme"))).status_code == 200


async def test_a_function_needs_an_existing_namespace(nova):
    body = {"name": "f", "runtime": "python", "code": "def handler(e, c): pass"}
    answer = await nova.http.post("/functions", json=body, headers=nova.admin("default", "nowhere"))
    assert answer.status_code == 404
    assert answer.json()["kind"] == "namespace"


async def test_other_tenants_are_out_of_reach(nova):
    await make_tenant(nova, "acme")
    await make_tenant(nova, "beta")
    acme = nova.member("acme")
    tenants = (await nova.http.get("/tenants", headers=acme)).json()
    assert [item["id"] for item in tenants["items"]] == ["acme"]
    assert tenants["pagination"]["total"] == 1
    assert (await nova.http.get("/tenants?offset=1", headers=acme)).json()["items"] == []
    refused = [
        ("GET", "/tenants/beta/namespaces", None),
        ("GET", "/tenants/nobody/namespaces", None),
        ("POST", "/tenants/beta/namespaces", {"name": "x"}),
        ("DELETE", "/tenants/beta/namespaces/default", None),
        ("PATCH", "/tenants/beta", {"name": "x"}),
        ("PATCH", "/tenants/acme", {"status": "suspended"}),
        ("DELETE", "/tenants/acme", None),
        ("POST", "/tenants", {"id": "gamma"}),
    ]
    for method, path, body in refused:
        answer = await nova.http.request(method, path, json=body, headers=acme)
        assert answer.status_code == 403, (method, path, answer.text)
    assert (await nova.http.patch("/tenants/acme", json={"name": "Acme Ltd"}, headers=acme)).json()[
        "name"
    ] == "Acme Ltd"
    assert (await nova.http.post("/tenants/acme/namespaces", json={"name": "x"}, headers=acme)).status_code == 201


async def test_who_is_bound_to_a_namespace_can_not_leave_it(nova):
    await make_tenant(nova, "acme", "dev")
    bound = nova.member("acme", "dev", bound=True)
    assert "tenant:manage" not in (await nova.http.get("/whoami", headers=bound)).json()["permissions"]
    assert (await nova.http.post("/tenants/acme/namespaces", json={"name": "x"}, headers=bound)).status_code == 403
    for namespace in ("*", "default"):
        answer = await nova.http.post("/apikeys", json={"name": "k", "namespace": namespace}, headers=bound)
        assert answer.status_code == 403
        assert answer.json()["code"] == "scope_denied"
    made = await nova.http.post("/apikeys", json={"name": "mine", "role": "admin"}, headers=bound)
    assert (made.status_code, made.json()["namespace"]) == (201, "dev")

    wide = nova.member("acme")
    await nova.http.post("/apikeys", json={"name": "wide", "namespace": "*"}, headers=wide)
    assert [key["name"] for key in (await nova.http.get("/apikeys", headers=bound)).json()["items"]] == ["mine"]
    assert [key["name"] for key in (await nova.http.get("/apikeys", headers=wide)).json()["items"]] == ["mine", "wide"]
    assert (await nova.http.patch("/apikeys/wide", json={"enabled": False}, headers=bound)).status_code == 404
    assert (await nova.http.delete("/apikeys/wide", headers=bound)).status_code == 404


async def test_a_suspended_tenant_reads_and_does_nothing_else(nova):
    await make_tenant(nova, "acme")
    acme = nova.member("acme")
    await nova.deploy("hello", acme)
    answer = await nova.http.patch("/tenants/acme", json={"status": "suspended"}, headers=nova.admin())
    assert answer.json()["status"] == "suspended"
    writes = [
        ("POST", "/functions", {"name": "x", "runtime": "python", "code": "x"}),
        ("PATCH", "/functions/hello", {"memory_mb": 64}),
        ("PUT", "/functions/hello/code", {"code": "x"}),
        ("DELETE", "/functions/hello", None),
        ("POST", "/functions/hello/schedules", {"cron": "@daily"}),
        ("POST", "/apikeys", {"name": "k"}),
        ("PATCH", "/tenants/acme", {"name": "x"}),
        ("POST", "/tenants/acme/namespaces", {"name": "x"}),
    ]
    for method, path, body in writes:
        answer = await nova.http.request(method, path, json=body, headers=acme)
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended"), (method, path)
    assert (await nova.http.get("/functions/hello", headers=acme)).status_code == 200
    scope = await nova.http.get("/internal/scope?tenant=acme&namespace=default", headers=nova.service())
    assert scope.json() == {"tenant": "acme", "namespace": "default", "status": "suspended"}
    await nova.http.patch("/tenants/acme", json={"status": "active"}, headers=nova.admin("acme"))
    assert (await nova.http.patch("/functions/hello", json={"memory_mb": 64}, headers=acme)).status_code == 200


async def test_what_holds_the_platform_together_can_not_be_deleted(nova):
    refused = [
        ("DELETE", "/tenants/default", None),
        ("PATCH", "/tenants/default", {"status": "suspended"}),
        ("DELETE", "/tenants/default/namespaces/default", None),
    ]
    for method, path, body in refused:
        answer = await nova.http.request(method, path, json=body, headers=nova.admin())
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict"), (method, path)
    await make_tenant(nova, "acme")
    last = await nova.http.delete("/tenants/acme/namespaces/default", headers=nova.admin())
    assert last.status_code == 409


async def test_a_namespace_is_deleted_when_it_is_empty(nova):
    await make_tenant(nova, "acme", "dev")
    dev = nova.member("acme", "dev")
    await nova.deploy("hello", dev)
    held = await nova.http.delete("/tenants/acme/namespaces/dev", headers=nova.member("acme"))
    assert held.status_code == 409
    assert "holding 1 functions" in held.json()["detail"]
    await nova.http.delete("/functions/hello", headers=dev)
    assert (await nova.http.delete("/tenants/acme/namespaces/dev", headers=nova.member("acme"))).status_code == 200
    names = (await nova.http.get("/tenants/acme/namespaces", headers=nova.member("acme"))).json()["items"]
    assert [item["name"] for item in names] == ["default"]


async def test_a_deleted_tenant_takes_everything_along(nova):
    await make_tenant(nova, "acme")
    acme = nova.member("acme")
    await nova.deploy("hello", acme)
    key = (await nova.http.post("/apikeys", json={"name": "k"}, headers=acme)).json()["key"]
    assert (await nova.http.delete("/tenants/acme", headers=nova.admin())).status_code == 200
    answer = await nova.http.post(
        "/internal/authenticate", json={"kind": "presented", "credential": key}, headers=nova.service()
    )
    assert answer.status_code == 401
    assert (await nova.http.get("/functions/hello", headers=acme)).status_code == 404
    assert (await nova.http.get("/tenants", headers=acme)).status_code == 404


async def test_whoami_says_what_the_caller_may_do(nova):
    me = (await nova.http.get("/whoami", headers=nova.member("default", role=Role.INVOKER))).json()
    assert me == {
        "subject": "t",
        "tenant": "default",
        "namespace": "default",
        "permissions": ["function:invoke", "function:read", "log:read", "topic:publish"],
        "is_platform_admin": False,
        "rate_per_s": 0.0,
        "burst": 0,
    }
    assert (await nova.http.get("/whoami", headers=nova.admin())).json()["is_platform_admin"] is True
