"""The audit over HTTP: written once however often it is sent, found by every filter, seen by whom it concerns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.audit import AuditEvent, Outcome
from constellation.nova.store.pool import connect
from constellation.nova.store.retention import Retention

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def event(**facts) -> AuditEvent:
    usual = {
        "tenant": "default", "namespace": "default", "id": uuid7(), "actor": "apikey:ci", "action": "put_secret",
        "method": "PUT", "resource": "/secrets/db", "fields": ("value",), "outcome": Outcome.SUCCEEDED, "status": 200,
        "code": "", "request_id": str(uuid7()), "peer": "10.0.0.7", "user_agent": "curl", "count": 1,
    }  # fmt: skip
    return AuditEvent(**(usual | facts))


async def sent(nova, *events):
    body = msgspec.json.encode({"events": events})
    headers = {**nova.service(), "content-type": "application/json"}
    answer = await nova.http.post("/internal/audit", content=body, headers=headers)
    assert answer.status_code == 200, answer.text


async def seen(nova, headers=None, **query):
    answer = await nova.http.get("/audit", params=query, headers=headers or nova.admin())
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_batch_that_is_sent_twice_is_written_once_and_shown_as_it_was(nova):
    one = event(fields=("env", "memory_mb"), count=3)
    await sent(nova, one)
    await sent(nova, one, event(fields=()))
    page = await seen(nova)
    assert page["pagination"]["total"] == 2
    newest, oldest = page["items"]
    assert newest["fields"] == []
    assert (oldest["id"], oldest["fields"], oldest["count"]) == (str(one.id), ["env", "memory_mb"], 3)
    assert datetime.fromisoformat(oldest["at"]) == one.at


async def test_every_filter_finds_its_own(nova):
    old = datetime.now(UTC) - timedelta(hours=2)
    at = int(old.timestamp() * 1000)
    from uuid import UUID

    earlier = event(id=UUID(int=(at << 80) | 0x7000_8000_0000_0000_0001), request_id="early")
    other = event(
        actor="user:ann", action="delete_function", resource="/functions/f", outcome=Outcome.REFUSED, status=403
    )
    apart = event(namespace="prod", resource="/functions/f/code", outcome=Outcome.FAILED, status=409)
    await sent(nova, earlier, other, apart)

    async def ids(**query):
        return {item["id"] for item in (await seen(nova, **query))["items"]}

    everything = {str(each.id) for each in (earlier, other, apart)}
    assert await ids() == everything
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert await ids(until=hour_ago) == {str(earlier.id)}
    assert await ids(since=hour_ago) == everything - {str(earlier.id)}
    assert await ids(actor="user:ann") == {str(other.id)}
    assert await ids(action="delete_function") == {str(other.id)}
    assert await ids(outcome="failed") == {str(apart.id)}
    assert await ids(resource="/functions/f") == {str(other.id), str(apart.id)}
    assert await ids(namespace="prod") == {str(apart.id)}
    assert await ids(request_id="early") == {str(earlier.id)}
    first = await seen(nova, limit=1, offset=1)
    assert (len(first["items"]), first["pagination"]["has_more"], first["pagination"]["total"]) == (1, True, 3)


@pytest.mark.parametrize(
    "query", [{"outcome": "good"}, {"since": "yesterday"}, {"since": "2030-01-01T00:00:00"}, {"who": "x"}]
)
async def test_a_question_that_is_none_is_refused(nova, query):
    assert (await nova.http.get("/audit", params=query, headers=nova.admin())).status_code == 400


async def test_each_sees_what_concerns_it(nova):
    for tenant in ("acme", "umbrella"):
        assert (await nova.http.post("/tenants", json={"id": tenant}, headers=nova.admin())).status_code == 201
    own, second = event(tenant="acme"), event(tenant="acme", namespace="second")
    await sent(
        nova, own, second, event(tenant="umbrella"), event(tenant="", actor="", outcome=Outcome.REFUSED, status=401)
    )
    assert len((await seen(nova, nova.member("acme")))["items"]) == 2
    bound = await seen(nova, nova.member("acme", "second", bound=True))
    assert [item["id"] for item in bound["items"]] == [str(second.id)]
    assert len((await seen(nova, all_tenants="1"))["items"]) == 4
    for role in ("operator", "invoker", "viewer"):
        assert (await nova.http.get("/audit", headers=nova.member("acme", role=role))).status_code == 403
    everywhere = await nova.http.get("/audit", params={"all_tenants": "1"}, headers=nova.member("acme"))
    assert everywhere.status_code == 403


async def test_only_planes_write(nova):
    body = json.loads(msgspec.json.encode({"events": [event()]}))
    assert (await nova.http.post("/internal/audit", json=body)).status_code == 401
    spoiled = {"events": [{**body["events"][0], "outcome": "fine"}]}
    assert (await nova.http.post("/internal/audit", json=spoiled, headers=nova.service())).status_code == 400


async def test_rows_go_when_their_time_is_up_and_with_their_tenant(nova, database, db):
    from uuid import UUID

    at = int((datetime.now(UTC) - timedelta(days=100)).timestamp() * 1000)
    await sent(nova, event(id=UUID(int=(at << 80) | 0x7000_8000_0000_0000_0001)), kept := event())
    async with connect(database.dsn("aurora"), application="aurora", max_size=1) as aurora:
        await Retention(aurora).keep(audit_days=90)
    assert [item["id"] for item in (await seen(nova))["items"]] == [str(kept.id)]
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    await sent(nova, event(tenant="acme"))
    assert (await nova.http.delete("/tenants/acme", headers=nova.admin())).status_code == 200
    assert len((await seen(nova, all_tenants="1"))["items"]) == 1
