"""Logins at a provider of OpenID Connect, through a gateway, against a real one that may cheat."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from constellation.nova.auth.oidc import challenge_of
from constellation.nova.config.oidc import providers_of
from constellation.nova.config.sections import AuthSettings
from tests.oidc_provider import KEYS, SECRET, OidcProvider, person

from .fronted import Front, fronted

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

GATEWAY = "http://127.0.0.1:9000"  # where providers are told to send browsers; the tests go on from there
PORT = 45678
ROLES = {"engineers": "operator", "owners": "admin", "auditors": "auditor"}


@pytest.fixture
def provider():
    with OidcProvider(who=person("ann", groups=["engineers"])) as provider:
        yield provider


@pytest.fixture
def more():
    """What of the provider is configured otherwise."""
    return {}


@pytest.fixture
def auth(provider, tmp_path, more) -> AuthSettings:
    (tmp_path / "client.secret").write_text(SECRET + "\n")
    usual = {"client_secret": str(tmp_path / "client.secret"), "roles": ROLES, "create_users": True}
    given = provider.settings(**usual | more)
    return AuthSettings(oidc=providers_of({"corp": given}), public_url=GATEWAY)


@dataclass
class Visitor:
    """A person with a browser and a program."""

    front: Front
    verifier: str = ""

    async def begin(self, **more: object) -> str:
        self.verifier = secrets.token_urlsafe(48)
        body = {"challenge": challenge_of(self.verifier), "port": PORT, **more}
        answer = await self.front("POST", "/auth/oidc/corp/login", body=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["url"])

    async def visit(self, url: str) -> str:
        """Log in at the provider; return where it sends the browser, below the gateway."""
        async with httpx.AsyncClient(trust_env=False) as browser:
            location = (await browser.get(url)).headers["location"]
        assert location.startswith(f"{GATEWAY}/auth/oidc/corp/callback?")
        return location.removeprefix(GATEWAY)

    async def land(self, path: str) -> dict[str, str]:
        """Follow to the gateway; return what the program is told."""
        answer = await self.front.http.get(path)
        assert answer.status_code == 303, answer.text
        assert answer.headers["cache-control"] == "no-store"
        url = urlsplit(answer.headers["location"])
        assert (url.scheme, url.netloc, url.path) == ("http", f"127.0.0.1:{PORT}", "/")
        return {name: values[0] for name, values in parse_qs(url.query).items()}

    async def finish(self, code: str, verifier: str | None = None) -> httpx.Response:
        return await self.front("POST", "/auth/oidc/token", body={"code": code, "verifier": verifier or self.verifier})

    async def login(self) -> httpx.Response:
        return await self.finish((await self.land(await self.visit(await self.begin())))["code"])

    async def refused(self) -> dict[str, str]:
        told = await self.land(await self.visit(await self.begin()))
        assert "code" not in told
        return told


@pytest.fixture
async def visitor(nova, tmp_path) -> AsyncIterator[Visitor]:
    async with fronted(nova, tmp_path) as front:
        yield Visitor(front)


async def test_a_person_logs_in_is_made_a_user_and_logs_out(visitor, nova, provider):
    front = visitor.front
    listed = (await front("GET", "/auth/providers")).json()
    assert listed == {"providers": [{"name": "corp", "issuer": provider.issuer}]}
    made = await visitor.login()
    assert made.status_code == 200, made.text
    assert (made.json()["subject"], made.json()["tenant"]) == ("user:ann@example.org", "default")
    token = made.json()["token"]
    assert (await front("GET", "/whoami", token)).json()["subject"] == "user:ann@example.org"
    user = (await nova.http.get("/users/ann@example.org", headers=nova.admin())).json()
    assert (user["display_name"], user["enabled"]) == ("Ann", True)
    sessions = (await front("GET", "/auth/sessions", token)).json()["items"]
    assert [one["is_current"] for one in sessions] == [True]
    assert (await front("POST", "/functions", token, {})).status_code == 400  # an operator may, had it said what
    assert (await front("GET", "/users", token)).status_code == 403
    assert (await front("POST", "/auth/logout", token)).status_code == 200
    await front.until(401, "GET", "/whoami", token)
    password = await front("POST", "/auth/login", body={"user": "ann@example.org", "password": "x" * 10})
    assert password.status_code == 401  # it has none


async def test_roles_are_those_of_the_last_login_and_those_given_here(visitor, nova, provider):
    await nova.http.post("/rbac/roles", json={"name": "auditor", "permissions": ["log:read"]}, headers=nova.admin())

    async def roles() -> set[tuple[str, str]]:
        found = await nova.http.get("/rbac/bindings?subject=user:ann@example.org", headers=nova.admin())
        return {(one["role"], one["created_by"]) for one in found.json()["items"]}

    provider.who["groups"] = ["engineers", "auditors", "of no interest"]
    first = (await visitor.login()).json()["token"]
    assert await roles() == {("operator", "oidc:corp"), ("auditor", "oidc:corp")}
    own = {"subject": "user:ann@example.org", "role": "viewer"}
    assert (await nova.http.post("/rbac/bindings", json=own, headers=nova.admin())).status_code == 201
    provider.who["groups"] = ["auditors"]
    assert (await visitor.login()).status_code == 200
    assert await roles() == {("auditor", "oidc:corp"), ("viewer", "t")}
    await visitor.front.until(403, "POST", "/functions", first, {})  # of the older session too
    provider.who |= {"groups": [], "email": "ann.b@example.org"}  # the same person under another name
    assert (await visitor.login()).json()["subject"] == "user:ann@example.org"
    assert await roles() == {("viewer", "t")}


@pytest.mark.parametrize("more", [{"create_users": False}], ids=[""])
async def test_only_who_is_expected_comes_in_where_no_users_are_made(visitor, nova, provider):
    told = await visitor.refused()
    assert told["error"] == "login_refused"
    assert "orbit users create ann@example.org --provider corp" in told["detail"]
    assert (await nova.http.get("/users/ann@example.org", headers=nova.admin())).status_code == 404
    for body, field in (
        ({"name": "ann@example.org"}, "password"),
        ({"name": "ann@example.org", "provider": "corp", "password": "x" * 10}, "password"),
        ({"name": "ann@example.org", "provider": "other"}, "provider"),
    ):
        answer = await nova.http.post("/users", json=body, headers=nova.admin())
        assert (answer.status_code, answer.json()["field"]) == (400, field)
    expected = {"name": "Ann@example.org", "provider": "corp", "role": "viewer"}
    assert (await nova.http.post("/users", json=expected, headers=nova.admin())).status_code == 201
    assert (await visitor.login()).status_code == 200
    # Who she is is known now: another who gets her address is not taken for her.
    provider.who["sub"] = "another"
    assert (await visitor.refused())["error"] == "login_refused"
    provider.who["sub"] = "id of ann"
    await nova.http.patch("/users/ann@example.org", json={"enabled": False}, headers=nova.admin())
    assert "disabled" in (await visitor.refused())["detail"]


async def test_a_name_that_is_somebodys_or_has_roles_is_not_given_away(visitor, nova, provider):
    for body, path in (
        ({"name": "ann@example.org", "password": "x" * 10, "role": "admin"}, "/users"),
        ({"subject": "user:bob@example.org", "role": "admin"}, "/rbac/bindings"),
    ):
        assert (await nova.http.post(path, json=body, headers=nova.admin())).status_code == 201
    for name in ("ann", "bob"):
        provider.who = person(name)
        assert "taken" in (await visitor.refused())["detail"]


FOREIGN = [
    {"nonce": "of another login"},
    {"nonce": None},
    {"aud": "another client"},
    {"aud": ["constellation", "another"]},
    {"azp": "another"},
    {"iss": "https://another.example"},
    {"exp": int(time.time()) - 60},
    {"exp": None},
    {"iat": int(time.time()) + 3600},
    {"sub": None},
]


async def test_a_token_that_is_not_for_this_login_is_refused(visitor, provider):
    for provider.token in FOREIGN:
        assert (await visitor.refused())["error"] == "unauthenticated", provider.token
    provider.token = {}
    assert (await visitor.login()).status_code == 200


UNPROVEN = [{"email_verified": False}, {"email_verified": None}, {"email": "a@else.example"}, {"email": None}]


@pytest.mark.parametrize("more", [{"email_domains": ["example.org"]}], ids=[""])
async def test_an_address_that_is_not_proven_or_elsewhere_is_refused(visitor, provider):
    for who in UNPROVEN:
        provider.who = person("ann") | who
        assert (await visitor.refused())["error"] == "login_refused", who


async def test_a_signature_must_be_the_providers(visitor, provider):
    provider.key = KEYS[2]
    assert (await visitor.refused())["error"] == "unauthenticated"
    provider.key, provider.is_unsigned = KEYS[0], True
    assert (await visitor.refused())["error"] == "unauthenticated"
    provider.is_unsigned = False
    assert (await visitor.login()).status_code == 200
    asked = provider.asked.count("/keys")
    assert asked <= 2


async def test_a_new_key_is_fetched_when_it_is_first_used(visitor, provider):
    provider.key, provider.published = KEYS[1], [KEYS[1]]
    assert (await visitor.login()).status_code == 200
    assert provider.asked.count("/keys") == 1
    assert provider.asked.count("/.well-known/openid-configuration") == 1


async def test_an_answer_is_good_once_and_for_its_own_login(visitor, provider):
    front = visitor.front
    path = await visitor.visit(await visitor.begin())
    code = (await visitor.land(path))["code"]
    assert (await front.http.get(path)).status_code == 401  # of a provider that does not know the code any more
    provider.forgets_codes = False
    again = await visitor.visit(await visitor.begin())
    assert "code" in await visitor.land(again)
    assert (await front.http.get(again)).status_code == 401  # of one that would
    mine, theirs = parse_qs(urlsplit(path).query), parse_qs(urlsplit(await visitor.visit(await visitor.begin())).query)
    for state in ("", "made up", theirs["state"][0][:-6] + "AAAAAA"):
        answer = await front.http.get("/auth/oidc/corp/callback", params={"code": mine["code"][0], "state": state})
        assert answer.status_code == 401
    crossed = {"code": mine["code"][0], "state": theirs["state"][0]}
    answer = await front.http.get("/auth/oidc/corp/callback", params=crossed)
    assert "error=unauthenticated" in answer.headers["location"]
    mixed = await visitor.visit(await visitor.begin())
    assert (await visitor.land(mixed + "&iss=https://another.example"))["error"] == "unauthenticated"
    assert (await front.http.get("/auth/oidc/corp/callback", params={"code": "x"})).status_code == 400
    assert (await front.http.get("/auth/oidc/other/callback", params={"state": "x"})).status_code == 404
    assert code


async def test_a_code_is_worth_nothing_without_the_proof_and_good_once(visitor):
    code = (await visitor.land(await visitor.visit(await visitor.begin())))["code"]
    stolen = await visitor.finish(code, secrets.token_urlsafe(48))
    assert (stolen.status_code, stolen.json()["code"]) == (401, "unauthenticated")
    assert (await visitor.finish(code[:-4] + "AAAA")).status_code == 401
    assert (await visitor.finish(code)).status_code == 200
    assert (await visitor.finish(code)).status_code == 401


async def test_a_person_can_carry_the_code_over(visitor):
    answer = await visitor.front.http.get(await visitor.visit(await visitor.begin(port=None)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    code = next(line for line in answer.text.splitlines() if len(line) > 100)
    assert (await visitor.finish(code)).status_code == 200


async def test_a_provider_that_refuses_or_is_away_is_told_of(visitor, provider, tmp_path):
    provider.refusal = "access_denied"
    assert "access_denied" in (await visitor.refused())["detail"]
    provider.refusal = ""
    (tmp_path / "client.secret").write_text("another")
    path = await visitor.visit(await visitor.begin())
    answer = await visitor.front.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert SECRET not in answer.text
    assert (await visitor.front("POST", "/auth/oidc/none/login", body={"challenge": "x" * 43})).status_code == 404


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://another.example"},
        {"authorization_endpoint": "http://example.org/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"padding": "x" * 300_000},
    ],
    ids=lambda document: next(iter(document)),
)
async def test_a_document_that_can_not_be_believed_is_not(visitor, provider, document):
    provider.document = document
    for _ in range(3):
        answer = await visitor.front("POST", "/auth/oidc/corp/login", body={"challenge": "x" * 43})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert len(provider.asked) == 1


@pytest.mark.parametrize("endpoint", ["token_endpoint", "jwks_uri"])
async def test_a_document_leads_nova_nowhere_that_is_not_public(visitor, provider, endpoint):
    provider.document = {endpoint: "https://169.254.169.254/latest/meta-data"}
    answer = await visitor.front.http.get(await visitor.visit(await visitor.begin()))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_codes_that_nobody_made_slow_their_address_down(visitor):
    path = await visitor.visit(await visitor.begin())
    state = parse_qs(urlsplit(path).query)["state"][0]
    statuses = [
        (await visitor.front.http.get("/auth/oidc/corp/callback", params={"code": "x", "state": state})).status_code
        for _ in range(120)
    ]
    assert set(statuses) == {303, 429}
