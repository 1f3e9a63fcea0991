"""Where results go, as who deploys says it: what may be said, and by whom."""

from __future__ import annotations

import time

import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.access import Identity, Limit, Permission
from constellation.nova.domain.identity import mint
from constellation.nova.domain.topic import Topic
from constellation.nova.store.pool import connect
from constellation.nova.store.topics import Topics

from .conftest import IDENTITY_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

TO_AUDIT = {"type": "function", "target": "audit"}
TO_RESULTS = {"type": "topic", "target": "results"}
NOWHERE = {"on_success": None, "on_failure": None}


@pytest.fixture
async def topic(database):
    async with connect(database.dsn(), application="tests", max_size=1) as db:
        await Topics(db).create(Topic(tenant="default", namespace="default", id=uuid7(), name="results"))


def developer(nova, *more: Permission) -> dict[str, str]:
    """Somebody who deploys what it likes, and calls functions whose names begin with "audit"."""
    identity = Identity(
        tenant="default",
        namespace="default",
        subject="t",
        permissions=frozenset(
            {Permission.FUNCTION_READ, Permission.FUNCTION_CREATE, Permission.FUNCTION_UPDATE, *more}
        ),
        is_platform_admin=False,
        expires_at_s=int(time.time()) + 60,
        limits=(Limit(permissions=frozenset({Permission.FUNCTION_INVOKE}), only=("audit*",)),),
    )
    return {**nova.service(), "nova-identity": mint(IDENTITY_KEY, identity)}


async def patch(nova, body, headers=None, name="f"):
    return await nova.http.patch(f"/functions/{name}", json=body, headers=headers or nova.admin())


async def test_destinations_are_set_shown_changed_and_versioned(nova, topic):
    await nova.deploy("audit")
    plain = await nova.deploy("plain")
    assert plain["async_destinations"] == NOWHERE
    wanted = {"on_success": TO_RESULTS, "on_failure": TO_AUDIT}
    made = await nova.deploy("f", async_destinations=wanted)
    assert made["async_destinations"] == wanted
    kept = await patch(nova, {"memory_mb": 256})
    assert kept.json()["async_destinations"] == wanted
    changed = await patch(nova, {"async_destinations": {"on_failure": TO_RESULTS}})
    assert changed.json()["async_destinations"] == {"on_success": None, "on_failure": TO_RESULTS}
    assert changed.json()["live_version"] == 3
    diff = (await nova.http.get("/functions/f/versions/2/diff/3", headers=nova.admin())).json()
    assert "async_destinations.on_failure.target" in {each["field"] for each in diff["changes"]}
    back = await nova.http.post("/functions/f/rollback", json={"version": 1}, headers=nova.admin())
    assert back.json()["async_destinations"] == wanted


async def test_a_destination_must_be_there_and_not_be_the_function_itself(nova):
    await nova.deploy("audit")
    absent = {"name": "f", "runtime": "python", "code": "x", "async_destinations": {"on_success": TO_RESULTS}}
    refused = await nova.http.post("/functions", json=absent, headers=nova.admin())
    assert (refused.status_code, refused.json()["code"]) == (422, "destination_not_found")
    assert refused.json()["field"] == "async_destinations.on_success"
    await nova.deploy("f")
    for body, status, code in (
        ({"on_failure": {"type": "function", "target": "absent"}}, 422, "destination_not_found"),
        ({"on_failure": TO_RESULTS}, 422, "destination_not_found"),
        ({"on_failure": {"type": "function", "target": "f"}}, 400, "invalid_request"),
        ({"on_failure": {"type": "queue", "target": "f"}}, 400, "invalid_request"),
        ({"on_failure": {"type": "function", "target": "a/b"}}, 400, "invalid_request"),
        ({"on_sucess": TO_AUDIT}, 400, "invalid_request"),
    ):
        answer = await patch(nova, {"async_destinations": body})
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    await nova.http.post("/tenants", json={"id": "other"}, headers=nova.admin())
    await nova.deploy("f", nova.member("other"))
    foreign = await patch(nova, {"async_destinations": {"on_success": TO_AUDIT}}, nova.member("other"))
    assert foreign.status_code == 422


async def test_nobody_has_results_sent_where_it_may_not_send_anything(nova, topic):
    for name in ("audit", "secret", "f"):
        await nova.deploy(name)
    mine = developer(nova)
    assert (await patch(nova, {"async_destinations": {"on_success": TO_AUDIT}}, mine)).status_code == 200
    to_secret = {"on_success": {"type": "function", "target": "secret"}, "on_failure": None}
    for body in (to_secret, {"on_failure": TO_RESULTS}):
        refused = await patch(nova, {"async_destinations": body}, mine)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    created = {"name": "g", "runtime": "python", "code": "x", "async_destinations": to_secret}
    assert (await nova.http.post("/functions", json=created, headers=mine)).status_code == 403
    publisher = developer(nova, Permission.TOPIC_PUBLISH)
    assert (await patch(nova, {"async_destinations": {"on_failure": TO_RESULTS}}, publisher)).status_code == 200

    # What somebody else set stays through a change of other things; going back to it is setting it.
    assert (await patch(nova, {"async_destinations": to_secret})).status_code == 200
    assert (await patch(nova, {"memory_mb": 512}, mine)).json()["async_destinations"] == to_secret
    live = (await patch(nova, {"async_destinations": NOWHERE}, mine)).json()["live_version"]
    back = await nova.http.post("/functions/f/rollback", json={"version": live - 1}, headers=mine)
    assert back.status_code == 403


async def test_going_back_does_not_fail_of_what_is_gone(nova):
    await nova.deploy("audit")
    await nova.deploy("f", async_destinations={"on_success": TO_AUDIT})
    await patch(nova, {"async_destinations": NOWHERE})
    assert (await nova.http.delete("/functions/audit", headers=nova.admin())).status_code == 200
    back = await nova.http.post("/functions/f/rollback", json={}, headers=nova.admin())
    assert back.json()["async_destinations"]["on_success"] == TO_AUDIT


async def test_a_function_keeps_its_name(nova):
    await nova.deploy("f")
    renamed = await patch(nova, {"name": "g", "memory_mb": 256})
    assert (renamed.status_code, renamed.json()["code"]) == (422, "function_name_fixed")
    assert "deploy the code as 'g'" in renamed.json()["detail"]
    assert (await nova.http.get("/functions/f", headers=nova.admin())).json()["memory_mb"] == 128
    same = await patch(nova, {"name": "f", "memory_mb": 256})
    assert (same.status_code, same.json()["memory_mb"]) == (200, 256)
