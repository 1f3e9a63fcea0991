"""Notifications: told in the transaction of what they tell of, folded, read by each for itself, followed."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from constellation.nova.domain.access import Role
from constellation.nova.domain.notification import NotificationKind
from constellation.nova.store.notifications import Notifications
from constellation.nova.store.pool import connect

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
KIND = NotificationKind


async def listed(nova, headers, **query) -> list[dict[str, object]]:
    answer = await nova.http.get("/notifications", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def until_listed(nova, headers, count: int, **query) -> list[dict[str, object]]:
    with anyio.fail_after(20):
        while len(found := await listed(nova, headers, **query)) != count:
            await anyio.sleep(0.02)
    return found


@pytest.fixture
async def comet(database):
    """The outbox as comet fills it."""
    async with connect(database.dsn("comet"), application="comet", max_size=2) as db:
        yield Notifications(db)


@pytest.fixture
async def owner(database):
    async with connect(database.dsn(), application="tests", max_size=2) as db:
        yield db


async def tell(comet: Notifications, subject: str, *, times: int = 1, namespace: str = "default") -> None:
    for number in range(times):
        await comet.tell("default", namespace, KIND.BREAKER_OPENED, subject, f"time {number}")


async def test_what_happens_again_is_one_notification_with_a_count(nova, comet):
    await tell(comet, "pay", times=5)
    await tell(comet, "mail")

    async def is_whole() -> bool:
        found = await listed(nova, nova.admin())
        return sorted(each["count"] for each in found) == [1, 5]

    with anyio.fail_after(20):
        while not await is_whole():
            await anyio.sleep(0.02)
    newest, older = await listed(nova, nova.admin())
    assert (newest["subject"], newest["severity"], newest["is_read"]) == ("mail", "error", False)
    assert older["title"] == "The breaker of pay opened: its calls fail"
    assert older["detail"] == "time 4"


async def test_reading_is_each_readers_own_and_ends_when_it_happens_again(nova, comet):
    await tell(comet, "pay")
    (one,) = await until_listed(nova, nova.admin(), 1)
    viewer = nova.member("default", role=Role.VIEWER)
    operator_count = (await nova.http.get("/notifications/unread-count", headers=viewer)).json()
    assert operator_count == {"unread": 1}
    marked = await nova.http.post(f"/notifications/{one['id']}/read", headers=nova.admin())
    assert marked.json() == {"updated": 1}
    assert await listed(nova, nova.admin(), unread="1") == []
    assert (await listed(nova, nova.admin()))[0]["is_read"] is True

    await tell(comet, "pay")
    (again,) = await until_listed(nova, nova.admin(), 1, unread="1")
    assert (again["id"], again["count"]) == (one["id"], 2)
    await tell(comet, "mail")
    await until_listed(nova, nova.admin(), 2, unread="1")
    assert (await nova.http.post("/notifications/read-all", headers=nova.admin())).json() == {"updated": 2}
    assert (await nova.http.post("/notifications/read-all", headers=nova.admin())).json() == {"updated": 0}
    missing = await nova.http.post("/notifications/0190a0a0-0000-7000-8000-000000000000/read", headers=nova.admin())
    assert missing.status_code == 404


async def test_filters_and_who_sees_what(nova, comet):
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    space = await nova.http.post("/tenants/default/namespaces", json={"name": "dev"}, headers=nova.admin())
    assert space.status_code == 201, space.text
    await tell(comet, "pay")
    await tell(comet, "pay", namespace="dev")
    await comet.tell("default", "dev", KIND.CALL_DEAD, "mail", "")
    await comet.tell("", "", KIND.SECRETS_RESEALED, "2", "")
    await comet.tell("acme", "default", KIND.CALL_DEAD, "theirs", "")
    await until_listed(nova, nova.admin(), 4)  # the platform's too, and nothing of another tenant
    assert len(await listed(nova, nova.admin(), kind="call_dead")) == 1
    assert len(await listed(nova, nova.admin(), severity="info")) == 1
    assert len(await listed(nova, nova.admin(), subject="pay")) == 2
    assert len(await listed(nova, nova.admin(), since=(datetime.now(UTC) + timedelta(hours=1)).isoformat())) == 0
    assert len(await listed(nova, nova.member("default"))) == 3
    bound = nova.member("default", "dev", role=Role.VIEWER, bound=True)
    assert [each["subject"] for each in await listed(nova, bound)] == ["mail", "pay"]
    assert [each["subject"] for each in await listed(nova, nova.member("acme"))] == ["theirs"]
    theirs = (await listed(nova, nova.member("acme")))[0]["id"]
    assert (await nova.http.post(f"/notifications/{theirs}/read", headers=bound)).status_code == 404
    wrong = await nova.http.get("/notifications?kind=weather", headers=nova.admin())
    assert wrong.status_code == 400
    assert "build_failed" in wrong.json()["detail"]
    assert (await nova.http.get("/notifications", headers=nova.member("default", role=Role.INVOKER))).status_code == 403

    # What a deleted namespace or tenant was told goes with it.
    assert (await nova.http.delete("/tenants/default/namespaces/dev", headers=nova.admin())).status_code == 200
    assert len(await listed(nova, nova.member("default"))) == 1
    await nova.http.delete("/tenants/acme", headers=nova.admin())
    await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())
    assert await listed(nova, nova.member("acme")) == []


async def test_of_a_tenant_that_is_gone_nothing_is_kept_and_nothing_stands_in_line(nova, comet, owner):
    await comet.tell("nobody", "default", KIND.CALL_DEAD, "late", "")
    await comet.tell("default", "nowhere", KIND.CALL_DEAD, "late", "")
    await tell(comet, "pay")
    await until_listed(nova, nova.admin(), 1)
    with anyio.fail_after(20):
        while await owner.fetch_value("SELECT count(*) FROM notices"):
            await anyio.sleep(0.02)
    assert await owner.fetch_value("SELECT count(*) FROM notifications") == 1


async def test_jobs_that_die_tell_of_themselves_or_not_at_all(nova, owner):
    """By triggers: whatever writes the row, and only when it commits."""
    await nova.deploy("worker")
    job = (
        "INSERT INTO jobs (tenant, namespace, id, function_name, payload, subject, source, max_attempts, backoff_base_s,"
        " backoff_max_s) VALUES ('default', 'default', gen_random_uuid(), 'worker', 'null', 't', $1, 1, 1, 1)"
    )
    for source in ("api", "api", "schedule/7"):
        async with owner.transaction() as tx:
            await tx.execute(job, source)
    async with owner.transaction() as tx:
        await tx.execute("UPDATE jobs SET status = 'dead', finished_at = now()")
        await tx.roll_back()
    async with owner.transaction() as tx:
        await tx.execute("UPDATE jobs SET status = 'dead', finished_at = now()")
        await tx.execute("UPDATE jobs SET error = 'again'")  # it is dead already
    found = await until_listed(nova, nova.admin(), 2)
    assert {(each["kind"], each["count"]) for each in found} == {("call_dead", 2), ("schedule_failed", 1)}


async def test_a_failed_build_and_a_canary_that_went_back_are_told_with_the_reason(nova, owner):
    files = {"main.py": "x", "build.sh": "false"}
    body = {
        "name": "built", "runtime": "python", "handler": "main.handler",
        "files": {path: b64encode(text.encode()).decode() for path, text in files.items()},
    }  # fmt: skip
    assert (await nova.http.post("/functions", json=body, headers=nova.admin())).status_code == 201
    async with owner.transaction() as tx:
        await tx.execute("UPDATE builds SET state = 'failed', error = 'no such compiler', finished_at = now()")
    await nova.deploy("shop")
    code = {"code": "def handler(event, context):\n    return 2\n"}
    assert (await nova.http.put("/functions/shop/code", json=code, headers=nova.admin())).status_code == 200
    alias = await nova.http.put("/functions/shop/aliases/prod", json={"version": 1}, headers=nova.admin())
    assert alias.status_code == 200, alias.text
    begun = await nova.http.post("/functions/shop/canary", json={"alias": "prod", "version": 2}, headers=nova.admin())
    assert begun.status_code == 201, begun.text
    async with owner.transaction() as tx:
        await tx.execute(
            "UPDATE function_canaries SET state = 'rolled_back', reason = 'it fails more', ended_at = now()"
        )
    found = {each["kind"]: each for each in await until_listed(nova, nova.admin(), 2)}
    assert (found["build_failed"]["subject"], found["build_failed"]["detail"]) == ("built", "no such compiler")
    assert found["canary_rolled_back"]["detail"] == "prod stays at version 1: it fails more"


async def test_a_key_is_told_of_once_a_stage_before_it_expires(nova, database, owner):
    for name, days in (("ci", 3), ("lasting", 30)):
        body = {"name": name, "role": "viewer", "expires_in_s": days * 86_400}
        made = await nova.http.post("/apikeys", json=body, headers=nova.admin())
        assert made.status_code == 201, made.text
    async with connect(database.dsn("nova"), application="nova", max_size=1) as db:
        book = Notifications(db)
        assert await book.tell_expiring_keys() == 1
        (told,) = await until_listed(nova, nova.admin(), 1)
        assert (told["kind"], told["subject"], told["count"]) == ("key_expiring", "ci", 1)
        assert await book.tell_expiring_keys() == 0
        async with owner.transaction() as tx:  # four days later
            await tx.execute("UPDATE notifications SET last_at = now() - interval '4 days'")
            await tx.execute("UPDATE api_keys SET expires_at = now() + interval '1 hour' WHERE name = 'ci'")
        assert await book.tell_expiring_keys() == 1


async def test_the_end_of_a_rotation_is_told_to_the_platforms_administrators(nova):
    assert (await nova.http.post("/secrets", json={"name": "a", "value": "b"}, headers=nova.admin())).status_code == 201
    assert (await nova.http.post("/master-keys", headers=nova.admin())).status_code == 201
    (told,) = await until_listed(nova, nova.admin(), 1)
    assert (told["kind"], told["subject"], told["detail"]) == ("secrets_resealed", "2", "1 sealed anew")
    assert await listed(nova, nova.member("default")) == []


async def test_the_stream_begins_where_it_is_told_and_goes_on(nova, comet):
    await tell(comet, "before")
    (first,) = await until_listed(nova, nova.admin(), 1)
    seen: list[dict[str, object]] = []
    async with nova.http.stream("GET", "/notifications/stream?after=0", headers=nova.admin()) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        with anyio.fail_after(20):
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    if len(seen) == 1:
                        await tell(comet, "after")
                    else:
                        break
    assert [each["subject"] for each in seen] == ["before", "after"]
    assert seen[0]["seq"] == first["seq"]
