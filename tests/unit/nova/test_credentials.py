"""What a gateway takes a credential for by its form is what nova takes it for."""

from __future__ import annotations

import pytest

from constellation.nova.auth.tokens import Tokens
from constellation.nova.domain.gateway import Auth, kind_of
from constellation.nova.store.users import SESSION_PREFIX


@pytest.mark.parametrize("text", ["sk_abc", "sk_a.b.c", "ss_abc", "ss_a.b.c", "a.b.c", "a.b", "", "eyJ0.e30.x"])
def test_both_tell_tokens_sessions_and_keys_apart_alike(text):
    is_token, is_session = Tokens.is_token(text), text.startswith(SESSION_PREFIX)
    assert kind_of(text) is (Auth.JWT if is_token else Auth.SESSION if is_session else Auth.API_KEY)
