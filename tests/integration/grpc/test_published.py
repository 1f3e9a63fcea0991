"""What functions publish: in their own tenant and namespace, as deep as the call they are in, counted, refused clearly."""

from __future__ import annotations

import pytest

from constellation.base.ids import RequestId, uuid7
from constellation.rpc.metadata import CallContext

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

PUBLISHES = """
def handler(event, context):
    try:
        return context.publish(event["topic"], event.get("payload", "x" * event.get("size", 1)), **event.get("with", {}))
    except Exception as error:
        return [error.code, str(error)]
"""


async def messages(comet, **identity):
    return (await comet.http("GET", "/topics/orders/messages", **identity)).json()["items"]


@pytest.fixture
async def orders(comet):
    async with comet.functions._db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('other')")
        await tx.execute("INSERT INTO namespaces (tenant, name) VALUES ('other', 'default')")
    for tenant in ("default", "other"):
        await comet.deploy("publishes", PUBLISHES, tenant=tenant)
        made = await comet.http("POST", "/topics", body={"name": "orders"}, tenant=tenant)
        assert made.status == 201


async def test_a_message_belongs_to_the_tenant_of_its_function(comet, orders):
    told = await comet.output(
        "publishes", {"topic": "orders", "payload": {"n": 1}, "with": {"key": "k"}}, tenant="other"
    )
    assert await messages(comet) == []
    (kept,) = await messages(comet, tenant="other")
    assert (kept["id"], kept["payload"], kept["key"]) == (told, {"n": 1}, "k")
    assert (kept["publisher"], kept["call_depth"], kept["call_chain"]) == ("function:publishes", 1, ["publishes"])


async def test_refusals_say_what_is_wrong(comet, orders):
    for event, code in (
        ({"topic": "nothing"}, "topic_not_found"),
        ({"topic": "a b"}, "invalid_request"),
        ({"topic": "orders", "size": 256 << 10}, "payload_too_large"),
        ({"topic": "orders", "with": {"attributes": {"a": 1}}}, "invalid_request"),
        ({"topic": "orders", "with": {"attributes": {"a b": "c"}}}, "invalid_request"),
        ({"topic": "orders", "with": {"key": "x" * 257}}, "invalid_request"),
    ):
        assert (await comet.output("publishes", event))[0] == code
    assert await messages(comet) == []
    value = comet.context.registry.get_sample_value
    assert value("constellation_function_asks_total", {"op": "publish", "outcome": "topic_not_found"}) == 1
    assert value("constellation_function_asks_total", {"op": "publish", "outcome": "invalid_request"}) == 4


async def test_messages_are_as_deep_as_the_calls_that_led_to_them(comet, orders):
    def within(depth):
        return CallContext(request_id=RequestId(uuid7()), depth=depth, chain=("z",))

    event = {"topic": "orders"}
    assert isinstance(await comet.output("publishes", event, context=within(30)), str)
    assert (await comet.output("publishes", event, context=within(31)))[0] == "message_loop"
    (kept,) = await messages(comet)
    assert (kept["call_depth"], kept["call_chain"]) == (31, ["z", "publishes"])
    assert (
        comet.context.registry.get_sample_value("constellation_messages_published_total", {"duplicate": "false"}) == 1
    )
