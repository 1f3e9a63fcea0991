"""A call that C answers is told from one that Python answers by nothing: not by a byte of its answer, not by what comet sees."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from constellation.base.errors import Overloaded
from constellation.nova.config.sections import ZenithSettings
from constellation.testing.gateway import GatewayRig, gateway_rig

from .both_ways import ERRORS, EVENTS, PLAIN, PROBLEMS, STREAM, Pair, both_ways, check, post, told
from .conftest import echo, received

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair(tmp_path) -> AsyncIterator[Pair]:
    async with both_ways(tmp_path) as made:
        yield made


ODD = {
    "a query": post("echo", b"1", target="/functions/{}/invoke?qualifier=a%20b"),
    "an encoded name": post("ech%6F", b"1"),
    "an idempotency key": post("echo", b"1", "Idempotency-Key: k"),
    "an odd request id": post("echo", b"1", "X-Request-ID: 0190b5a07a3b7c0080000123456789ab----"),
    "a content type with more": post("echo", b"1", "Content-Type: application/json; charset=utf-8"),
    "another content type": post("echo", b"1", "Content-Type: text/plain"),
    "a timeout in another form": post("echo", b"1", "X-Nova-Timeout-S: 1e1"),
    "a timeout over the limit": post("echo", b"1", "X-Nova-Timeout-S: 301"),
    "a timeout of nothing": post("echo", b"1", "X-Nova-Timeout-S: 0"),
    "a malformed depth": post("echo", b"1", "X-Nova-Call-Depth: -1"),
    "a depth with zeros": post("echo", b"1", "X-Nova-Call-Depth: 007"),
    "a chain with gaps": post("echo", b"1", "X-Nova-Call-Depth: 1", "X-Nova-Call-Chain: a,,b"),
    "a header twice": post("echo", b"1", "X-Nova-Timeout-S: 1", "X-Nova-Timeout-S: 1"),
    "two credentials": post("echo", b"1", "Authorization: Bearer sk_wrong"),
    "an event": post("echo", b"1", "X-Nova-Invocation-Type: Event", "X-Nova-Timeout-S: x"),
    "a wrong key": post("echo", b"1", key="X-API-Key: sk_wrong"),
    "no key": post("echo", b"1", key="X: y"),
    "a role too low": post("echo", b"1", key="X-API-Key: sk_viewer"),
    "a scope that is not theirs": post("echo", b"1", "X-Nova-Tenant: default", key="X-API-Key: sk_acme"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
async def test_a_plain_call_is_the_same_both_ways(pair, name):
    await check(pair, PLAIN[name], is_hot=True)


@pytest.mark.parametrize("name", ODD)
async def test_what_is_not_plain_is_left_to_python(pair, name):
    await check(pair, ODD[name], is_hot=False)


async def test_every_problem_of_comet_is_the_same_both_ways(pair):
    for index in range(len(PROBLEMS)):
        answer = await check(pair, post("refuses", str(index).encode()), is_hot=True)
        assert not answer.startswith(b"HTTP/1.1 200 ")
    codes = pair.native.parts.lane.edge.counts.codes
    assert (codes["overloaded"], codes["rate_limited"]) == (1, 2)


async def test_every_error_of_a_handler_is_the_same_both_ways(pair):
    for index in range(len(ERRORS)):
        answer = await check(pair, post("raises", str(index).encode()), is_hot=True)
        assert b"\r\nx-nova-function-error: " in answer


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeouts=strategies.lists(strategies.decimals(0, 301, allow_nan=False, places=4), min_size=20, max_size=20))
async def test_every_timeout_is_the_same_both_ways(pair, timeouts):
    for timeout in timeouts:
        request = post("echo", b"1", f"X-Nova-Timeout-S: {timeout:f}")
        assert (await told(pair.native, request)) == (await told(pair.python, request))


async def test_a_body_in_pieces_and_requests_behind_each_other(pair):
    body = json.dumps("x" * 700_000).encode()
    request = post("echo", body)
    async with await anyio.connect_tcp(pair.native.address.host, pair.native.address.port) as stream:
        await stream.send(post("echo", b"1"))
        await received(stream)
        before = pair.native.parts.lane.edge.counts.called
        for at in range(0, len(request), 100_000):
            await stream.send(request[at : at + 100_000])
            await anyio.sleep(0.005)
        answer = await received(stream)
        assert body in answer
        assert pair.native.parts.lane.edge.counts.held_bytes == 0
        await stream.send(b"".join(post("echo", str(n).encode()) for n in range(50)))
        got = b""
        with anyio.fail_after(10):
            while got.count(b'"output":') < 50:
                got += await stream.receive()
    assert re.findall(rb'"output":(\d+),', got) == [str(n).encode() for n in range(50)]
    assert pair.native.parts.lane.edge.counts.called == before + 51


async def test_trust_stays_with_the_connection_and_its_host(tmp_path):
    import os

    settings = ZenithSettings(auth="loopback", trusted_uid=os.getuid())
    async with gateway_rig(settings, state_dir=tmp_path) as rig:
        rig.comet.functions["echo"] = echo
        edge = rig.parts.lane.edge

        async def status(stream, *headers: str, key: str = "X: y") -> tuple[int, bool]:
            called = edge.counts.called
            await stream.send(post("echo", b"", *headers, key=key))  # a refusal ends a connection with an unread body
            return int((await received(stream))[9:12]), edge.counts.called > called

        async with (
            await anyio.connect_tcp(rig.address.host, rig.address.port) as first,
            await anyio.connect_tcp(rig.address.host, rig.address.port) as second,
        ):
            assert await status(first) == (200, False)
            assert await status(first) == (200, True)
            assert await status(second) == (200, True)  # the kernel says whose it is
            for sign in ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=x", "Via: 1.1 x", "Origin: http://evil.example",
                         "Sec-Fetch-Site: cross-site"):  # fmt: skip
                assert await status(first, sign) == (401, False)
            assert await status(first, "Origin: http://localhost") == (200, False)
            assert await status(first, key="X-API-Key: sk_wrong") == (401, False)
            assert await status(first) == (200, True)
            other = (
                post("echo", b"")
                .replace(b"Host: localhost", b"Host: evil.example")
                .replace(b"X-API-Key: sk_admin", b"X: y")
            )
            await first.send(other)
            assert (await received(first)).startswith(b"HTTP/1.1 401 ")
            rig.nova.change("tenant", "default")
            with anyio.fail_after(5):
                while (await status(first))[1]:
                    await anyio.sleep(0.01)


async def test_a_client_that_hangs_up_cancels_a_call_that_c_made(pair):
    begun = anyio.Event()

    async def waits(_payload: bytes) -> bytes:
        begun.set()
        await anyio.sleep_forever()
        return b""

    pair.native.comet.functions["waits"] = waits
    async with await anyio.connect_tcp(pair.native.address.host, pair.native.address.port) as stream:
        await stream.send(post("echo", b"1"))
        await received(stream)
        forwarded = pair.native.parts.lane.edge.counts.forwarded
        await stream.send(post("waits", b"1"))
        with anyio.fail_after(5):
            await begun.wait()
    with anyio.fail_after(5):
        while pair.native.comet.cancelled < 1 or pair.native.parts.gate.inflight:
            await anyio.sleep(0.01)
    assert pair.native.parts.lane.edge.counts.forwarded == forwarded


async def test_refusals_under_overload_cost_python_nothing(pair):
    async def full(_payload: bytes) -> bytes:
        raise Overloaded("queue", limit=3)

    pair.native.comet.functions["full"] = full
    async with httpx.AsyncClient(base_url=pair.native.url, trust_env=False, headers={"X-API-Key": "sk_admin"}) as http:
        assert (await http.post("/functions/echo/invoke", json=1)).status_code == 200
        forwarded = pair.native.parts.lane.edge.counts.forwarded
        for _ in range(20):
            answer = await http.post("/functions/full/invoke", json=1)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert pair.native.parts.lane.edge.counts.forwarded == forwarded


async def test_what_c_answered_is_counted_with_the_rest(pair):
    from constellation.aurora.metrics.registry import exposition

    for rig in (pair.native, pair.python):
        await told(rig, post("echo", b"1"))
        await told(rig, post("echo", b"{"))
        await told(rig, post("refuses", b"0"))
        await told(rig, post("echo", b"1", key="X-API-Key: sk_wrong"))
        await told(rig, post("pieces", b'["a"]', target=STREAM))
        await told(rig, post("raises", b'[0, ["a"]]', target=STREAM))
        await told(rig, post("refuses", b'[0, ["a"]]', target=STREAM))
        await told(rig, post("refuses", b"[0, []]", EVENTS, target=STREAM))

    def figures(rig: GatewayRig) -> list[str]:
        lines = exposition(rig.context.registry).decode().splitlines()
        return sorted(
            line
            for line in lines
            if re.match(r"constellation_gateway_(requests|refusals|principal|.*_count|inflight)|# ", line)
            or 'le="+Inf"' in line
        )

    assert figures(pair.native) == figures(pair.python)
    text = exposition(pair.native.context.registry).decode()
    assert 'constellation_gateway_requests_total{operation="invoke",status="2xx"} 8.0' in text
    assert 'constellation_gateway_requests_total{operation="invoke_stream",status="2xx"} 3.0' in text
    assert 'constellation_gateway_refusals_total{code="overloaded"} 3.0' in text
    assert 'constellation_gateway_refusals_total{code="function_error"} 1.0' in text
    buckets = re.findall(r'duration_seconds_bucket{le="([^"]+)",operation="invoke"} (\S+)', text)
    assert [float(count) for _, count in buckets] == sorted(float(count) for _, count in buckets)
    await told(pair.native, b"GET / HTTP/1.1\r\n\r\n")
    text = exposition(pair.native.context.registry).decode()
    assert 'constellation_gateway_refusals_total{code="malformed_request"} 1.0' in text
