"""What functions ask, over real channels and both ports: who they are and what led to them is not theirs to say."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.base.ids import RequestId, uuid7
from constellation.nova.domain.access import Role
from constellation.rpc.metadata import CallContext

from .conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

CALLS = """
def handler(event, context):
    try:
        return context.invoke(event[0], event[1:]) if event else "end"
    except Exception as error:
        return error.code
"""
KEEPS = """
def handler(event, context):
    state = context.state.store("s") if event.get("shared") else context.state
    if "value" in event:
        state.put("k", event["value"])
    return state.get("k")
"""
# Speaks the protocol itself, on the channel that it finds among its descriptors.
HOSTILE = """
import os, socket, struct, time

def frame(kind, call_id, body):
    return struct.pack(">IBBHI", len(body), kind, 0, 0, call_id) + body

def handler(event, context):
    fd = next(fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")
              and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"))
    data = bytes.fromhex(event["hex"]) if "hex" in event else frame(13, event["call"] or context._call_id, b"\\x08\\x01\\x10\\x05")
    for _ in range(event["times"]):
        os.write(fd, data)
    time.sleep(60)
"""


def within(depth: int, *chain: str) -> CallContext:
    return CallContext(request_id=RequestId(uuid7()), depth=depth, chain=chain)


async def test_a_call_that_comes_back_to_a_function_of_its_chain_is_refused(comet):
    for name in ("a", "b", "c"):
        await comet.deploy(name, CALLS)
    assert await comet.output("a", ["b", "c"]) == "end"
    assert await comet.output("a", ["b", "c", "a"]) == "recursion"  # c is told, and passes it on
    assert await comet.output("a", ["a"]) == "recursion"
    assert await comet.output("a", ["b"], context=within(1, "b")) == "recursion"
    assert await comet.output("a", ["b"], context=within(31, "z")) == "recursion"  # too deep
    assert await comet.output("a", ["b"], context=within(30, "z")) == "end"


async def test_tenants_with_equal_names_keep_and_call_their_own(comet):
    async with comet.functions._db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('other')")
        await tx.execute("INSERT INTO namespaces (tenant, name) VALUES ('other', 'default')")
    for tenant in ("default", "other"):
        await comet.deploy("keeps", KEEPS, tenant=tenant)
        await comet.deploy("calls", CALLS, tenant=tenant)
    await comet.deploy("mine", CALLS)
    for shared in (False, True):
        for tenant in ("default", "other"):
            assert await comet.output("keeps", {"value": tenant, "shared": shared}, tenant=tenant) == tenant
        for tenant in ("default", "other"):
            assert await comet.output("keeps", {"shared": shared}, tenant=tenant) == tenant
    assert await comet.output("calls", ["mine"], tenant="other") == "not_found"
    assert await comet.output("calls", ["mine"]) == "end"


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ({"times": 1, "call": 999}, "an ask in call 999, which never was"),
        ({"times": 1, "hex": "000000010e00000000000001" + "00"}, "an unexpected frame of kind 14"),
    ],
)
async def test_a_worker_that_asks_what_it_can_not_is_ended_alone(comet, event, cause):
    await comet.deploy("hostile", HOSTILE, timeout_s=20)
    await comet.deploy("calls", CALLS)
    with pytest.raises(Exception, match=cause):
        await comet.invoke("hostile", event)
    assert await comet.output("calls", []) == "end"


async def test_a_flood_of_asks_costs_its_own_call_only(comet):
    await comet.deploy("hostile", HOSTILE, timeout_s=3)
    await comet.deploy("calls", CALLS)
    async with anyio.create_task_group() as tasks:

        async def flood() -> None:
            with pytest.raises(Exception, match="no answer within"):
                await comet.invoke("hostile", {"times": 10**9, "call": 0})

        tasks.start_soon(flood)
        for _ in range(20):
            assert await comet.output("calls", ["calls"]) == "recursion"

    async def quiet() -> bool:
        return comet.context.registry.get_sample_value("constellation_function_asks_in_hand") == 0

    await eventually(quiet)


async def test_what_is_asked_is_counted(comet):
    await comet.deploy("keeps", KEEPS)
    await comet.output("keeps", {"value": 1})
    value = comet.context.registry.get_sample_value
    for op in ("state_put", "state_get"):
        assert value("constellation_function_asks_total", {"op": op, "outcome": "ok"}) == 1
    series = {"function": "keeps", "tenant": "default", "namespace": "default"}
    assert value("constellation_function_asks_by_function_total", series) == 2


async def test_state_is_seen_and_changed_from_outside_by_who_may(comet):
    await comet.deploy("keeps", KEEPS)
    path = "/functions/keeps/state/a%2Fb"
    written = await comet.http("PUT", path, body={"value": [1]})
    assert written.status == 200
    read = (await comet.http("GET", path)).json()
    assert (read["key"], read["value"], read["version"]) == ("a/b", [1], written.json()["version"])
    page = (await comet.http("GET", "/functions/keeps/state", query="prefix=a/")).json()
    assert [item["key"] for item in page["items"]] == ["a/b"]
    stale = await comet.http("PUT", path, body={"value": 2, "if_version": 1})
    assert (stale.status, stale.json()["code"]) == (409, "version_conflict")
    assert (await comet.http("DELETE", path, query="if_version=1")).status == 409
    assert (await comet.http("DELETE", path)).status == 204
    assert (await comet.http("GET", path)).status == 404
    assert (await comet.http("GET", "/functions/nobody/state")).status == 404
    assert (await comet.http("PUT", path, body={"value": 1}, role=Role.VIEWER)).status == 403
    assert (await comet.http("GET", "/functions/keeps/state", role=Role.INVOKER)).status == 403
    bad = await comet.http("PUT", path, body={"value": 1, "ttl_s": -1})
    assert (bad.status, json.loads(bad.body)["field"]) == (400, "ttl_s")
