"""Answers in pieces, over both ports of comet: the expectations stand here once."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import anyio
import pytest

from constellation.base.errors import RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2

from .conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

MANY = """
import os, sys, time

def handler(event, context):
    print("began", flush=True)
    if event == "raise at once":
        raise ValueError("no such thing")
    yield "one\\n"
    if event == "raise":
        raise ValueError("three")
    if event == "exit":
        os._exit(3)
    if event == "sleep":
        time.sleep(60)
    while event == "flood":
        yield "x" * 65536
    yield "two\\n"
"""


def taken(comet) -> float:
    return comet.context.registry.get_sample_value("constellation_port_taken_total")


@asynccontextmanager
async def streaming(comet, event, *, context=None, timeout_ms=0):
    request = nova_pb2.InvokeRequest(function="many", payload=json.dumps(event).encode(), timeout_ms=timeout_ms)
    metadata = comet.metadata(context=context)
    async with comet.channel.open(comet.stub.InvokeStream, metadata=metadata, timeout_s=60) as stream:
        await stream.send_message(request, end=True)
        yield stream


async def messages(comet, event, **more) -> list:
    async with streaming(comet, event, **more) as stream:
        return [message async for message in stream]


async def row_of(comet, context) -> dict:
    async def look():
        items = (await comet.http("GET", "/invocations", query=f"request_id={context.request_id}")).json()["items"]
        return items[0] if items else None

    return await eventually(look)


@pytest.fixture
async def many(comet):
    await comet.deploy("many", MANY, max_replicas=1, timeout_s=2.0)
    await messages(comet, None)  # from now on C knows the function
    return comet


async def test_an_answer_in_pieces_is_served_in_c(many):
    before = taken(many) if many.is_native else 0
    context = CallContext(request_id=RequestId(uuid7()))
    *pieces, last = await messages(many, None, context=context)
    assert b"".join(piece.data for piece in pieces) == b"one\ntwo\n"
    assert (last.end.request_id, last.end.version, last.end.error) == (str(context.request_id), "1", b"")
    assert not last.end.cold_start
    assert last.end.duration_ms > 0
    row = await row_of(many, context)
    assert (row["status"], row["output_bytes"], row["input_bytes"], row["source"]) == ("ok", 8, 4, "http")
    if many.is_native:
        assert taken(many) == before + 1


async def test_the_first_piece_is_here_while_the_function_runs(many):
    async with streaming(many, "sleep") as stream:
        assert (await stream.recv_message()).data == b"one\n"
        assert many.plane.executor.inflight == 1
        await stream.cancel()


async def test_every_end_of_a_stream_reads_the_same_whoever_served_it(many):
    async def pieces_then(event, **more) -> tuple[bytes, object]:
        got = b""
        try:
            async with streaming(many, event, **more) as stream:
                async for message in stream:
                    got += message.data
                    end = message.end
                await stream.recv_trailing_metadata()
        except RemoteProblem as problem:
            return got, (problem.code, str(problem))
        return got, json.loads(end.error) if end.error else None

    expected = {
        "raise at once": (b"", "no such thing", "function_error", 0),
        "raise": (b"one\n", "three", "function_error", 4),
        "exit": (b"one\n", ("instance_died", "many: the instance died: exit status 3"), "instance_died", 0),
        "sleep": (b"one\n", ("timeout", "many: no answer within 0.5 s (run)"), "timeout", 0),
    }
    for event, (pieces, end, status, output_bytes) in expected.items():
        context = CallContext(request_id=RequestId(uuid7()))
        await messages(many, None)  # the instance is warm again
        got, ended = await pieces_then(event, context=context, timeout_ms=500 if event == "sleep" else 0)
        if isinstance(ended, dict):
            assert (ended["type"], ended["message"]) == ("ValueError", end)
        elif event == "sleep":
            assert ended[0] == "timeout"
        else:
            assert ended == end
        row = await row_of(many, context)
        assert got == pieces
        assert (row["status"], row["output_bytes"]) == (status, output_bytes)
    assert await pieces_then({"n": 1}) == (b"one\ntwo\n", None)


async def test_what_fails_before_the_first_piece_has_its_status(many):
    await many.deploy("many", MANY, max_replicas=1, halted=True)

    async def is_refused():
        try:
            await messages(many, None)
        except RemoteProblem as problem:
            return problem.code
        return None

    assert await eventually(is_refused) == "halted"


async def test_a_reader_that_takes_nothing_stops_the_function_and_hanging_up_ends_it(many):
    context = CallContext(request_id=RequestId(uuid7()))
    await many.deploy("many", MANY, max_replicas=1, timeout_s=60.0)
    instance = many.plane.pool
    async with streaming(many, "flood", context=context) as stream:
        for _ in range(100):
            assert (await stream.recv_message()).data
        assert instance.inflight == 1
        await stream.cancel()
    with anyio.fail_after(10):
        while many.plane.executor.inflight:
            await anyio.sleep(0.02)
    assert (await row_of(many, context))["status"] == "cancelled"
    assert (await messages(many, None))[0].data == b"one\n"
