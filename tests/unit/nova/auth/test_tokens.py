"""A token chooses neither its algorithm nor its key, and is good only for whom, where and when it says."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from constellation.base.errors import Unauthenticated, Unavailable
from constellation.nova.auth.tokens import Tokens
from constellation.nova.config.issuers import issuers_of

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
RSA, OTHER_RSA = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("one", "two"))
EC = ECKey.generate_key("P-256", {"kid": "ec"})
SECRET = "a shared secret of more than 32 bytes"
ISSUER = "https://id.example.org"


@dataclass
class FakeClock:
    passed_s: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s)

    def monotonic_s(self) -> float:
        return 1000 + self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


@dataclass
class Provider:
    """What the issuer publishes, and how often it was asked."""

    keys: list[object] = field(default_factory=lambda: [RSA, EC])
    asked: int = 0
    status: int = 200

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self.status, json={"keys": [key.as_dict(private=False) for key in self.keys]})


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def provider():
    return Provider()


def settings(**more):
    facts = {
        "issuer": ISSUER,
        "audience": "constellation",
        "algorithms": ["RS256", "ES256"],
        "jwks_url": "https://id.example.org/keys",
        "tenant_claim": "tenant",
    }
    given = {**facts, **more}
    return issuers_of({"corp": {name: value for name, value in given.items() if value is not None}})


@pytest.fixture
def tokens(clock, provider):
    return Tokens(settings(), clock=clock, transport=httpx.MockTransport(provider))


def claims(**more):
    now_s = int(START.timestamp())
    told = {
        "iss": ISSUER,
        "aud": "constellation",
        "sub": "ann",
        "exp": now_s + 3600,
        "tenant": "acme",
        "roles": ["viewer"],
    }
    return {name: value for name, value in {**told, **more}.items() if value is not None}


def signed(key, algorithm: str, **more) -> str:
    head = {"alg": algorithm, **({"kid": key.get("kid")} if key.get("kid") else {})}
    return jwt.encode(head, claims(**more), key, algorithms=[algorithm])


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_secret(secret: bytes, head: dict[str, str]) -> str:
    """What a library that is not careful takes for a token: a public key used as a shared secret."""
    text = f"{part(head)}.{part(claims())}"
    mac = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
async def test_a_token_says_who_its_bearer_is(tokens, key, algorithm):
    found = await tokens.claimed(signed(key, algorithm))
    assert (found.subject, found.tenant, found.home, found.roles) == ("jwt:corp/ann", "acme", "acme", ("viewer",))
    assert found.expires_at_s == START.timestamp() + 3630


async def test_a_shared_secret_signs_too(clock, tmp_path):
    (tmp_path / "secret").write_text(SECRET + "\n")
    issuers = settings(algorithms=["HS256"], jwks_url=None, secret=str(tmp_path / "secret"))
    tokens = Tokens(issuers, clock=clock)
    assert (await tokens.claimed(signed(OctKey.import_key(SECRET), "HS256"))).subject == "jwt:corp/ann"
    with pytest.raises(Unauthenticated):
        await tokens.claimed(signed(OctKey.import_key("another secret of more than 32 bytes"), "HS256"))
    (tmp_path / "secret").write_text("short")
    with pytest.raises(Unavailable):
        await Tokens(issuers, clock=clock).claimed(signed(OctKey.import_key(SECRET), "HS256"))


async def test_a_public_key_of_a_file_and_a_key_set_of_a_file(clock, tmp_path):
    (tmp_path / "key.pem").write_bytes(RSA.as_pem(private=False))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [EC.as_dict(private=False)]}))
    from_pem = Tokens(settings(algorithms=["RS256"], jwks_url=None, key=str(tmp_path / "key.pem")), clock=clock)
    assert (await from_pem.claimed(signed(RSA, "RS256"))).subject == "jwt:corp/ann"
    from_set = Tokens(settings(jwks_url=None, jwks=str(tmp_path / "keys.json")), clock=clock)
    assert (await from_set.claimed(signed(EC, "ES256"))).subject == "jwt:corp/ann"
    with pytest.raises(Unauthenticated):
        await from_set.claimed(signed(RSA, "RS256"))


async def test_the_algorithm_is_not_the_tokens_choice(tokens, provider):
    public = RSA.as_pem(private=False)
    head, payload = part({"alg": "none"}), part(claims())
    confused = [
        f"{head}.{payload}.",
        f"{part({'alg': 'None', 'kid': 'one'})}.{payload}.x",
        with_secret(public, {"alg": "HS256"}),
        with_secret(public, {"alg": "HS256", "kid": "one"}),
        jwt.encode({"alg": "RS256", "kid": "ec"}, claims(), RSA, algorithms=["RS256"]),
    ]
    for text in confused:
        with pytest.raises(Unauthenticated):
            await tokens.claimed(text)
    provider.keys.append(OctKey.import_key(SECRET, {"kid": "oct"}))  # whoever publishes a secret has none
    with pytest.raises(Unauthenticated):
        await tokens.claimed(signed(OctKey.import_key(SECRET, {"kid": "oct"}), "HS256"))


@pytest.mark.parametrize(
    "more",
    [
        {"exp": int(START.timestamp()) - 31},
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": int(START.timestamp()) + 31},
        {"aud": "somebody else"},
        {"aud": ["a", "b"]},
        {"aud": None},
        {"iss": "https://evil.example.org"},
        {"iss": None},
        {"sub": None},
        {"sub": "a b"},
        {"sub": 7},
        {"tenant": None},
        {"tenant": "*"},
        {"tenant": "a/b"},
    ],
)
async def test_claims_that_do_not_fit_are_refused(tokens, more):
    with pytest.raises(Unauthenticated):
        await tokens.claimed(signed(RSA, "RS256", **more))


@pytest.mark.parametrize("text", ["..", "a.b.c", "e30.e30.", f"{part([])}.{part({})}.x", "x" * 9000 + "..", "é.é.é"])
async def test_what_is_no_token_is_refused(tokens, text):
    with pytest.raises(Unauthenticated):
        await tokens.claimed(text)


async def test_changed_bytes_are_refused(tokens):
    head, payload, signature = signed(RSA, "RS256").split(".")
    forged = part(claims(tenant="beta"))
    for text in (f"{head}.{forged}.{signature}", f"{head}.{payload}.{signature[:-8]}AAAAAAAA"):
        with pytest.raises(Unauthenticated):
            await tokens.claimed(text)


async def test_keys_are_fetched_again_for_a_new_id_but_not_for_each_made_up_one(tokens, provider, clock):
    await tokens.claimed(signed(RSA, "RS256"))
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await tokens.claimed(signed(OTHER_RSA, "RS256"))
    assert provider.asked == 1  # a moment ago
    provider.keys = [OTHER_RSA]  # rotated
    clock.passed_s += 31
    assert (await tokens.claimed(signed(OTHER_RSA, "RS256"))).subject == "jwt:corp/ann"
    assert provider.asked == 2
    with pytest.raises(Unauthenticated):
        await tokens.claimed(signed(RSA, "RS256"))


async def test_a_key_that_was_taken_back_is_not_trusted_for_long(tokens, provider, clock):
    await tokens.claimed(signed(RSA, "RS256"))
    provider.keys = [EC]
    clock.passed_s += 601
    with pytest.raises(Unauthenticated):
        await tokens.claimed(signed(RSA, "RS256"))


async def test_an_issuer_that_is_down_is_no_refusal_and_costs_nobody_who_is_known(tokens, provider, clock):
    provider.status = 500
    with pytest.raises(Unavailable):
        await tokens.claimed(signed(RSA, "RS256"))
    provider.status = 200
    clock.passed_s += 31
    await tokens.claimed(signed(RSA, "RS256"))
    provider.status = 500
    clock.passed_s += 601
    assert (await tokens.claimed(signed(RSA, "RS256"))).subject == "jwt:corp/ann"
    clock.passed_s += 3100  # more than the hour that it is kept at most
    with pytest.raises(Unauthenticated):
        await tokens.claimed(signed(RSA, "RS256", exp=int(START.timestamp()) + 10_000))


async def test_roles_are_mapped_and_the_platforms_callers_are_the_configurations(clock, provider):
    issuers = settings(tenant="*", tenant_claim=None, roles_claim="realm_access.roles", roles={"devs": "operator"})
    tokens = Tokens(issuers, clock=clock, transport=httpx.MockTransport(provider))
    found = await tokens.claimed(signed(RSA, "RS256", realm_access={"roles": ["devs", "admin"]}, tenant="acme"))
    assert (found.subject, found.tenant, found.home) == ("platform-jwt:corp/ann", "*", "default")
    assert found.roles == ("operator",)


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"algorithms": ["RS256", "HS256"], "jwks_url": None, "secret": "/s"}, "HS256"),
        ({"jwks_url": "http://id.example.org/keys"}, "https"),
        ({"jwks_url": None}, "exactly one"),
        ({"jwks": "/keys.json"}, "exactly one"),
        ({"jwks_url": None, "jwks": "keys.json"}, "absolute"),
        ({"tenant": "acme"}, "either"),
        ({"tenant_claim": None}, "either"),
        ({"tenant_claim": None, "tenant": "a b"}, "tenant"),
        ({"audience": None}, "audience"),
        ({"colour": "red"}, "colour"),
        ({"roles": ["a"]}, "roles"),
    ],
)
def test_a_configuration_that_can_not_be_meant_is_refused(more, wrong):
    with pytest.raises(ValueError, match=wrong):
        settings(**more)
