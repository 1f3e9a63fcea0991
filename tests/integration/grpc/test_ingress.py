"""Who may call a function is asked at every way into comet, with the lane in C and without it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from constellation.base.errors import RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.nova.domain.ingress import CallerKind, IngressPolicy
from constellation.nova.store.ingress import Ingress
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2

from .conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

ECHO = "def handler(event, context):\n    yield event\n"
HOME, ABROAD = "10.1.2.3", "192.0.2.9"


async def code_of(call: Any) -> str:
    try:
        await call
    except RemoteProblem as problem:
        return problem.code if problem.http_status == 403 else f"{problem.code} {problem.http_status}"
    return "ok"


async def unary(comet, peer: str, *, source: str = "http") -> str:
    request = nova_pb2.InvokeRequest(function="guarded", payload=b"1", peer=ip_address(peer).packed if peer else b"")
    metadata = comet.metadata(context=CallContext(request_id=RequestId(uuid7()), source=source))
    return await code_of(comet.channel.unary(comet.stub.Invoke, request, metadata=metadata, timeout_s=30))


async def streamed(comet, peer: str) -> str:
    request = nova_pb2.InvokeRequest(function="guarded", payload=b"1", peer=ip_address(peer).packed)

    async def call() -> None:
        async with comet.channel.open(comet.stub.InvokeStream, metadata=comet.metadata(), timeout_s=30) as stream:
            await stream.send_message(request, end=True)
            async for _ in stream:
                continue
            await stream.recv_trailing_metadata()

    return await code_of(call())


async def accepted(comet, peer: str, *, source: str = "http") -> str:
    request = nova_pb2.InvokeAsyncRequest(
        function="guarded", payload=b"1", peer=ip_address(peer).packed if peer else b""
    )
    metadata = comet.metadata(context=CallContext(request_id=RequestId(uuid7()), source=source))
    return await code_of(comet.channel.unary(comet.stub.InvokeAsync, request, metadata=metadata, timeout_s=30))


async def proxied(comet, path: str, peer: str) -> str:
    request = nova_pb2.ProxyHTTPRequest(
        method="POST", path=path, body=b"{}", peer=ip_address(peer).packed,
        headers=[nova_pb2.Header(name="content-type", value=b"application/json")],
    )  # fmt: skip
    async with comet.channel.open(comet.stub.ProxyHTTP, metadata=comet.metadata(), timeout_s=30) as stream:
        await stream.send_message(request, end=True)
        head = await stream.recv_message()
        body = head.body + b"".join([part.body async for part in stream])
    return (
        "ok"
        if head.status < 300
        else "ingress_denied"
        if head.status == 403 and b"ingress_denied" in body
        else str(body)
    )


async def guard(comet, **rules: Any) -> None:
    """Set the policy, and wait until comet has heard of it."""
    policy = IngressPolicy(**rules)
    await Ingress(comet.functions._db).put("default", "default", "guarded", policy)

    async def is_known() -> bool:
        entry = comet.plane.executor._functions.get_nowait(("default", "default", "guarded"))
        return entry is not None and entry.function.ingress == policy

    await eventually(is_known)


async def test_networks_are_asked_for_at_every_way_in(comet):
    await comet.deploy("guarded", ECHO)
    assert await unary(comet, ABROAD) == "ok"
    await guard(comet, allow=("10.0.0.0/8", "2001:db8::/32"), deny=("10.9.0.0/16",))
    asks = [unary, streamed, accepted]
    for ask in asks:
        assert [await ask(comet, peer) for peer in (HOME, "2001:db8::1", "::ffff:10.1.1.1")] == ["ok"] * 3
        assert [await ask(comet, peer) for peer in (ABROAD, "10.9.1.1", "::1")] == ["ingress_denied"] * 3
    for path in ("/functions/guarded/invoke-async", "/functions/guarded/invoke-durable"):
        assert [await proxied(comet, path, peer) for peer in (HOME, ABROAD)] == ["ok", "ingress_denied"]
    assert await unary(comet, "") == "ingress_denied"  # from outside, and nobody knows from where
    assert await unary(comet, "", source="async") == "ok"  # the queue has no address
    await guard(comet)
    assert await unary(comet, ABROAD) == "ok"


async def test_ways_in_are_told_apart(comet):
    await comet.deploy("guarded", ECHO)
    await unary(comet, HOME)
    ways = {"api": "http", "url": "url", "schedule": "schedule", "queue": "async"}
    for kind in ways:
        await guard(comet, callers=(CallerKind(kind),))
        for way, source in ways.items():
            assert await unary(comet, HOME, source=source) == ("ok" if way == kind else "ingress_denied"), (kind, way)
    assert await unary(comet, HOME, source="websocket") == "ingress_denied"
    await guard(comet, callers=(CallerKind.API,))
    assert await accepted(comet, HOME) == "ingress_denied"  # its run would be refused
    await guard(comet, callers=(CallerKind.API, CallerKind.QUEUE))
    assert await accepted(comet, HOME) == "ok"
    assert await accepted(comet, "", source="schedule/1") == "ingress_denied"


async def test_functions_that_call_are_known_by_their_names(comet):
    await comet.deploy("guarded", ECHO.replace("yield", "return"))
    for name in ("order-new", "other"):
        await comet.deploy(name, "def handler(event, context):\n    return context.invoke('guarded', event)\n")
    await unary(comet, HOME)
    await guard(comet, callers=(CallerKind.FUNCTION,), functions=("order-*",))
    assert await comet.output("order-new", 5) == 5
    refused = await comet.invoke("other", 5)
    assert b"may not call it" in refused.error
    assert await unary(comet, HOME) == "ingress_denied"
    claimed = CallContext(request_id=RequestId(uuid7()), depth=1, chain=("order-new",))
    request = nova_pb2.InvokeRequest(function="guarded", payload=b"1", peer=b"\x0a\x01\x02\x03")
    call = comet.channel.unary(comet.stub.Invoke, request, metadata=comet.metadata(context=claimed), timeout_s=30)
    assert await code_of(call) == "ingress_denied"  # a chain is what a client says


async def test_what_nobody_guards_stays_with_the_lane_in_c(comet):
    if not comet.is_native:
        pytest.skip("of the lane in C only")
    await comet.deploy("guarded", ECHO)
    value = comet.context.registry.get_sample_value
    await unary(comet, HOME)
    before = value("constellation_port_forwarded_total")
    await unary(comet, HOME)
    assert value("constellation_port_forwarded_total") == before
    await guard(comet, deny=("192.0.2.0/24",))
    assert await unary(comet, HOME) == "ok"
    assert value("constellation_port_forwarded_total") == before + 1
