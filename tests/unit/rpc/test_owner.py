"""Tokens of the owners of work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from constellation.nova.domain.access import Permission
from constellation.nova.domain.identity import verify
from constellation.rpc.owner import OwnerTokens

KEY = b"k" * 32


class FixedClock:
    def __init__(self):
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        return self.time

    def monotonic_s(self):
        return self.time.timestamp()

    async def sleep(self, seconds):
        raise AssertionError("nothing here sleeps")


def test_token_may_invoke_and_nothing_else():
    clock = FixedClock()
    token = OwnerTokens(KEY, clock=clock).token(tenant="t", namespace="n", subject="schedule:7")
    identity = verify(KEY, token, now_s=clock.time.timestamp())
    assert (identity.tenant, identity.namespace, identity.subject) == ("t", "n", "schedule:7")
    assert identity.permissions == {Permission.FUNCTION_INVOKE}
    assert not identity.is_platform_admin


def test_same_bytes_serve_until_half_their_life_is_over():
    clock = FixedClock()
    tokens = OwnerTokens(KEY, clock=clock)
    first = tokens.token(tenant="t", namespace="n", subject="s")
    clock.time += timedelta(seconds=29)
    assert tokens.token(tenant="t", namespace="n", subject="s") == first
    clock.time += timedelta(seconds=2)
    second = tokens.token(tenant="t", namespace="n", subject="s")
    assert second != first
    assert verify(KEY, second, now_s=clock.time.timestamp() + 59).subject == "s"


def test_owners_are_kept_apart_and_bounded():
    tokens = OwnerTokens(KEY, clock=FixedClock(), capacity=3)
    seen = {tokens.token(tenant="t", namespace="n", subject=str(n)) for n in range(10)}
    assert len(seen) == 10
    assert len(tokens._minted) == 3
