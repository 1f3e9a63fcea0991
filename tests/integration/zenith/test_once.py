"""Idempotency keys at the gateway: they reach comet, and a repeated answer says so."""

from __future__ import annotations

import json

import pytest

from constellation.testing.comet import HandlerRaised
from tests.integration.zenith.conftest import problem

pytestmark = pytest.mark.anyio

KEYED = {"Idempotency-Key": "order 17"}


async def test_the_key_of_a_call_reaches_comet_though_its_caller_is_known(rig, http):
    assert (await http.post("/functions/echo/invoke", json=1)).status_code == 200
    first = await http.post("/functions/echo/invoke", json=1, headers=KEYED)
    again = await http.post("/functions/echo/invoke", json=1, headers=KEYED)
    assert "x-idempotency-status" not in first.headers
    assert again.headers["x-idempotency-status"] == "replay"
    assert [caller.context.idempotency_key for _, caller in rig.comet.calls] == ["", "order 17", "order 17"]


@pytest.mark.parametrize("key", ["", "k" * 257, "caf\xe9"])
async def test_what_is_no_key_is_refused(rig, http, key):
    for path in ("/functions/echo/invoke", "/fn/echo"):
        body = problem(
            await http.post(path, json=1, headers={"Idempotency-Key": key.encode("latin-1")}), 400, "invalid_request"
        )
        assert body["field"] == "Idempotency-Key"
    assert rig.comet.calls == []


async def test_a_function_url_repeats_what_was_asked_for_not_how(rig, http):
    async def raises(_payload: bytes) -> bytes:
        raise HandlerRaised(b'{"type":"ValueError","message":"no"}')

    rig.comet.functions["raises"] = raises
    first = await http.post("/fn/raises/a?b=c", content=b"d", headers=KEYED | {"User-Agent": "one"})
    again = await http.post("/fn/raises/a?b=c", content=b"d", headers=KEYED | {"User-Agent": "two"})
    assert "x-idempotency-status" not in first.headers
    problem(again, 502, "function_failed")
    assert again.headers["x-idempotency-status"] == "replay"  # of an error, too
    others = [
        await http.put("/fn/raises/a?b=c", content=b"d", headers=KEYED),
        await http.post("/fn/raises/e?b=c", content=b"d", headers=KEYED),
        await http.post("/fn/raises/a?b=f", content=b"d", headers=KEYED),
        await http.post("/fn/raises/a?b=c", content=b"g", headers=KEYED),
    ]
    assert {other.status_code for other in others} == {502}
    seen = [caller.context.idempotency_fingerprint for _, caller in rig.comet.calls]
    assert seen[0] == seen[1]
    assert len({*seen}) == 5
    assert all(len(fingerprint) == 32 for fingerprint in seen)
    assert json.loads(rig.comet.calls[0][0].payload)["headers"]["idempotency-key"] == "order 17"
