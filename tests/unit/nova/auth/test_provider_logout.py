"""Which sessions a logout token ends, and which tokens are none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from constellation.base.errors import Unauthenticated
from constellation.nova.auth.provider_logout import logout_of
from constellation.nova.config.oidc import Provider

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
EVENT = "http://schemas.openid.net/event/backchannel-logout"
CORP = Provider(name="corp", issuer="https://id.example.org", client_id="constellation", tenant="default")
TOKEN = {
    "iss": CORP.issuer, "aud": "constellation", "iat": NOW_S, "exp": NOW_S + 120, "jti": "1", "events": {EVENT: {}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "subject", "sid"),
    [
        ({"sub": "ann"}, "ann", ""),
        ({"sid": "s1"}, "", "s1"),
        ({"sub": "ann", "sid": "s1", "aud": ["constellation"]}, "ann", "s1"),
        ({"sub": "ann", "aud": ["constellation", "another"], "azp": "constellation"}, "ann", ""),
        ({"sub": "ann", "events": {EVENT: {}, "urn:another": 1}}, "ann", ""),
        ({"sub": "ann", "exp": NOW_S - 29}, "ann", ""),  # two clocks
    ],
)
def test_it_names_a_session_or_somebody(more, subject, sid):
    found = logout_of(CORP, TOKEN | more | {"iat": min(NOW_S, more.get("exp", NOW_S))}, now=NOW)
    assert (found.provider, found.issuer, found.subject, found.sid) == ("corp", CORP.issuer, subject, sid)


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "https://another.example"},
        {"aud": "another"},
        {"aud": ["constellation", "another"]},
        {"azp": "another"},
        {"exp": NOW_S - 31},
        {"exp": NOW_S + 3601},
        {"exp": NOW_S - 1, "iat": NOW_S},
        {"exp": None},
        {"iat": None},
        {"iat": NOW_S + 31},
        {"jti": ""},
        {"jti": 1},
        {"events": {}},
        {"events": {EVENT: None}},
        {"events": EVENT},
        {"nonce": "n"},
        {"nonce": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sid": "\n"},
        {"sid": None},
    ],
)
def test_it_is_refused_when_it_is_no_logout_for_us(more):
    with pytest.raises(Unauthenticated):
        logout_of(CORP, TOKEN | {"sub": "ann"} | more, now=NOW)
