"""Topics as zenith reaches them: made, published to, listed, paused, replayed, refused."""

from __future__ import annotations

from typing import Any

import pytest

from constellation.nova.domain.access import Role
from constellation.nova.store.jobs import Failure, Jobs

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def ask(thin: Any, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
    answer = await thin.http(method, path, body=body, **more)
    assert answer.status == status, answer.body
    return answer.json() if answer.body else None


async def orders(thin: Any) -> None:
    await thin.deploy("f", "")
    await ask(thin, "POST", "/topics", {"name": "orders", "description": "what is bought"}, status=201)


async def subscribe(thin: Any, name: str, **more: Any) -> Any:
    return await ask(thin, "POST", "/topics/orders/subscriptions", {"name": name, "function": "f", **more}, status=201)


async def test_topics_and_subscriptions_are_made_changed_and_deleted(thin):
    await orders(thin)
    assert (await ask(thin, "GET", "/topics/orders"))["retention_hours"] == 168
    changed = await ask(thin, "PATCH", "/topics/orders", {"retention_hours": 24})
    assert (changed["retention_hours"], changed["description"]) == (24, "what is bought")
    await ask(thin, "POST", "/topics", {"name": "orders"}, status=409)
    wanted = {"region": [{"prefix": "eu-"}, "us"], "kind": "new"}
    made = await subscribe(thin, "billing", filter=wanted, max_attempts=5, backoff_base_ms=250)
    assert (made["filter"]["kind"], made["max_attempts"], made["backoff_base_ms"]) == ("new", 5, 250)
    assert sorted(map(str, made["filter"]["region"])) == sorted(map(str, wanted["region"]))
    changed = await ask(thin, "PATCH", "/subscriptions/billing", {"filter": {}, "enabled": False})
    assert (changed["filter"], changed["enabled"], changed["max_attempts"]) == ({}, False, 5)
    for path, query in (("/subscriptions", ""), ("/subscriptions", "function=f"), ("/topics/orders/subscriptions", "")):
        listed = await ask(thin, "GET", path, query=query)
        assert [each["name"] for each in listed["items"]] == ["billing"]
        assert listed["pagination"]["total"] == 1
    await ask(thin, "DELETE", "/subscriptions/billing")
    await ask(thin, "GET", "/subscriptions/billing", status=404)
    await ask(thin, "DELETE", "/topics/orders")
    gone = await ask(thin, "GET", "/topics/orders", status=404)
    assert gone["code"] == "topic_not_found"


async def test_a_message_is_published_once_by_its_key_and_delivered(thin):
    await orders(thin)
    await subscribe(thin, "billing")
    message = {"payload": {"n": 1}, "key": "k", "attributes": {"region": "eu"}}
    headers = {"Idempotency-Key": "once"}
    first = await ask(thin, "POST", "/topics/orders/publish", message, status=201, headers=headers)
    assert (first["topic"], first["deliveries"], first["duplicate"]) == ("orders", 1, False)
    again = await ask(thin, "POST", "/topics/orders/publish", message, headers=headers)
    assert (again["id"], again["deliveries"], again["duplicate"]) == (first["id"], 0, True)
    batch = {"messages": [{"payload": n} for n in range(3)]}
    many = await ask(thin, "POST", "/topics/orders/publish-batch", batch, status=201)
    assert [each["deliveries"] for each in many["messages"]] == [1, 1, 1]
    kept = await ask(thin, "GET", "/topics/orders/messages", query="limit=3")
    assert [each["payload"] for each in kept["items"]] == [2, 1, 0]
    assert kept["pagination"]["has_more"]
    (own,) = (await ask(thin, "GET", "/topics/orders/messages", query="key=k"))["items"]
    assert (own["payload"], own["attributes"], own["call_depth"]) == ({"n": 1}, {"region": "eu"}, 0)
    deliveries = await ask(thin, "GET", "/subscriptions/billing/deliveries", query=f"message={first['id']}")
    (delivery,) = deliveries["items"]
    assert (delivery["status"], delivery["attempt"], delivery["function"]) == ("queued", 0, "f")
    job = await ask(thin, "GET", f"/async-invocations/{delivery['id']}")
    assert (job["source"], job["payload"]["data"]) == ("subscription/billing", {"n": 1})


async def test_a_subscription_is_paused_redriven_and_replayed(thin, db):
    await orders(thin)
    await subscribe(thin, "billing", max_attempts=1)
    assert (await ask(thin, "POST", "/subscriptions/billing/pause"))["paused"]
    published = await ask(thin, "POST", "/topics/orders/publish", {"payload": 1}, status=201)
    stands = await ask(thin, "GET", "/subscriptions/billing")
    assert (stands["waiting"], stands["queued"]) == (1, 0)
    assert not (await ask(thin, "POST", "/subscriptions/billing/resume"))["paused"]
    jobs = Jobs(db)
    (claim,) = await jobs.claim(owner="w", lease_s=60, limit=5)
    await jobs.fail(
        [Failure(claim=claim, request_id=None, error=b'{"type":"E"}', duration_ms=None, retry_after_s=None)]
    )
    assert (await ask(thin, "GET", "/subscriptions/billing"))["dead"] == 1
    (dead,) = (await ask(thin, "GET", "/subscriptions/billing/deliveries", query="status=dead"))["items"]
    assert (dead["message_id"], dead["error"]) == (published["id"], {"type": "E"})
    assert (await ask(thin, "POST", "/subscriptions/billing/deliveries/retry-all"))["retried"] == 1
    replayed = await ask(thin, "POST", "/subscriptions/billing/replay", {"since": "2020-01-01T00:00:00Z"})
    assert replayed == {"replayed": 1, "seen": 1, "next": None}
    assert (await ask(thin, "GET", "/subscriptions/billing"))["queued"] == 2


BAD = [
    ("/topics", {"name": "a b"}, 400, "name"),
    ("/topics", {"name": "a", "retention_hours": 721}, 400, "retention_hours"),
    ("/topics/orders/subscriptions", {"name": "s", "function": "absent"}, 404, None),
    ("/topics/absent/subscriptions", {"name": "s", "function": "f"}, 404, None),
    ("/topics/orders/subscriptions", {"name": "s", "function": "f", "filter": {"a": []}}, 400, "filter.a"),
    ("/topics/orders/subscriptions", {"name": "s", "function": "f", "max_attempts": 0}, 400, "max_attempts"),
    ("/topics/absent/publish", {"payload": 1}, 404, None),
    ("/topics/orders/publish", {}, 400, "payload"),
    ("/topics/orders/publish", {"payload": "x" * (256 << 10)}, 413, None),
    ("/topics/orders/publish", {"payload": 1, "attributes": {"a": 1}}, 400, "attributes[...]"),
    ("/topics/orders/publish", {"payload": 1, "attributes": {"a b": "c"}}, 400, "attributes"),
    ("/topics/orders/publish-batch", {"messages": []}, 400, "messages"),
    ("/topics/orders/publish-batch", {"messages": [{"payload": "x" * (200 << 10)}] * 6}, 413, None),
    ("/topics/orders/publish-batch", {"messages": [{"payload": 1}] * 101}, 400, "messages"),
    ("/subscriptions/absent/replay", {"since": "2020-01-01T00:00:00Z"}, 404, None),
    ("/subscriptions/s0/replay", {"since": "2020-01-01T00:00:00"}, 400, "since"),
    ("/subscriptions/absent/pause", None, 404, None),
]


async def test_what_makes_no_sense_is_refused(thin):
    await orders(thin)
    await subscribe(thin, "s0")
    for path, body, status, field in BAD:
        problem = await ask(thin, "POST", path, body, status=status)
        assert problem.get("field") == field, (path, body, problem)
    await ask(thin, "PATCH", "/subscriptions/s0", {"function": "absent"}, status=404)
    await ask(thin, "GET", "/subscriptions/s0/deliveries", query="status=lost", status=400)


async def test_only_who_may_publishes_and_nobody_sees_others_topics(thin):
    await orders(thin)
    await ask(thin, "POST", "/topics/orders/publish", {"payload": 1}, status=201, role=Role.INVOKER)
    await ask(thin, "POST", "/topics/orders/publish", {"payload": 1}, status=403, role=Role.VIEWER)
    await ask(thin, "POST", "/topics", {"name": "more"}, status=403, role=Role.INVOKER)
    await ask(thin, "GET", "/topics/orders/messages", status=403, role=Role.INVOKER)
    await ask(thin, "GET", "/topics/orders/messages", role=Role.VIEWER)
    assert (await ask(thin, "GET", "/topics", tenant="other"))["items"] == []
    await ask(thin, "POST", "/topics/orders/publish", {"payload": 1}, status=404, tenant="other")
