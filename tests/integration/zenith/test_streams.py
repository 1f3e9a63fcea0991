"""An answer in pieces that C passes on is told from one that Python passes on by nothing."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from .both_ways import ERRORS, EVENTS, PLAIN, PROBLEMS, STREAM, Pair, both_ways, check, post
from .conftest import received

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair(tmp_path) -> AsyncIterator[Pair]:
    async with both_ways(tmp_path) as made:
        yield made


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
    ["\xed", "\xa0", "a"],
    ["b\xed\xbf", "\x80"],
    ["\xed\xa0"],
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
