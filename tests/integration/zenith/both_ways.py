"""Two gateways, one of which answers in C what it can; a request is sent to both, and nothing may tell them apart."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

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

from .conftest import KEYS, echo, received

STREAM = "/functions/{}/invoke-stream"
EVENTS = "Accept: text/event-stream"
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


@asynccontextmanager
async def both_ways(tmp_path: Path, settings: ZenithSettings | None = None) -> AsyncIterator[Pair]:
    settings = settings or ZenithSettings()
    (tmp_path / "n").mkdir()
    (tmp_path / "p").mkdir()
    async with (
        gateway_rig(settings, state_dir=tmp_path / "n") as native,
        gateway_rig(settings, state_dir=tmp_path / "p", is_native=False) as python,
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


async def told(rig: GatewayRig, request: bytes, *, known_at: bytes = b"") -> tuple[bytes, list[object]]:
    """Send a request behind one that makes its caller known; return the answer and what comet saw, without what is made anew.

    `known_at`: the host that the first one names, when that is another.
    """
    known = re.sub(rb"^POST \S+", b"POST /functions/echo/invoke", request.partition(b"\r\n\r\n")[0])
    known = b"\r\n".join(
        line for line in known.split(b"\r\n") if re.match(rb"POST|Host|X-API-Key|Authorization|X-Nova-(Ten|Name)", line)
    )
    if known_at:
        known = re.sub(rb"\r\nHost: [^\r]*", b"\r\nHost: " + known_at, known)
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
    "a kind": post("echo", b"1", "X-Nova-Invocation-Type: requestResponse"),
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
