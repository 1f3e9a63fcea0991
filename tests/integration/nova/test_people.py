"""Users log in through the gateway; what they may follows their roles at once."""

from __future__ import annotations

import time

import anyio
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from .conftest import ISSUER_SECRET
from .fronted import PASSWORD, fronted

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def make(nova, path: str, body: dict[str, object], headers=None, *, status: int = 201):
    answer = await nova.http.post(path, json=body, headers=headers or nova.admin())
    assert answer.status_code == status, answer.text
    return answer.json()


async def make_user(nova, name: str, role: str | None = "viewer", headers=None, **more):
    return await make(nova, "/users", {"name": name, "password": PASSWORD, "role": role, **more}, headers)


async def test_a_user_logs_in_and_out_and_changes_its_password(nova, tmp_path):
    made = await make_user(nova, "Ann", "operator", display_name="Ann Example")
    assert (made["name"], made["subject"], made["tenant"]) == ("ann", "user:ann", "default")
    async with fronted(nova, tmp_path) as front:
        first, second = await front.login("ann"), await front.login("ANN")
        me = (await front("GET", "/whoami", first)).json()
        assert (me["subject"], me["tenant"], me["namespace"]) == ("user:ann", "default", "default")
        assert "function:create" in me["permissions"]
        assert "user:manage" not in me["permissions"]
        listed = (await front("GET", "/auth/sessions", second)).json()["items"]
        assert [session["is_current"] for session in listed] == [True, False]
        assert listed[0]["address"] == "127.0.0.1"
        assert first not in str(listed)

        wrong = await front("PUT", "/auth/password", second, {"current": "not it", "new": "another one"})
        assert wrong.status_code == 401
        short = await front("PUT", "/auth/password", second, {"current": PASSWORD, "new": "short"})
        assert (short.status_code, short.json()["field"]) == (400, "new")
        changed = await front("PUT", "/auth/password", second, {"current": PASSWORD, "new": "another one"})
        assert changed.status_code == 200
        await front.until(401, "GET", "/whoami", first)  # other sessions end
        assert (await front("GET", "/whoami", second)).status_code == 200
        old = await front("POST", "/auth/login", body={"user": "ann", "password": PASSWORD})
        assert old.status_code == 401
        third = await front.login("ann", "another one")

        assert (await front("POST", "/auth/logout", second)).json() == {"status": "logged out", "logout_url": None}
        await front.until(401, "GET", "/whoami", second)
        assert (await front("GET", "/whoami", third)).status_code == 200

        key = (await make(nova, "/apikeys", {"name": "ci"}))["key"]
        refused = await front("POST", "/auth/logout", key)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_wrong_logins_are_refused_alike_and_slowed_down_for_good(nova, db, tmp_path):
    await make_user(nova, "ann")
    await make_user(nova, "off")
    off = await nova.http.patch("/users/off", json={"enabled": False}, headers=nova.admin())
    assert off.json()["enabled"] is False
    details = set()
    async with fronted(nova, tmp_path / "a") as front:
        for user, password in (("nobody", PASSWORD), ("off", PASSWORD), ("ann", "wrong"), ("ann", PASSWORD + "x")):
            answer = await front("POST", "/auth/login", body={"user": user, "password": password})
            assert answer.status_code == 401
            details.add(answer.json()["detail"])
        assert len(details) == 1
        statuses = []

        async def guess() -> None:
            answer = await front("POST", "/auth/login", body={"user": "ann", "password": "a guess"})
            statuses.append((answer.status_code, answer.headers.get("retry-after")))

        async with anyio.create_task_group() as tasks:  # many at once do not slip through
            for _ in range(12):
                tasks.start_soon(guess)
        assert [status for status, _ in statuses].count(429) > 0
        assert all(after is not None for status, after in statuses if status == 429)
    async with db.transaction() as tx:
        await tx.run_script("UPDATE login_failures SET failures = 1000, last_at = now() WHERE source = 'user:ann'")
    async with fronted(nova, tmp_path / "b") as front:  # what is known of it is in the database alone
        answer = await front("POST", "/auth/login", body={"user": "ann", "password": PASSWORD})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_logins")
        assert (await front("POST", "/auth/login", body={"user": "ann", "password": ""})).status_code == 400


async def test_roles_and_denials_are_live_on_the_gateway_at_once(nova, tmp_path):
    await nova.deploy("pay-out")
    await nova.deploy("hello")
    await make_user(nova, "ann", None)
    async with fronted(nova, tmp_path) as front:
        token = await front.login("ann")
        assert (await front("GET", "/functions/hello", token)).status_code == 403
        assert (await front("GET", "/rbac/my-permissions", token)).json()["permissions"] == []

        given = await make(nova, "/rbac/bindings", {"subject": "user:ann", "role": "operator"})
        await front.until(200, "GET", "/functions/hello", token)
        denial = {"subject": "user:ann", "role": "viewer", "effect": "deny", "functions": ["pay-*"]}
        denied = await make(nova, "/rbac/bindings", denial)
        await front.until(403, "GET", "/functions/pay-out", token)
        assert (await front("GET", "/functions/pay%2Dout", token)).status_code == 403
        assert (await front("GET", "/v1/functions/pay-out", token)).status_code == 403
        assert (await front("GET", "/functions/hello", token)).status_code == 200
        listed = (await front("GET", "/functions", token)).json()
        assert [function["name"] for function in listed["items"]] == ["hello"]
        assert listed["pagination"]["total"] == 1
        mine = (await front("GET", "/rbac/my-permissions", token)).json()
        assert "function:read" not in mine["permissions"]
        assert [limit["never"] for limit in mine["limited"]] == [["pay-*"]]
        assert (await nova.http.delete(f"/rbac/bindings/{denied['id']}", headers=nova.admin())).status_code == 200
        await front.until(200, "GET", "/functions/pay-out", token)

        role = {"name": "auditor", "permissions": ["log:read"]}
        await make(nova, "/rbac/roles", role)
        await make(nova, "/rbac/bindings", {"subject": "user:ann", "role": "auditor", "namespace": "def*"})
        assert (await nova.http.delete(f"/rbac/bindings/{given['id']}", headers=nova.admin())).status_code == 200
        await front.until(403, "GET", "/functions/hello", token)
        in_use = await nova.http.delete("/rbac/roles/auditor", headers=nova.admin())
        assert (in_use.status_code, in_use.json()["code"]) == (409, "state_conflict")
        more = {"permissions": ["log:read", "function:read"]}
        assert (await nova.http.patch("/rbac/roles/auditor", json=more, headers=nova.admin())).status_code == 200
        await front.until(200, "GET", "/functions/hello", token)

        assert (await nova.http.delete("/users/ann", headers=nova.admin())).status_code == 200
        await front.until(401, "GET", "/whoami", token)
        assert (await nova.http.get("/rbac/bindings", headers=nova.admin())).json()["items"] == []


async def test_nobody_gives_or_takes_more_than_it_has(nova, tmp_path):
    manager = {"name": "manager", "permissions": ["user:manage", "rbac:manage", "apikey:manage", "log:read"]}
    await make(nova, "/rbac/roles", manager)
    await make_user(nova, "max", "manager")
    await make_user(nova, "ada", "admin")
    await make(nova, "/apikeys", {"name": "strong", "role": "admin"})
    ada = (await nova.http.get("/rbac/bindings?subject=user:ada", headers=nova.admin())).json()["items"][0]["id"]
    async with fronted(nova, tmp_path) as front:
        token = await front.login("max")
        attempts = [
            ("POST", "/users", {"name": "evil", "password": PASSWORD, "role": "admin"}),
            ("POST", "/users", {"name": "evil", "password": PASSWORD, "role": "manager", "is_platform": True}),
            ("PUT", "/users/ada/password", {"password": "mine now!"}),
            ("PATCH", "/users/ada", {"enabled": False}),
            ("DELETE", "/users/ada", None),
            ("POST", "/rbac/bindings", {"subject": "user:max", "role": "operator"}),
            ("POST", "/rbac/bindings", {"subject": "user:ada", "role": "admin", "effect": "deny"}),
            ("POST", "/rbac/bindings", {"subject": "platform-user:x", "role": "manager"}),
            ("DELETE", f"/rbac/bindings/{ada}", None),
            ("POST", "/rbac/roles", {"name": "more", "permissions": ["function:delete"]}),
            ("PATCH", "/rbac/roles/manager", {"permissions": ["function:delete"]}),
            ("POST", "/apikeys", {"name": "evil", "role": "operator"}),
            ("PATCH", "/apikeys/strong", {"enabled": False}),
            ("DELETE", "/apikeys/strong", None),
        ]
        for method, path, body in attempts:
            answer = await front(method, path, token, body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path, answer.text)
        allowed = await front("POST", "/users", token, {"name": "less", "password": PASSWORD, "role": "manager"})
        assert allowed.status_code == 201


async def test_the_last_administrator_of_the_platform_stays(nova):
    await make_user(nova, "root", "admin", is_platform=True)
    only = (await nova.http.get("/rbac/bindings", headers=nova.admin())).json()["items"][0]
    assert only["subject"] == "platform-user:root"
    attempts = [
        ("PATCH", "/users/root", {"enabled": False}),
        ("DELETE", "/users/root", None),
        ("DELETE", f"/rbac/bindings/{only['id']}", None),
        ("POST", "/rbac/bindings", {"subject": "platform-user:root", "role": "viewer", "effect": "deny"}),
    ]
    for method, path, body in attempts:
        answer = await nova.http.request(method, path, json=body, headers=nova.admin())
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict"), (path, answer.text)
    member = nova.member("default")
    assert (await nova.http.get("/users/root", headers=member)).status_code == 404
    assert (await nova.http.get("/users", headers=member)).json()["items"] == []
    await make(nova, "/apikeys", {"name": "spare", "role": "admin", "is_platform": True})
    assert (await nova.http.delete("/users/root", headers=nova.admin())).status_code == 200
    assert (await nova.http.delete("/apikeys/spare", headers=nova.admin())).status_code == 409


async def test_users_of_one_name_in_two_tenants_never_meet(nova, tmp_path):
    for tenant in ("acme", "beta"):
        await make(nova, "/tenants", {"id": tenant})
        await make_user(nova, "ann", "admin", nova.admin(tenant))
    async with fronted(nova, tmp_path) as front:
        acme, beta = [await front.login("ann", tenant=tenant) for tenant in ("acme", "beta")]
        assert (await front("GET", "/whoami", acme)).json()["tenant"] == "acme"
        assert (await front("GET", "/whoami", acme, x_nova_tenant="beta")).status_code == 403
        await make(nova, "/rbac/roles", {"name": "own", "permissions": ["log:read"]}, nova.admin("acme"))
        assert (await front("GET", "/rbac/roles/own", beta)).status_code == 404
        unknown = await front("POST", "/rbac/bindings", beta, {"subject": "user:ann", "role": "own"})
        assert (unknown.status_code, unknown.json()["field"]) == (400, "role")
        assert (await front("DELETE", "/users/ann/sessions", acme)).status_code == 200
        await front.until(401, "GET", "/whoami", acme)
        assert (await front("GET", "/whoami", beta)).status_code == 200
        assert (await nova.http.delete("/tenants/beta", headers=nova.admin())).status_code == 200
        await front.until(401, "GET", "/whoami", beta)


async def test_a_trusted_issuers_token_is_a_credential(nova, tmp_path):
    await make(nova, "/tenants", {"id": "acme"})
    await nova.deploy("hello", nova.admin("acme"))
    await make(nova, "/rbac/roles", {"name": "auditor", "permissions": ["log:read"]}, nova.admin("acme"))

    def token(**more: object) -> str:
        claims = {
            "iss": "https://id.example.org",
            "aud": ["constellation"],
            "sub": "ann@example.org",
            "exp": int(time.time()) + 600,
            "tenant": "acme",
            "roles": ["viewer", "auditor", "unknown here"],
            "padding": "x" * 1500,  # as tokens with many claims have
            **more,
        }
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(ISSUER_SECRET), algorithms=["HS256"])

    async with fronted(nova, tmp_path) as front:
        ann = token()
        me = (await front("GET", "/whoami", ann)).json()
        assert (me["subject"], me["tenant"], me["namespace"]) == ("jwt:corp/ann@example.org", "acme", "default")
        assert (await front("GET", "/functions/hello", ann)).status_code == 200
        assert (await front("POST", "/functions", ann, {})).status_code == 403
        assert (await front("GET", "/functions/hello", ann, x_nova_tenant="default")).status_code == 403
        assert (await front("GET", "/whoami", token(aud="another"))).status_code == 401
        assert (await front("GET", "/whoami", token(exp=int(time.time()) - 60))).status_code == 401
        assert (await front("GET", "/whoami", ann[:-4] + "AAAA")).status_code == 401
        session = await front("POST", "/auth/logout", ann)
        assert (session.status_code, session.json()["code"]) == (403, "forbidden")
        denial = {"subject": "jwt:corp/ann@example.org", "role": "viewer", "effect": "deny"}
        await make(nova, "/rbac/bindings", denial, nova.admin("acme"))
        await front.until(403, "GET", "/functions/hello", ann)


async def test_a_service_account_acts_by_its_keys_with_its_roles(nova, tmp_path):
    await nova.deploy("hello")
    await make(nova, "/service-accounts", {"name": "deployer", "description": "CI"})
    both = await nova.http.post(
        "/apikeys", json={"name": "ci", "service_account": "deployer", "role": "viewer"}, headers=nova.admin()
    )
    assert (both.status_code, both.json()["field"]) == (400, "role")
    nobodys = await nova.http.post("/apikeys", json={"name": "ci", "service_account": "x"}, headers=nova.admin())
    assert (nobodys.status_code, nobodys.json()["kind"]) == (404, "service account")
    made = await make(nova, "/apikeys", {"name": "ci", "service_account": "deployer"})
    assert (made["role"], made["service_account"]) == (None, "deployer")
    async with fronted(nova, tmp_path) as front:
        key = made["key"]
        assert (await front("GET", "/whoami", key)).json()["subject"] == "service-account:deployer"
        assert (await front("GET", "/functions/hello", key)).status_code == 403
        await make(nova, "/rbac/bindings", {"subject": "service-account:deployer", "role": "operator"})
        await front.until(200, "GET", "/functions/hello", key)
        listed = (await nova.http.get("/apikeys", headers=nova.admin())).json()["items"]
        assert [one["last_used_at"] is not None for one in listed if one["name"] == "ci"] == [True]

        manager = {"name": "keysmith", "permissions": ["apikey:manage", "user:manage"]}
        await make(nova, "/rbac/roles", manager)
        await make_user(nova, "max", "keysmith")
        token = await front.login("max")
        for method, path, body in (
            ("POST", "/apikeys", {"name": "mine", "service_account": "deployer"}),
            ("POST", "/apikeys/ci/rotate", None),
            ("PATCH", "/service-accounts/deployer", {"enabled": False}),
            ("DELETE", "/service-accounts/deployer", None),
        ):
            assert (await front(method, path, token, body)).status_code == 403, path

        rotated = await nova.http.post("/apikeys/ci/rotate", headers=nova.admin())
        assert rotated.status_code == 200, rotated.text
        await front.until(401, "GET", "/whoami", key)
        key = rotated.json()["key"]
        assert (await front("GET", "/functions/hello", key)).status_code == 200
        off = await nova.http.patch("/service-accounts/deployer", json={"enabled": False}, headers=nova.admin())
        assert off.json()["enabled"] is False
        await front.until(401, "GET", "/whoami", key)
        await nova.http.patch("/service-accounts/deployer", json={"enabled": True}, headers=nova.admin())
        await front.until(200, "GET", "/whoami", key)
        assert (await nova.http.delete("/service-accounts/deployer", headers=nova.admin())).status_code == 200
        await front.until(401, "GET", "/whoami", key)
        assert (await nova.http.get("/apikeys/ci", headers=nova.admin())).status_code in (404, 405)


async def test_a_keys_name_hands_no_rights_on(nova):
    await make(nova, "/apikeys", {"name": "ci", "role": "viewer"})
    await make(nova, "/rbac/bindings", {"subject": "apikey:ci", "role": "admin"})
    assert (await nova.http.delete("/apikeys/ci", headers=nova.admin())).status_code == 200
    assert (await nova.http.get("/rbac/bindings", headers=nova.admin())).json()["items"] == []
