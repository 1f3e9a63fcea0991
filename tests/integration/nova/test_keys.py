from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from constellation.nova.domain.access import ANY, ROLE_PERMISSIONS, ApiKey, Role
from constellation.nova.store.api_keys import ApiKeys, hash_api_key

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def authenticate(nova, credential: str):
    body = {"kind": "presented", "credential": credential}
    return await nova.http.post("/internal/authenticate", json=body, headers=nova.service())


def granted(role: Role) -> list[dict[str, object]]:
    permissions = sorted(ROLE_PERMISSIONS[role])
    return [{"permissions": permissions, "effect": "allow", "namespace": "*", "functions": []}]


async def make(nova, name: str, headers=None, **more):
    answer = await nova.http.post("/apikeys", json={"name": name, **more}, headers=headers or nova.admin())
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_key_is_shown_once_and_authenticates(nova):
    made = await make(nova, "ci", role="invoker")
    assert made["key"].startswith("sk_")
    listed = (await nova.http.get("/apikeys", headers=nova.admin())).json()["items"]
    assert [key["name"] for key in listed] == ["ci"]
    assert made["key"] not in str(listed)
    answer = await authenticate(nova, made["key"])
    assert answer.json() == {
        "subject": "apikey:ci",
        "tenant": "default",
        "namespace": "default",
        "grants": granted(Role.INVOKER),
        "session": "",
        "expires_at_s": None,
        "rate_per_s": 0.0,
        "burst": 0,
    }
    taken = await nova.http.post("/apikeys", json={"name": "ci"}, headers=nova.admin())
    assert taken.status_code == 409


async def test_unknown_disabled_expired_and_revoked_keys_are_refused_alike(nova, db):
    keys = ApiKeys(db)
    for name, more in [
        ("disabled", {"enabled": False}),
        ("expired", {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}),
    ]:
        row = ApiKey(tenant="default", namespace=ANY, name=name, role=Role.ADMIN, **more)
        await keys.create(row, key_hash=hash_api_key(f"sk_{name}"))
    revoked = (await make(nova, "revoked"))["key"]
    assert (await authenticate(nova, revoked)).status_code == 200
    await nova.http.delete("/apikeys/revoked", headers=nova.admin())
    details = set()
    for credential in ("sk_unknown", "", "sk_disabled", "sk_expired", revoked, "x" * 10_000, "sk_\u00fc"):
        answer = await authenticate(nova, credential)
        assert answer.status_code == 401
        details.add(answer.json()["detail"])
    assert len(details) == 1


async def test_a_key_is_disabled_and_enabled_again(nova):
    key = (await make(nova, "ci"))["key"]
    off = await nova.http.patch("/apikeys/ci", json={"enabled": False}, headers=nova.admin())
    assert off.json()["enabled"] is False
    assert (await authenticate(nova, key)).status_code == 401
    await nova.http.patch("/apikeys/ci", json={"enabled": True, "role": "viewer"}, headers=nova.admin())
    assert (await authenticate(nova, key)).json()["grants"] == granted(Role.VIEWER)


async def test_a_key_may_have_an_end(nova):
    made = await make(nova, "short", expires_in_s=3600)
    ends_at = datetime.fromisoformat(made["expires_at"])
    assert (await authenticate(nova, made["key"])).json()["expires_at_s"] == ends_at.timestamp()
    left = ends_at - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


async def test_a_key_may_have_a_rate(nova):
    async def rate_of(key: str) -> tuple[float, int]:
        answer = (await authenticate(nova, key)).json()
        return answer["rate_per_s"], answer["burst"]

    async def change(**what) -> tuple[float, int]:
        answer = await nova.http.patch("/apikeys/ci", json=what, headers=nova.admin())
        assert answer.status_code == 200, answer.text
        return answer.json()["rate_per_s"], answer.json()["burst"]

    made = await make(nova, "ci", rate_per_s=100, burst=200)
    assert (made["rate_per_s"], made["burst"]) == (100.0, 200)
    assert await rate_of(made["key"]) == (100.0, 200)
    assert await change(rate_per_s=2.5) == (2.5, 200)  # what is not named stays
    assert await change(enabled=True) == (2.5, 200)
    assert await change(burst=0) == (2.5, 0)
    assert await rate_of(made["key"]) == (2.5, 3)  # one second's worth
    assert await change(rate_per_s=0.1) == (0.1, 0)
    assert await rate_of(made["key"]) == (0.1, 1)
    assert await change(burst=7) == (0.1, 7)
    assert await change(rate_per_s=0) == (0.0, 0)  # the burst goes with the limit
    assert await rate_of(made["key"]) == (0.0, 0)
    refused = await nova.http.patch("/apikeys/ci", json={"burst": 5}, headers=nova.admin())
    assert (refused.status_code, refused.json()["field"]) == (400, "burst")
    listed = (await nova.http.get("/apikeys", headers=nova.admin())).json()["items"]
    assert [(key["rate_per_s"], key["burst"]) for key in listed] == [(0.0, 0)]


async def test_a_key_of_every_namespace_says_so(nova):
    key = (await make(nova, "wide", namespace="*"))["key"]
    assert (await authenticate(nova, key)).json()["namespace"] == "*"


async def test_platform_keys_are_the_platforms_alone(nova):
    member = nova.member("default")
    refused = await nova.http.post("/apikeys", json={"name": "p", "is_platform": True}, headers=member)
    assert refused.status_code == 403
    key = (await make(nova, "root", role="admin", is_platform=True))["key"]
    answer = await authenticate(nova, key)
    assert answer.json() == {
        "subject": "platform-key:root",
        "tenant": "*",
        "namespace": "*",
        "grants": granted(Role.ADMIN),
        "session": "",
        "expires_at_s": None,
        "rate_per_s": 0.0,
        "burst": 0,
    }
    assert (await nova.http.get("/apikeys", headers=member)).json()["items"] == []
    assert (await nova.http.delete("/apikeys/root", headers=member)).status_code == 404


async def test_the_last_platform_administrator_stays(nova):
    await make(nova, "root", role="admin", is_platform=True)
    attempts = [("DELETE", None), ("PATCH", {"enabled": False}), ("PATCH", {"role": "viewer"})]
    for method, body in attempts:
        answer = await nova.http.request(method, "/apikeys/root", json=body, headers=nova.admin())
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    await make(nova, "spare", role="viewer", is_platform=True)
    assert (await nova.http.delete("/apikeys/root", headers=nova.admin())).status_code == 409
    await make(nova, "next", role="admin", is_platform=True)
    assert (await nova.http.delete("/apikeys/root", headers=nova.admin())).status_code == 200


async def test_loopback_is_the_administrator(nova):
    answer = await nova.http.post("/internal/authenticate", json={"kind": "loopback"}, headers=nova.service())
    assert answer.json() == {
        "subject": "local:admin",
        "tenant": "*",
        "namespace": "*",
        "grants": granted(Role.ADMIN),
        "session": "",
        "expires_at_s": None,
        "rate_per_s": 0.0,
        "burst": 0,
    }


async def test_changes_at_once_of_one_key_all_succeed(nova):
    await make(nova, "ci")
    statuses = []

    async def change(role: str) -> None:
        statuses.append((await nova.http.patch("/apikeys/ci", json={"role": role}, headers=nova.admin())).status_code)

    async with anyio.create_task_group() as tasks:
        for role in ("viewer", "invoker", "operator"):
            tasks.start_soon(change, role)
    assert statuses == [200, 200, 200]
