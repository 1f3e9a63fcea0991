"""Custom domains and their routes over HTTP."""

from __future__ import annotations

import pytest

from constellation.nova.domain.access import Role

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ROUTE = {"host": "shop.example.org", "path": "/users/{id}", "function": "f", "methods": ["get"]}


async def test_a_domain_and_a_route_are_made_shown_changed_and_deleted(nova):
    await nova.deploy("f")
    await nova.deploy("g")
    admin = nova.admin()
    made = await nova.http.post("/domains", json={"host": "Shop.Example.org."}, headers=admin)
    assert (made.status_code, made.json()["host"]) == (201, "shop.example.org")
    assert (await nova.http.get("/domains/SHOP.example.org", headers=admin)).json() == made.json()
    assert (await nova.http.get("/domains", headers=admin)).json()["items"] == [made.json()]
    assert (await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=admin)).status_code == 409

    route = await nova.http.post("/gateway/routes", json=ROUTE, headers=admin)
    assert route.status_code == 201, route.text
    body = route.json()
    assert (body["methods"], body["auth"], body["enabled"], body["version"]) == (["GET"], "api_key", True, 1)
    path = f"/gateway/routes/{body['id']}"
    assert (await nova.http.get(path, headers=admin)).json() == body
    assert (await nova.http.post("/gateway/routes", json=ROUTE, headers=admin)).json()["code"] == "already_exists"
    changed = await nova.http.patch(path, json={"function": "g", "auth": "none", "version": 1}, headers=admin)
    assert (changed.json()["function"], changed.json()["auth"], changed.json()["version"]) == ("g", "none", 2)
    late = await nova.http.patch(path, json={"function": "f", "version": 1}, headers=admin)
    assert (late.status_code, late.json()["code"], late.json()["version"]) == (409, "version_conflict", 2)
    assert (await nova.http.get("/gateway/routes?function=g&host=shop.example.org", headers=admin)).json()["items"] == [
        changed.json()
    ]
    assert (await nova.http.get("/gateway/routes?function=f", headers=admin)).json()["items"] == []
    assert (await nova.http.delete(path, headers=admin)).json() == {"status": "deleted", "name": body["id"]}
    assert (await nova.http.get(path, headers=admin)).status_code == 404
    assert (await nova.http.delete("/domains/shop.example.org", headers=admin)).status_code == 200
    assert (await nova.http.get("/domains/shop.example.org", headers=admin)).status_code == 404


async def test_all_routes_of_a_domain_are_replaced_or_none(nova):
    await nova.deploy("f")
    await nova.deploy("g")
    admin = nova.admin()
    host = "/domains/shop.example.org"

    async def put(*routes: dict, status: int = 200, **more):
        answer = await nova.http.put(host + "/routes", json={"routes": routes} | more, headers=admin)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def routes() -> dict:
        found = (await nova.http.get("/gateway/routes?host=shop.example.org", headers=admin)).json()["items"]
        return {(each["path"], each["function"]): each["id"] for each in found}

    one, two = {"path": "/a", "function": "f", "methods": ["GET"]}, {"path": "/b/{id}", "function": "f"}
    assert (await put(one, status=404))["code"] == "not_found"
    await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=admin)
    planned = await put(one, two, dry_run=True)
    assert (planned["added"], planned["is_dry_run"], await routes()) == (["GET /a", "any method /b/{id}"], True, {})
    assert (await put(one, two))["added"] == planned["added"]
    before = await routes()
    done = await put(one, {**two, "function": "g", "policy": {"timeout_s": 5}})
    assert (done["added"], done["changed"], done["deleted"], done["kept"]) == ([], ["any method /b/{id}"], [], 1)
    assert await routes() == {("/a", "f"): before["/a", "f"], ("/b/{id}", "g"): before["/b/{id}", "f"]}
    held = await routes()
    for bad, code in (
        ({"path": "/c", "function": "absent"}, "not_found"),
        ({"path": "/a", "function": "g", "methods": ["GET", "POST"]}, "already_exists"),
        ({"path": "/c", "function": "f", "auth": "none", "policy": {"subjects": ["user:ann"]}}, "invalid_request"),
        (one, "invalid_request"),
    ):
        status = {"not_found": 404, "already_exists": 409, "invalid_request": 400}[code]
        assert (await put(one, bad, status=status))["code"] == code
        assert await routes() == held  # the other one was not deleted either
    assert (await put(one))["deleted"] == ["any method /b/{id}"]
    assert list(await routes()) == [("/a", "f")]
    viewer = nova.member("default", role=Role.VIEWER)
    refused = await nova.http.put(host + "/routes", json={"routes": []}, headers=viewer)
    assert refused.status_code == 403
    assert (await put())["deleted"] == ["GET /a"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"path": "users"}, "path"),
        ({"path": "/{a}/{a}"}, "path"),
        ({"methods": ["BREW"]}, "methods"),
        ({"auth": "jwt?"}, "auth"),
        ({"host": "localhost"}, "host"),
        ({"function": ""}, "function"),
        ({"colour": "red"}, "colour"),
        ({"policy": {"ip_allow": ["10.0.0.0/33"]}}, "policy.ip_allow"),
        ({"policy": {"ip_deny": ["10.0.0.1/8"]}}, "policy.ip_deny"),
        ({"policy": {"cors": {"allow_origins": ["example.org"]}}}, "cors.allow_origins"),
        ({"policy": {"burst": 3}}, "burst"),
        ({"policy": {"rate_per_s": 3}}, "policy.rate_per_s"),
        ({"policy": {"mock": {"status": 99}}}, "policy.mock.status"),
        ({"function": "f:0"}, "function"),
        ({"policy": {"schema": {"body": {"type": "nope"}}}}, "policy.schema.body"),
        ({"policy": {"schema": {"query": {"$ref": "http://127.0.0.1:9/"}}}}, "policy.schema.query"),
        ({"policy": {"schema": {"cookie": {}}}}, "policy.schema.cookie"),
        ({"policy": {"request": {"a": "nowhere"}}}, "policy.request"),
        ({"policy": {"request": {"a": {"from": "body", "kind": "x"}}}}, "policy.request[...].kind"),
        ({"policy": {"response": {"body": {"a": "query.x"}}}}, "policy.response.body"),
        ({"policy": {"response": {"status": {"700": 200}}}}, "policy.response.status"),
        ({"policy": {"retry": {"attempts": 6}}}, "policy.retry.attempts"),
        ({"policy": {"breaker_error_percent": 101}}, "policy.breaker_error_percent"),
        ({"policy": {"breaker_probes": 0}}, "policy.breaker_probes"),
        ({"policy": {"websocket": True, "stream": True}}, "policy.stream"),
        ({"policy": {"websocket": True, "mock": {}}}, "policy.mock"),
        ({"policy": {"websocket": True, "max_body_bytes": 5}}, "policy.max_body_bytes"),
        ({"policy": {"websocket": True, "schema": {"body": {}}}}, "policy.schema.body"),
        ({"policy": {"websocket": True, "response": {"status": {"200": 201}}}}, "policy.response"),
        ({"policy": {"websocket": True, "request": {"a": {"from": "body.b"}}}}, "policy.request"),
        ({"policy": {"websocket": True, "request": {"body": "query.b"}}}, "policy.request"),
        ({"policy": {"websocket": True, "request": {"*": {"value": 1}}}}, "policy.request"),
        ({"policy": {"websocket": True}, "methods": ["POST"]}, "methods"),
        ({"policy": {"stream": True, "response": {"remove_headers": ["x"]}}}, "policy.stream"),
        ({"function": "f:"}, "function"),
        ({"policy": {"permissions": ["log:reed"]}}, "policy.permissions"),
        ({"policy": {"subjects": ["ann"]}}, "policy.subjects"),
        ({"policy": {"subjects": ["user:[z-a]"]}}, "policy.subjects"),
        ({"auth": "none", "policy": {"subjects": ["user:ann"]}}, "policy.subjects"),
        ({"auth": "none", "policy": {"permissions": ["log:read"]}}, "policy.permissions"),
    ],
)
async def test_a_bad_route_is_refused_with_its_field(nova, body, field):
    await nova.deploy("f")
    await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=nova.admin())
    answer = await nova.http.post("/gateway/routes", json=ROUTE | body, headers=nova.admin())
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    "host", ["fn.platform.example", "acme.fn.platform.example", "*.fn.platform.example", "*.platform.example"]
)
async def test_nobody_claims_a_host_that_is_a_tenants_for_its_functions(nova, host):
    answer = await nova.http.post("/domains", json={"host": host}, headers=nova.admin())
    assert (answer.status_code, answer.json()["field"]) == (400, "host")
    assert (await nova.http.get("/domains", headers=nova.admin())).json()["items"] == []


async def test_two_tenants_never_meet(nova):
    await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())
    ours, theirs = nova.admin(), nova.member("acme")
    await nova.deploy("f")
    await nova.deploy("f", headers=theirs)
    await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=ours)
    made = (await nova.http.post("/gateway/routes", json=ROUTE, headers=ours)).json()
    taken = await nova.http.post("/domains", json={"host": "*.example.org"}, headers=theirs)
    assert (taken.status_code, taken.json()["code"]) == (409, "state_conflict")
    assert (await nova.http.post("/gateway/routes", json=ROUTE, headers=theirs)).status_code == 404
    for method, path in (
        ("GET", f"/gateway/routes/{made['id']}"),
        ("DELETE", f"/gateway/routes/{made['id']}"),
        ("GET", "/domains/shop.example.org"),
        ("DELETE", "/domains/shop.example.org"),
    ):
        assert (await nova.http.request(method, path, headers=theirs)).status_code == 404
    assert (
        await nova.http.patch(f"/gateway/routes/{made['id']}", json={"enabled": False}, headers=theirs)
    ).status_code == 404
    assert (await nova.http.get("/gateway/routes", headers=theirs)).json()["items"] == []
    assert (await nova.http.get("/domains", headers=theirs)).json()["items"] == []
    served = (await nova.http.get("/internal/domains?host=shop.example.org", headers=nova.service())).json()
    assert [(each["tenant"], len(each["routes"])) for each in served["items"]] == [("default", 1)]
    everything = (await nova.http.get("/internal/domains", headers=nova.service())).json()
    assert everything == served | {"is_last": True}


async def test_a_policy_is_kept_shown_and_replaced_whole(nova):
    await nova.deploy("f")
    await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=nova.admin())
    policy = {"ip_deny": ["10.0.0.0/8"], "rate_per_s": 5.0, "mock": {"status": 201, "headers": {"x": "y"}, "body": "z"}}
    made = await nova.http.post(
        "/gateway/routes", json=ROUTE | {"auth": "none", "policy": policy}, headers=nova.admin()
    )
    assert made.status_code == 201, made.text
    path = f"/gateway/routes/{made.json()['id']}"
    assert (await nova.http.get(path, headers=nova.admin())).json()["policy"] == policy
    same = await nova.http.patch(path, json={"policy": policy}, headers=nova.admin())
    assert same.json()["version"] == 1
    keyed = await nova.http.patch(path, json={"auth": "any"}, headers=nova.admin())
    assert (keyed.status_code, keyed.json()["field"]) == (400, "policy.rate_per_s")
    changed = await nova.http.patch(path, json={"policy": {"stream": True}}, headers=nova.admin())
    assert (changed.json()["policy"], changed.json()["version"]) == ({"stream": True}, 2)
    served = (await nova.http.get("/internal/domains", headers=nova.service())).json()
    assert served["items"][0]["routes"][0]["policy"] == {"stream": True}


async def test_a_route_names_a_version_or_an_alias_that_is_there(nova):
    await nova.deploy("f")
    admin = nova.admin()
    await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=admin)
    for target in ("f:prod", "f:7"):
        absent = await nova.http.post("/gateway/routes", json=ROUTE | {"function": target}, headers=admin)
        assert (absent.status_code, absent.json()["code"]) == (404, "not_found"), absent.text
    alias = {"weights": {"1": 100}, "is_sticky": True}
    made = await nova.http.put("/functions/f/aliases/prod", json=alias, headers=admin)
    assert made.status_code in (200, 201), made.text
    route = await nova.http.post("/gateway/routes", json=ROUTE | {"function": "f:prod"}, headers=admin)
    assert (route.status_code, route.json()["function"]) == (201, "f:prod")
    path = f"/gateway/routes/{route.json()['id']}"

    async def served() -> dict[str, object]:
        found = (await nova.http.get("/internal/domains?host=shop.example.org", headers=nova.service())).json()
        (only,) = found["items"][0]["routes"]
        return {name: only[name] for name in ("function", "qualifier", "is_sticky")}

    assert await served() == {"function": "f", "qualifier": "prod", "is_sticky": True}
    assert (await nova.http.get("/gateway/routes?function=f", headers=admin)).json()["pagination"]["total"] == 1
    kept = await nova.http.patch(path, json={"methods": []}, headers=admin)
    assert kept.json()["function"] == "f:prod"
    await nova.http.patch(path, json={"function": "f:1"}, headers=admin)
    assert await served() == {"function": "f", "qualifier": "1", "is_sticky": False}
    live = await nova.http.patch(path, json={"function": "f:$LATEST"}, headers=admin)
    assert live.json()["function"] == "f"


async def test_schemas_rules_and_retries_are_kept_as_they_were_given(nova):
    await nova.deploy("f")
    await nova.http.post("/domains", json={"host": "shop.example.org"}, headers=nova.admin())
    policy = {
        "schema": {"body": {"$defs": {"a": {"const": None}}, "properties": {"a": {"$ref": "#/$defs/a"}}}},
        "request": {"id": "path.id", "n": {"from": "query.n", "type": "integer", "default": None}, "s": {"value": []}},
        "response": {
            "status": {"200": 201},
            "headers": {"x": "body.x"},
            "remove_headers": ["y"],
            "body": {"a": "body"},
        },
        "retry": {"attempts": 3, "statuses": [503]},
    }
    made = await nova.http.post("/gateway/routes", json=ROUTE | {"policy": policy}, headers=nova.admin())
    assert (made.status_code, made.json().get("policy")) == (201, policy), made.text
    served = (await nova.http.get("/internal/domains", headers=nova.service())).json()
    assert served["items"][0]["routes"][0]["policy"] == policy


async def test_which_route_serves_a_request_is_told_without_making_it(nova):
    await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())
    await nova.deploy("f")
    admin = nova.admin()
    await nova.http.post("/domains", json={"host": "*.example.org"}, headers=admin)
    made = await nova.http.post("/gateway/routes", json=ROUTE | {"host": "*.example.org"}, headers=admin)

    async def match(headers: dict[str, str] = admin, **query: str):
        return await nova.http.get("/gateway/match", params=query, headers=headers)

    found = await match(host="Shop.Example.org:443", path="/users/a%2Fb")
    assert found.json() == {"route": made.json(), "path_params": {"id": "a/b"}}
    other = await match(host="shop.example.org", path="/users/7", method="PUT")
    assert (other.status_code, "for GET, HEAD there is one" in other.json()["detail"]) == (404, True)
    for query in ({"path": "/users"}, {"host": "example.org"}):
        absent = await match(**{"host": "shop.example.org", "path": "/users/7"} | query)
        assert (absent.status_code, absent.json()["code"]) == (404, "not_found")
    for query, field in (({"path": ""}, "path"), ({"method": "BREW"}, "methods")):
        wrong = await match(**{"host": "shop.example.org", "path": "/users/7"} | query)
        assert (wrong.status_code, wrong.json()["field"]) == (400, field)
    assert (await match(nova.member("acme"), host="shop.example.org", path="/users/7")).status_code == 404
    await nova.http.patch(f"/gateway/routes/{made.json()['id']}", json={"enabled": False}, headers=admin)
    assert (await match(host="shop.example.org", path="/users/7")).status_code == 404
