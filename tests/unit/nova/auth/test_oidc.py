"""What of logins at providers needs no provider: whom claims mean, what is sealed, where nova may ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.base.errors import Unauthenticated
from constellation.nova.auth.person import LoginRefused, person_of
from constellation.nova.auth.sealing import Sealer
from constellation.nova.auth.web import Web
from constellation.nova.config.oidc import providers_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = {"issuer": "https://id.example.org", "client_id": "here", "tenant": "acme"}
CLAIMS = {
    "iss": "https://id.example.org",
    "aud": "here",
    "exp": NOW.timestamp() + 60,
    "nonce": "n",
    "sub": "42",
    "email": "Ann@Example.org",
    "email_verified": True,
    "name": "Ann",
}


def met(claims=None, **facts):
    [provider] = providers_of({"corp": FACTS | facts})
    return person_of(provider, CLAIMS | (claims or {}), nonce="n", now=NOW)


def test_claims_say_who_it_is():
    ann = met()
    assert (ann.subject, ann.tenant, ann.name, ann.display_name, ann.roles) == (
        "42",
        "acme",
        "ann@example.org",
        "Ann",
        (),
    )
    assert not ann.is_platform
    owner = met(tenant="*")
    assert (owner.tenant, owner.is_platform) == ("default", True)
    assert met({"org": {"id": "umbrella"}}, tenant="", tenant_claim="org.id").tenant == "umbrella"
    assert met({"preferred_username": "ann"}, name_claim="preferred_username").name == "ann"


def test_a_claim_makes_nobody_the_platforms():
    for tenant in ("*", "", "a/b", 7, None):
        with pytest.raises(Unauthenticated):
            met({"tenant": tenant}, tenant="", tenant_claim="tenant")


def test_only_roles_that_are_mapped_count():
    roles = {"eng": "operator", "all": "viewer"}
    claimed = {"groups": ["admin", "eng", "all", "eng", 7]}
    assert met(claimed).roles == ()
    assert met(claimed, roles=roles).roles == ("operator", "viewer")
    assert met({"groups": "all"}, roles=roles).roles == ("viewer",)
    assert met({"groups": ["x"]}, roles=roles, default_role="invoker").roles == ("invoker",)
    assert met({"realm": {"roles": ["eng"]}}, roles=roles, roles_claim="realm.roles").roles == ("operator",)


def test_addresses_must_be_proven_where_they_count():
    unproven = {"email_verified": False}
    with pytest.raises(LoginRefused, match="verified"):
        met(unproven)
    assert met(unproven, trust_email=True).name == "ann@example.org"
    assert met(unproven | {"login": "ann"}, name_claim="login").name == "ann"
    with pytest.raises(LoginRefused):
        met(unproven | {"login": "ann"}, name_claim="login", email_domains=["example.org"])
    assert met(email_domains=["example.org"]).name == "ann@example.org"
    with pytest.raises(LoginRefused, match="only addresses of"):
        met(email_domains=["ample.org"])


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "azp", "groups", "iat", "nbf"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
        max_size=4,
    )
)
def test_whatever_is_claimed_is_a_person_or_a_refusal(claims):
    try:
        found = met(claims)
    except (Unauthenticated, LoginRefused):
        return
    assert found.name


class Carried(msgspec.Struct):
    text: str


@given(st.text(max_size=40), st.integers(0, 10_000), st.sampled_from("AQgw_-"))
def test_what_is_sealed_opens_in_time_with_its_key_and_unchanged(text, place, letter):
    sealer = Sealer(b"key", purpose="a")
    sealed = sealer.seal(Carried(text), expires_at=NOW + timedelta(seconds=1))
    assert sealer.opened(sealed, Carried, now=NOW) == Carried(text)
    assert sealer.opened(sealed, Carried, now=NOW + timedelta(seconds=1)) is None
    for other in (Sealer(b"key", purpose="b"), Sealer(b"yek", purpose="a")):
        assert other.opened(sealed, Carried, now=NOW) is None
    place %= len(sealed) - 1  # the last character may stand for the same bytes
    changed = sealed[:place] + letter + sealed[place + 1 :]
    assert changed == sealed or sealer.opened(changed, Carried, now=NOW) is None


@given(st.text(max_size=100))
def test_any_text_opens_as_nothing(text):
    assert Sealer(b"key", purpose="a").opened(text, Carried, now=NOW) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"issuer": "http://id.example.org"}, "https"),
        ({"issuer": "https://id.example.org?x"}, "without"),
        ({"issuer": ""}, "issuer is missing"),
        ({"client_id": ""}, "client_id is missing"),
        ({"client_secret": "hunter2"}, "absolute path"),
        ({"scopes": "email"}, "openid"),
        ({"algorithms": ["HS256"]}, "RS256, ES256"),
        ({"algorithms": ["none"]}, "RS256, ES256"),
        ({"algorithms": []}, "RS256, ES256"),
        ({"tenant": ""}, "either tenant or"),
        ({"tenant_claim": "x"}, "either tenant or"),
        ({"tenant": "a/b"}, "tenant's id"),
        ({"email_domains": ["Example.org"]}, "no domain"),
        ({"email_domains": "example.org"}, "list"),
        ({"create_users": "yes"}, "true or false"),
        ({"roles": ["x"]}, "roles must say"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_provider_that_makes_no_sense_is_refused_without_its_secret(facts, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        providers_of({"corp": FACTS | facts})
    assert "hunter2" not in str(refused.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "addresses", "reached"),
    [
        ("https://id.example.org/x", ["10.0.0.1"], "id.example.org"),  # the operator's own word
        ("https://keys.example.net/x", ["93.184.216.34"], "93.184.216.34"),
        ("https://keys.example.net/x", ["93.184.216.34", "10.0.0.1"], None),
        ("https://keys.example.net/x", ["127.0.0.1"], None),
        ("https://keys.example.net/x", ["169.254.169.254"], None),
        ("https://keys.example.net/x", ["::1"], None),
        ("https://keys.example.net/x", ["fd00::1"], None),
        ("https://keys.example.net/x", [], None),
        ("http://keys.example.net/x", ["93.184.216.34"], None),
        ("http://id.example.org/x", ["93.184.216.34"], None),
        ("file:///etc/passwd", [], None),
    ],
)
async def test_nova_asks_where_the_operator_said_or_what_is_public(url, addresses, reached):
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"{}")

    async def resolve(_host: str, _port: int) -> list[str]:
        return addresses

    web = Web(home="id.example.org", transport=httpx.MockTransport(answer), resolve=resolve)
    if reached is None:
        with pytest.raises(ValueError, match=r"https|public"):
            await web.get(url)
        assert not asked
        return
    assert await web.get(url) == b"{}"
    assert asked[0].url.host == reached
    assert asked[0].headers["host"] == httpx.URL(url).host  # and so is the certificate that is demanded


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer", [httpx.Response(302, headers={"location": "https://x"}), httpx.Response(200, content=b"x" * 300_000)]
)
async def test_answers_lead_nowhere_and_are_bounded(answer):
    web = Web(home="id.example.org", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(ValueError, match="answer is"):
        await web.get("https://id.example.org/")
