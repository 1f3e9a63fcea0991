"""Whom a route of a custom domain serves, which version of its function it calls, and what is noted of who is refused."""

from __future__ import annotations

import re

import httpx
import pytest

from .conftest import problem
from .test_access import until
from .test_domains import SHOP, serve

pytestmark = pytest.mark.anyio

TOKEN = "eyJhbGciOiJub25lIn0.e30.c2ln"  # by its form alone
CREDENTIALS = {"api_key": "sk_admin", "session": "ss_ann", "jwt": TOKEN}
PEOPLE = {
    "ss_ann": {"subject": "user:ann", "tenant": "default", "namespace": "*", "role": "invoker"},
    TOKEN: {"subject": "jwt:idp:bob", "tenant": "default", "namespace": "*", "role": "viewer"},
}


@pytest.fixture
async def shop(rig):
    rig.nova.keys.update(PEOPLE)
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20, headers={"Host": SHOP}) as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize("auth", ["api_key", "session", "jwt", "any"])
async def test_a_route_serves_the_kind_of_credential_that_it_names(rig, shop, auth):
    rig.nova.keys[TOKEN] = PEOPLE[TOKEN] | {"role": "invoker"}
    await serve(rig, {"path": "/", "auth": auth})
    for kind, credential in CREDENTIALS.items():
        answer = await shop.get("/", headers=bearer(credential))
        if auth in (kind, "any"):
            assert answer.status_code == 200, (kind, answer.text)
            assert answer.json()["caller"] in ("apikey:admin", "user:ann", "jwt:idp:bob")
            assert "authorization" not in answer.json()["headers"]
        else:
            problem(answer, 401, "unauthenticated")
    problem(await shop.get("/"), 401, "unauthenticated")


async def test_a_caller_must_have_the_permissions_and_the_name_that_a_route_wants(rig, shop):
    await serve(
        rig,
        {"path": "/logs", "auth": "any", "policy": {"permissions": ["log:read"]}},
        {"path": "/keys", "auth": "any", "policy": {"permissions": ["apikey:manage"]}},
        {"path": "/people", "auth": "any", "policy": {"subjects": ["user:*", "apikey:ci-[ab]"]}},
        {"path": "/", "auth": "any"},
    )
    ann, admin = bearer("ss_ann"), bearer("sk_admin")
    assert (await shop.get("/logs", headers=ann)).status_code == 200
    refused = problem(await shop.get("/keys", headers=ann), 403, "forbidden")
    assert refused["permission"] == "apikey:manage"
    assert (await shop.get("/keys", headers=admin)).status_code == 200
    assert (await shop.get("/people", headers=ann)).status_code == 200
    problem(await shop.get("/people", headers=admin), 403, "forbidden")
    problem(await shop.get("/", headers=bearer(TOKEN)), 403, "forbidden")  # a viewer invokes nothing


async def test_a_route_calls_the_version_that_it_names(rig, shop):
    await serve(rig, {"path": "/", "qualifier": "prod"})
    assert "set-cookie" not in (await shop.get("/", headers={"X-Nova-Qualifier": "1"})).headers
    call, _ = rig.comet.calls[-1]
    assert (call.function, call.qualifier, call.sticky_key) == ("echo", "prod", "")


async def test_callers_of_a_sticky_alias_get_a_cookie_and_stay(rig, shop):
    await serve(rig, {"path": "/", "qualifier": "prod", "is_sticky": True})
    first = await shop.get("/")
    (cookie,) = first.headers.get_list("set-cookie")
    found = re.fullmatch(r"nova-sticky=([\w-]{16}); Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax", cookie)
    assert found is not None
    assert rig.comet.calls[-1][0].sticky_key == found[1]
    again = await shop.get("/", headers={"Cookie": f"a=b; nova-sticky={found[1]}"})
    assert "set-cookie" not in again.headers
    assert rig.comet.calls[-1][0].sticky_key == found[1]
    other = httpx.AsyncClient(base_url=rig.url, trust_env=False, headers={"Host": SHOP})
    async with other:
        await other.get("/")
    assert rig.comet.calls[-1][0].sticky_key not in ("", found[1])


async def test_a_change_of_an_alias_reaches_the_routes_that_name_it(rig, shop):
    await serve(rig, {"path": "/", "qualifier": "prod"})
    rig.nova.domains[SHOP]["routes"][0]["is_sticky"] = True
    rig.nova.change("function", "default", "default", name="echo")

    async def told() -> bool:
        return "set-cookie" in (await shop.get("/")).headers

    await until(told)


async def test_who_is_refused_at_a_tenants_host_is_in_its_audit(rig, shop):
    await serve(
        rig,
        {"path": "/closed", "auth": "api_key"},
        {"path": "/lists", "policy": {"ip_deny": ["127.0.0.1"]}},
        {"path": "/open"},
    )
    for path in ("/closed", "/closed?a=b", "/lists", "/open", "/absent"):
        await shop.get(path)
    noted = {(each.event.resource, each.event.status, each.count) for each in rig.parts.audit._waiting}
    assert noted == {(f"{SHOP}/closed", 401, 2), (f"{SHOP}/lists", 403, 1)}
    assert {(each.event.tenant, each.event.action) for each in rig.parts.audit._waiting} == {
        ("default", "domain_request")
    }
