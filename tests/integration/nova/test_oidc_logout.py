"""Logouts at a provider of OpenID Connect, begun here or there; through a gateway, against a real one that may cheat."""

# ruff: noqa: F811  # a fixture that comes from elsewhere is asked for by its name

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from constellation.nova.store.pool import connect
from tests.oidc_provider import CLIENT, KEYS, person

from .test_oidc import auth, more, provider, visitor  # noqa: F401  # the same people and their provider

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
BACK = "https://faas.example.org/bye"
FORM = "application/x-www-form-urlencoded"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
NOW = int(time.time())


async def token_of(visitor) -> str:
    made = await visitor.login()
    assert made.status_code == 200, made.text
    return str(made.json()["token"])


async def tell(visitor, token: str, *, name: str = "corp", **more: str) -> httpx.Response:
    fields = {"logout_token": token, **more}
    return await visitor.front.http.post(f"/auth/oidc/{name}/backchannel-logout", data=fields)


async def is_in(visitor, token: str) -> bool:
    return (await visitor.front("GET", "/auth/sessions", token)).status_code == 200


@pytest.mark.parametrize("more", [{}, {"post_logout_redirect_uri": BACK}], ids=["there", "and back"])
async def test_a_logout_says_where_the_providers_session_ends(visitor, provider, more):
    token = await token_of(visitor)
    told = (await visitor.front("POST", "/auth/logout", token)).json()
    assert told["status"] == "logged out"
    url = urlsplit(told["logout_url"])
    query = parse_qs(url.query)
    assert (f"{url.scheme}://{url.netloc}{url.path}", query["client_id"]) == (f"{provider.issuer}/logout", [CLIENT])
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(told["logout_url"])
    assert answer.headers.get("location") == more.get("post_logout_redirect_uri")
    assert provider.logged_out == ["id of ann"]
    await visitor.front.until(401, "GET", "/whoami", token)


async def test_a_session_that_ends_has_nothing_left_and_one_of_a_password_no_provider(
    visitor, nova, provider, database
):
    async with connect(database.dsn(), application="tests", max_size=1) as db:

        async def kept() -> list[str]:
            return [row["id_token"] for row in await db.fetch("SELECT id_token FROM provider_sessions")]

        token = await token_of(visitor)
        (session,) = (await visitor.front("GET", "/auth/sessions", token)).json()["items"]
        (sealed,) = await kept()
        assert "." not in sealed  # as a signed token has
        assert (await visitor.front("DELETE", f"/auth/sessions/{session['id']}", token)).status_code == 200
        assert await kept() == []
        await token_of(visitor)
        await nova.http.delete("/users/ann@example.org", headers=nova.admin())
        assert await kept() == []
    body = {"name": "bob", "password": "correct horse battery"}
    assert (await nova.http.post("/users", json=body, headers=nova.admin())).status_code == 201
    bob = await visitor.front.login("bob")
    assert (await visitor.front("POST", "/auth/logout", bob)).json() == {"status": "logged out", "logout_url": None}


@pytest.mark.parametrize("at", [None, "http://example.org/logout", "javascript:alert(1)"])
async def test_a_provider_without_a_page_for_logouts_names_none(visitor, provider, at):
    provider.document = {"end_session_endpoint": at} if at else {"end_session_endpoint": ""}
    token = await token_of(visitor)
    assert (await visitor.front("POST", "/auth/logout", token)).json()["logout_url"] is None
    await visitor.front.until(401, "GET", "/whoami", token)


async def test_a_logout_token_ends_one_session_or_all_of_somebody(visitor, provider):
    first = await token_of(visitor)
    first_sid = provider.sids[-1]
    second = await token_of(visitor)
    provider.who = person("bob", groups=["engineers"])
    bob, again = await token_of(visitor), await token_of(visitor)
    nobody = await tell(visitor, provider.logout_token(sid="session of nobody"))
    assert (nobody.status_code, nobody.json()) == (200, {"status": "logged out"})
    other = await tell(
        visitor, provider.logout_token(sid=first_sid, sub="id of bob")
    )  # sid and sub must be one person's
    assert other.status_code == 200
    assert await is_in(visitor, first)
    assert (await tell(visitor, provider.logout_token(sid=first_sid), more="of its own")).status_code == 200
    await visitor.front.until(401, "GET", "/whoami", first)
    assert await is_in(visitor, second)
    ann = await tell(visitor, provider.logout_token(sub="id of ann", head={}))
    assert ann.status_code == 200
    await visitor.front.until(401, "GET", "/whoami", second)
    assert await is_in(visitor, bob)
    assert await is_in(visitor, again)


async def test_a_login_that_the_provider_ended_on_its_way_does_not_begin(visitor, provider):
    code = (await visitor.land(await visitor.visit(await visitor.begin())))["code"]
    assert (await tell(visitor, provider.logout_token(sid=provider.sids[-1]))).status_code == 200
    refused = await visitor.finish(code)
    assert (refused.status_code, "ended this login" in refused.json()["detail"]) == (401, True)


async def test_a_message_that_comes_late_ends_nothing_that_began_after_it(visitor, provider):
    old = provider.logout_token(sub="id of ann", iat=NOW - 100, exp=int(time.time()) + 60)
    token = await token_of(visitor)
    assert (await tell(visitor, old)).status_code == 200
    assert await is_in(visitor, token)


BAD = [
    {"iss": "https://another.example"},
    {"aud": "another client"},
    {"aud": [CLIENT, "another"]},
    {"exp": NOW - 60},
    {"exp": None},
    {"exp": NOW + 7200},
    {"iat": None},
    {"iat": NOW + 3600},
    {"jti": None},
    {"events": None},
    {"events": {"http://schemas.openid.net/event/else": {}}},
    {"events": {EVENT: True}},
    {"events": [EVENT]},
    {"nonce": "x"},
    {"sub": None},
    {"sub": 7},
    {"sid": 7},
    {"sid": ""},
    {"head": {"typ": "at+jwt"}},
]


async def test_a_token_that_is_none_of_a_logout_for_us_ends_nothing(visitor, provider):
    token = await token_of(visitor)
    for bad in BAD:
        answer = await tell(visitor, provider.logout_token(**{"sub": "id of ann"} | bad))
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
            400, "invalid_request", "logout_token",
        ), bad  # fmt: skip
    provider.key = KEYS[2]
    assert (await tell(visitor, provider.logout_token(sub="id of ann"))).status_code == 400
    provider.key, provider.is_unsigned = KEYS[0], True
    assert (await tell(visitor, provider.logout_token(sub="id of ann"))).status_code == 400
    provider.is_unsigned = False
    good = provider.logout_token(sub="id of ann")
    head, claims, signature = good.split(".")
    assert (await tell(visitor, f"{head}.{claims}.{signature[::-1]}")).status_code == 400
    assert (await tell(visitor, "x")).status_code == 400
    assert (await tell(visitor, good, name="other")).status_code == 404
    assert await is_in(visitor, token)
    assert (await tell(visitor, good)).status_code == 200
    await visitor.front.until(401, "GET", "/whoami", token)


async def test_what_is_no_form_is_refused(visitor, provider):
    post = visitor.front.http.post
    path = "/auth/oidc/corp/backchannel-logout"
    token = provider.logout_token(sub="id of ann")
    assert (await post(path, json={"logout_token": token})).status_code == 415
    for body in ("logout_token=a&logout_token=b", "", "other=x", "logout_token=" + "x" * 40_000, "a&" * 40):
        answer = await post(path, content=body, headers={"content-type": FORM})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), body[:60]


async def test_tokens_that_no_provider_made_keep_no_logout_away(visitor, provider):
    token = await token_of(visitor)
    assert {(await tell(visitor, "a.b.c")).status_code for _ in range(120)} == {400}
    assert (await tell(visitor, provider.logout_token(sub="id of ann"))).status_code == 200
    await visitor.front.until(401, "GET", "/whoami", token)
