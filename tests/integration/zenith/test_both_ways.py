"""A call that C answers is told from one that Python answers by nothing: not by a byte of its answer, not by what comet sees."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from constellation.base.errors import (
    ConstellationError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RemoteProblem,
    Unauthenticated,
)
from constellation.nova.config.sections import ZenithSettings
from constellation.testing.comet import HandlerRaised
from constellation.testing.gateway import GatewayRig, gateway_rig
from tests.integration.zenith.conftest import KEYS, echo, received

pytestmark = pytest.mark.anyio

_ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
GIVEN = "0190B5A0-7a3b-7c00-8000-0123456789ab"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PROBLEMS: list[ConstellationError] = [
    Overloaded("queue", limit=3),
    NotFound("function", 'quo"ted \u00e9'),
    PayloadTooLarge(limit_bytes=7),
    DeadlineExceeded("call", after_s=1.5),
    InvalidRequest("no", field="x"),
    Unauthenticated("who"),
    RemoteProblem(
        {"status": 429, "code": "rate_limited", "detail": "later", "retry_after_s": 7, "nested": {"status": 1}}
    ),
    RemoteProblem({"status": 429, "code": "rate_limited", "retry_after_s": 0}),
    RemoteProblem({"status": 200, "code": "odd"}),
    RemoteProblem({"code": "no_status", "detail": '\\" ,{}[]:'}),
    RemoteProblem({"status": "503", "code": 5}),
]

ERRORS = [
    b'{"type":"ValueError","message":"no","stack":""}',
    b'{"message":"no type"}',
    b'{"type":5,"message":"no"}',
    b'{"type":"Odd","message":null}',
    b'{"type":"\\u00dcber\\nError\\ud83d\\ude00","message":"\\"type\\":\\"x\\""}',
    '{"message":"m","type":"\u00dcber-\U0001f600"}'.encode(),
    b'{"type":"","message":"m"}',
    b' { "stack" : ["type", {"type": "inner"}] , "type" : "Outer" , "message" : "m" } ',
    b'{"type":"' + b"x" * 300 + b'","message":"m"}',
    b'{"type":"a","type":"b","message":"m"}',
    b'["type"]',
]


@dataclass(frozen=True, slots=True)
class Pair:
    native: GatewayRig
    python: GatewayRig


async def _raises(payload: bytes) -> bytes:
    raise HandlerRaised(ERRORS[json.loads(payload)])


async def _refuses(payload: bytes) -> bytes:
    raise PROBLEMS[json.loads(payload)]


async def _pieces(payload: bytes) -> AsyncIterator[bytes]:
    for piece in json.loads(payload) or []:
        yield piece.encode("latin-1")


async def _raises_late(payload: bytes) -> AsyncIterator[bytes]:
    index, pieces = json.loads(payload)
    for piece in pieces:
        yield piece.encode("latin-1")
    raise HandlerRaised(ERRORS[index])


async def _refuses_late(payload: bytes) -> AsyncIterator[bytes]:
    index, pieces = json.loads(payload)
    for piece in pieces:
        yield piece.encode("latin-1")
    raise PROBLEMS[index]


@pytest.fixture
async def pair(tmp_path) -> AsyncIterator[Pair]:
    (tmp_path / "n").mkdir()
    (tmp_path / "p").mkdir()
    async with (
        gateway_rig(ZenithSettings(), state_dir=tmp_path / "n") as native,
        gateway_rig(ZenithSettings(), state_dir=tmp_path / "p", is_native=False) as python,
    ):
        for rig in (native, python):
            rig.nova.keys.update(KEYS)
            rig.nova.scopes["acme", "prod"] = "active"
            rig.comet.functions |= {"echo": echo, "raises": _raises, "refuses": _refuses}
            rig.comet.streams |= {"pieces": _pieces, "raises": _raises_late, "refuses": _refuses_late}
        yield Pair(native, python)


def post(
    function: str, body: bytes, *headers: str, target: str = "/functions/{}/invoke", key: str = "X-API-Key: sk_admin"
) -> bytes:
    lines = [
        f"POST {target.format(function)} HTTP/1.1",
        "Host: localhost",
        key,
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def told(rig: GatewayRig, request: bytes) -> tuple[bytes, list[object]]:
    """Send a request behind one that makes its caller known; return the answer and what comet saw, without what is made anew."""
    known = re.sub(rb"^POST \S+", b"POST /functions/echo/invoke", request.partition(b"\r\n\r\n")[0])
    known = b"\r\n".join(
        line for line in known.split(b"\r\n") if re.match(rb"POST|Host|X-API-Key|Authorization|X-Nova-(Ten|Name)", line)
    )
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        await stream.send(known + b"\r\nContent-Length: 1\r\n\r\n1")
        await received(stream)
        rig.comet.calls.clear()
        await stream.send(request)
        answer = await received(stream)
    seen: list[object] = []
    for call, caller in rig.comet.calls:
        context = caller.context
        own = str(context.request_id) if GIVEN.lower() == str(context.request_id) else "made"
        seen.append((
            call.SerializeToString(), own, context.traceparent, context.depth, context.chain, context.source,
            caller.identity.tenant, caller.identity.namespace, caller.identity.subject,
        ))  # fmt: skip
    answer = re.sub(rb"\r\ndate: [^\r]*\r\n", b"\r\ndate: now\r\n", answer)
    return re.sub(_ID, lambda found: found[0] if found[0] == GIVEN.lower().encode() else b"made", answer), seen


async def check(pair: Pair, request: bytes, *, is_hot: bool) -> bytes:
    before = pair.native.parts.lane.edge.counts
    native = await told(pair.native, request)
    after = pair.native.parts.lane.edge.counts
    assert native == await told(pair.python, request)
    answered = sum(after.calls.answered + after.streams.answered) - sum(before.calls.answered + before.streams.answered)
    assert (answered > 0) == is_hot, "answered by C" if answered else "answered by Python"
    return native[0]


CHUNKED = b"POST /functions/echo/invoke HTTP/1.1\r\nHost: localhost\r\nX-API-Key: sk_admin\r\nTransfer-Encoding: chunked\r\n\r\n"

PLAIN = {
    "nothing more": post("echo", b'{"a": [1, 2.50]}'),
    "under v1": post("echo", b"1", target="/v1/functions/{}/invoke"),
    "no body": post("echo", b""),
    "a content type": post("echo", b"1", "Content-Type: application/json", "Accept: */*", "User-Agent: x"),
    "a content type in capitals": post("echo", b"1", "CONTENT-TYPE: Application/JSON"),
    "a request id": post("echo", b"1", f"X-Request-ID: {GIVEN}"),
    "a request id that is none": post("echo", b"1", "X-Request-ID: mine"),
    "a trace": post("echo", b"1", f"traceparent: {TRACE}"),
    "a trace that is none": post("echo", b"1", f"traceparent: {TRACE.upper()}"),
    "a timeout": post("echo", b"1", "X-Nova-Timeout-S: 2.5"),
    "a timeout between two": post("echo", b"1", "X-Nova-Timeout-S: 0.0025"),
    "a small timeout": post("echo", b"1", "X-Nova-Timeout-S: 0.0001"),
    "a timeout with zeros": post("echo", b"1", "X-Nova-Timeout-S: 0300.000"),
    "a depth": post("echo", b"1", "X-Nova-Call-Depth: 3", "X-Nova-Call-Chain: a,b:1,c/d"),
    "no depth": post("echo", b"1", "X-Nova-Call-Depth: 0", "X-Nova-Call-Chain: a"),
    "a chain alone": post("echo", b"1", "X-Nova-Call-Chain: !"),
    "a qualifier": post("echo", b"1", "X-Nova-Qualifier: live"),
    "a kind": post("echo", b"1", "X-Nova-Invocation-Type: requestResponse", "Idempotency-Key: k"),
    "a proxy before us": post("echo", b"1", "X-Forwarded-For: 1.2.3.4", "Via: 1.1 x", "Origin: http://evil.example"),
    "a bearer": post("echo", b"1", key="Authorization: Bearer sk_admin"),
    "a key in capitals": post("echo", b"1", key="Authorization: APIKEY  sk_admin"),
    "a scope": post("echo", b"1", "X-Nova-Tenant: acme", "X-Nova-Namespace: prod"),
    "an unknown function": post("none", b"1"),
    "chunks": CHUNKED + b"2;a=b\r\n[1\r\n1\r\n]\r\n0\r\nT: x\r\n\r\n",
    "empty chunks": CHUNKED + b"0\r\n\r\n",
    "no JSON": post("echo", b"{"),
    "no JSON either": post("echo", b"NaN", f"X-Request-ID: {GIVEN}"),
}  # fmt: skip
ODD = {
    "a query": post("echo", b"1", target="/functions/{}/invoke?qualifier=a%20b"),
    "an encoded name": post("ech%6F", b"1"),
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


STREAM = "/functions/{}/invoke-stream"
EVENTS = "Accept: text/event-stream"
# Characters cut by the ends of pieces, bytes that are none, line ends of every kind; as latin-1, so byte by byte.
TEXTS = [
    [],
    ["a"],
    ["one\n", "two\r\n", "three\r", "\nfour", "\n\n"],
    ["\xc3", "\xa9"],
    ["\xf0\x9f", "\x98", "\x80!"],
    ["\xf0\x9f\x98"],
    ["\xe2\x82", "\xe2\x82\xac", "\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2(\xa1", "\xf0(\x8c("],
    ["\xe2", "\n", "\xe2\x82", "\r", "\x80"],
    ["x" * 300_000, "y\n" * 40_000],
]


@pytest.mark.parametrize("accept", ["Accept: */*", EVENTS, "Accept: text/html, Text/Event-Stream ; q=1"])
async def test_a_streamed_answer_is_the_same_both_ways(pair, accept):
    for pieces in TEXTS:
        answer = await check(pair, post("pieces", json.dumps(pieces).encode(), accept, target=STREAM), is_hot=True)
        assert answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("accept", ["Accept: */*", EVENTS])
async def test_what_fails_in_a_stream_is_the_same_both_ways(pair, accept):
    for pieces in ([], ["one"], ["one", "\xe2\x82"]):
        for index in range(len(ERRORS)):
            answer = await check(
                pair, post("raises", json.dumps([index, pieces]).encode(), accept, target=STREAM), is_hot=True
            )
            is_cut = accept != EVENTS and pieces
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert (answer[-5:] == b"0\r\n\r\n" or b"\r\ncontent-length: " in answer) != bool(is_cut)
        for index in range(len(PROBLEMS)):
            answer = await check(
                pair, post("refuses", json.dumps([index, pieces]).encode(), accept, target=STREAM), is_hot=True
            )
            assert answer.startswith(b"HTTP/1.1 200 ") == bool(pieces)


@pytest.mark.parametrize("name", sorted(PLAIN.keys() - {"empty chunks", "chunks", "a kind"}))
async def test_a_plain_streamed_call_is_the_same_both_ways(pair, name):
    request = PLAIN[name].replace(b"/invoke HTTP", b"/invoke-stream HTTP").replace(b"/echo/", b"/pieces/")
    await check(pair, re.sub(rb"\r\n\r\n1$", b"\r\n\r\n0", request), is_hot=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=strategies.lists(
        strategies.text(
            strategies.sampled_from("a\r\n\x80\x9f\xa0\xbf\xc2\xe0\xed\xf0\xf4\xf5"), min_size=1, max_size=6
        ),
        max_size=40,
    )
)
async def test_every_text_is_the_same_events_both_ways(pair, pieces):
    await check(pair, post("pieces", json.dumps(pieces).encode(), EVENTS, target=STREAM), is_hot=True)


async def test_a_client_that_hangs_up_cancels_a_stream(pair):
    async def endless(_payload: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.sleep_forever()

    for rig in (pair.native, pair.python):
        rig.comet.streams["endless"] = endless
        async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
            await stream.send(post("echo", b"1"))
            await received(stream)
            await stream.send(post("endless", b"1", target=STREAM))
            got = b""
            with anyio.fail_after(5):
                while not got.endswith(b"5\r\nfirst\r\n"):  # it is here before the function has ended
                    got += await stream.receive()
        with anyio.fail_after(5):
            while rig.comet.cancelled < 1 or rig.parts.gate.inflight:
                await anyio.sleep(0.01)
    assert sum(pair.native.parts.lane.edge.counts.streams.answered) == 1


async def test_a_client_that_reads_nothing_stops_the_function_and_nobody_else(pair):
    made = 0

    async def floods(_payload: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * 65_536

    rig = pair.native
    rig.comet.streams["floods"] = floods
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as slow:
        await slow.send(post("echo", b"1"))
        await received(slow)
        await slow.send(post("floods", b"1", target=STREAM))
        still = 0
        with anyio.fail_after(20):
            while still < 20:  # it has stopped when it makes nothing more for a while
                before = made
                await anyio.sleep(0.02)
                still = still + 1 if made == before and made else 0
        assert made < 400  # the socket's buffers, and what the planes may hold
        async with await anyio.connect_tcp(rig.address.host, rig.address.port) as other:
            await other.send(post("pieces", b'["a"]', target=STREAM))
            assert (await received(other)).endswith(b"1\r\na\r\n0\r\n\r\n")
        stopped_at = made
        with anyio.fail_after(20):
            while made < stopped_at + 100:
                await slow.receive()


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
