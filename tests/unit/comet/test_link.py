"""The host's end of a channel against peers that are slow, broken or hostile."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import (
    Call,
    CallTimeout,
    HandlerLoadFailed,
    InstanceDied,
    InstanceSpec,
    OutputInvalid,
)
from constellation.comet.link.channel import Channel
from constellation.native.link import FRAME_MAX_BYTES, Links
from constellation.native.reactor import Reactor
from constellation.wire.gen import agent_pb2

pytestmark = pytest.mark.anyio

HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP, ASK, REPLY = range(1, 15)

SPEC = InstanceSpec(
    tenant="t",
    namespace="n",
    function_id=uuid7(),
    function_name="f",
    function_version="1",
    runtime="python",
    handler="main.handler",
    code_dir=Path("/code"),
)


def frame(kind: int, call_id: int = 0, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">IBBHI", len(body), kind, flags, 0, call_id) + body


class Peer:
    """A worker played by the test, and the channel it talks to."""

    def __init__(self, links: Links, *, is_alone: bool = True, log_limit_bytes: int = 1000) -> None:
        ours, self.socket = socket.socketpair()
        out_fd, self.stdio_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ours.setblocking(False)
        self.socket.settimeout(5)
        self.hung_up: list[str] = []
        self.given_up = 0
        self.channel = Channel(
            links,
            ours,
            out_fd,
            spec=replace(SPEC, concurrency=1 if is_alone else 2, log_limit_bytes=log_limit_bytes),
            on_hang_up=self.hung_up.append,
            on_given_up=self._count,
        )

    def _count(self) -> None:
        self.given_up += 1

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    async def read(self) -> tuple[int, int, bytes]:
        def exactly(count: int) -> bytes:
            data = b""
            while len(data) < count:
                data += self.socket.recv(count - len(data))
            return data

        def receive() -> tuple[int, int, bytes]:
            length, kind, _, _, call_id = struct.unpack(">IBBHI", exactly(12))
            return kind, call_id, exactly(length)

        return await anyio.to_thread.run_sync(receive)

    async def ready(self) -> None:
        self.send(frame(HELLO, 0, agent_pb2.Hello(protocol=1, runtime="x", version="1").SerializeToString()))
        await self.channel.hello()
        self.send(frame(READY, 0, agent_pb2.Ready(ok=True).SerializeToString()))
        await self.channel.init(agent_pb2.Init(handler="main.handler"), timeout_s=5)
        assert (await self.read())[0] == INIT

    def close(self) -> None:
        self.channel.end_nowait("destroyed")
        self.socket.close()
        os.close(self.stdio_fd)


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    reactor = Reactor()
    with reactor.turning():
        yield Links(reactor)


@pytest.fixture
async def peer(links) -> AsyncIterator[Peer]:
    made = Peer(links)
    await made.ready()
    yield made
    made.close()


@pytest.fixture
async def shared(links) -> AsyncIterator[Peer]:
    made = Peer(links, is_alone=False)
    await made.ready()
    yield made
    made.close()


def call(payload: bytes = b"1", timeout_s: float = 5) -> Call:
    return Call(request_id=uuid7(), payload=payload, timeout_s=timeout_s, trace_id=b"t" * 16, span_id=b"s" * 8)


async def hang_up_of(peer: Peer) -> str:
    with anyio.fail_after(5):
        while not peer.hung_up:
            await anyio.sleep(0.001)
    assert len(peer.hung_up) == 1
    return peer.hung_up[0]


async def test_a_call_is_one_frame_out_and_one_frame_in(peer):
    wanted = call(b'{"a":1}')

    async def answer() -> None:
        kind, call_id, body = await peer.read()
        assert (kind, body[48:]) == (EXEC, b'{"a":1}')
        assert body[:40] == wanted.request_id.bytes + b"t" * 16 + b"s" * 8
        assert 4000 < int.from_bytes(body[40:44], "big") <= 5000
        for byte in frame(LOG, call_id, b"printed") + frame(RESULT, call_id, b"[2]"):
            peer.send(bytes([byte]))  # however the stream is cut

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        outcome = await peer.channel.call(wanted)
    assert (outcome.output, outcome.error, outcome.log.text) == (b"[2]", None, "printed")
    assert peer.channel.in_hand == 0


async def test_answers_find_their_calls_in_any_order(shared):
    got: dict[int, bytes | None] = {}

    async def ask(n: int) -> None:
        got[n] = (await shared.channel.call(call(b"%d" % n))).output

    async with anyio.create_task_group() as tasks:
        for n in range(5):
            tasks.start_soon(ask, n)
        asked = [await shared.read() for _ in range(5)]
        for _, call_id, body in reversed(asked):
            shared.send(frame(RESULT, call_id, body[48:]))
    assert got == {n: b"%d" % n for n in range(5)}


async def test_a_large_call_waits_for_room_in_the_socket(peer):
    payload = b'"' + b"x" * (4 << 20) + b'"'

    async def answer() -> None:
        _, call_id, body = await peer.read()
        assert body[48:] == payload
        peer.send(frame(RESULT, call_id, b"1"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        assert (await peer.channel.call(call(payload))).output == b"1"


HOSTILE = {
    "too long": struct.pack(">IBBHI", FRAME_MAX_BYTES + 1, RESULT, 0, 0, 1),
    "four gigabytes": b"\xff" * 12,
    "reserved bits": struct.pack(">IBBHI", 1, RESULT, 0, 7, 1) + b"1",
    "unknown call": frame(RESULT, 99, b"1"),
    "error of an unknown call": frame(ERROR, 99, b"{}"),
    "log of an unknown call": frame(LOG, 99, b"x"),
    "chunk of no stream": frame(CHUNK, 1, b"x"),
    "chunk of an unknown call": frame(CHUNK, 99, b"x"),
    "second hello": frame(HELLO),
    "second ready": frame(READY),
    "a host's frame": frame(EXEC, 1, b"x"),
    "pong to no ping": frame(PONG),
    "unknown kind": frame(200),
    "error without bound": frame(ERROR, 1, b"x" * (257 << 10)),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_rubbish_ends_the_channel_with_the_protocol_as_cause(peer, name):
    async def rubbish() -> None:
        await peer.read()
        await anyio.to_thread.run_sync(peer.send, frame(LOG, 1, b"words") + HOSTILE[name])
        cause = await hang_up_of(peer)
        assert cause.startswith("protocol: ")
        peer.channel.end_nowait(cause)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rubbish)
        with pytest.raises(InstanceDied) as died:
            await peer.channel.call(call())
    assert died.value.cause.startswith("protocol: ")
    assert died.value.log.text == "words"


async def test_nothing_after_rubbish_is_believed(peer):
    async def rubbish() -> None:
        await peer.read()
        peer.send(frame(200) + frame(RESULT, 1, b"1"))
        peer.channel.end_nowait(await hang_up_of(peer))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rubbish)
        with pytest.raises(InstanceDied):
            await peer.channel.call(call())


async def test_a_truncated_frame_is_a_hang_up(peer):
    async def cut() -> None:
        await peer.read()
        peer.send(frame(RESULT, 1, b"12345")[:-2])
        peer.socket.shutdown(socket.SHUT_RDWR)
        assert await hang_up_of(peer) == ""
        peer.channel.end_nowait("exit status 1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut)
        with pytest.raises(InstanceDied, match="exit status 1"):
            await peer.channel.call(call())


@pytest.mark.parametrize("body", [b"", b"nope", b"NaN", b'{"a":1}x', b'"\xff"', b"[" * 2000])
async def test_output_that_is_not_json_is_refused(peer, body):
    async def answer() -> None:
        await peer.read()
        peer.send(frame(RESULT, 1, body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        with pytest.raises(OutputInvalid):
            await peer.channel.call(call())
    assert not peer.hung_up


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":1,"message":"x"}', b"[]"])
async def test_an_error_without_its_shape_is_refused(peer, body):
    async def answer() -> None:
        await peer.read()
        peer.send(frame(ERROR, 1, body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        with pytest.raises(OutputInvalid):
            await peer.channel.call(call())


async def test_a_late_answer_of_a_timed_out_call_disturbs_nobody(shared):
    with pytest.raises(CallTimeout):
        await shared.channel.call(call(timeout_s=0.05))
    assert shared.given_up == 1
    assert shared.channel.in_hand == 1
    assert (await shared.read())[0] == EXEC
    assert (await shared.read())[:2] == (CANCEL, 1)

    async def answer() -> None:
        await shared.read()
        shared.send(frame(LOG, 1, b"late") + frame(RESULT, 1, b"1") + frame(RESULT, 2, b"2"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        outcome = await shared.channel.call(call())
    assert (outcome.output, outcome.log.text) == (b"2", "")
    assert shared.channel.in_hand == 0


async def test_a_cancelled_call_is_told_to_the_worker(shared):
    with anyio.move_on_after(0.05):
        await shared.channel.call(call())
    assert [(await shared.read())[0] for _ in range(2)] == [EXEC, CANCEL]
    assert shared.given_up == 1


async def test_the_end_reaches_every_call_and_every_later_one(shared):
    causes = []

    async def ask() -> None:
        with pytest.raises(InstanceDied) as died:
            await shared.channel.call(call())
        causes.append(died.value.cause)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        for _ in range(3):
            await shared.read()
        shared.channel.end_nowait("out of memory")
        shared.channel.end_nowait("destroyed")
    await ask()
    assert causes == ["out of memory"] * 4


async def test_logs_are_bounded_and_raw_output_joins_the_only_call(peer):
    async def answer() -> None:
        await peer.read()
        os.write(peer.stdio_fd, b"raw\n")
        peer.send(frame(LOG, 1, b"x" * 2000) + frame(LOG, 1, b"y" * 2000) + frame(RESULT, 1, b"1"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        outcome = await peer.channel.call(call())
    assert len(outcome.log.text) == 1000
    assert outcome.log.truncated


async def test_a_stream_that_is_not_read_stops_the_socket_and_goes_on_after(peer):
    chunk = b"z" * (64 << 10)
    sent = 0

    def flood() -> None:
        nonlocal sent
        for _ in range(64):
            peer.send(frame(CHUNK, 1, chunk))
            sent += 1
        peer.send(frame(RESULT, 1, b""))

    async with anyio.create_task_group() as tasks, peer.channel.stream(call()) as stream:
        await peer.read()
        tasks.start_soon(anyio.to_thread.run_sync, flood)
        await anyio.sleep(0.3)
        assert sent < 32  # the rest does not fit in the buffer and the socket
        pieces = [piece async for piece in stream]
    assert b"".join(pieces) == chunk * 64
    assert stream.outcome.output == b""


async def test_a_stream_reports_what_ended_it_after_its_pieces(peer):
    async with peer.channel.stream(call()) as stream:
        await peer.read()
        peer.send(frame(CHUNK, 1, b"a"))
        reader = aiter(stream)
        assert await anext(reader) == b"a"
        peer.channel.end_nowait("signal 9")
        with pytest.raises(InstanceDied, match="signal 9"):
            await anext(reader)


async def test_a_streamed_answer_must_end_empty(peer):
    async with peer.channel.stream(call()) as stream:
        await peer.read()
        peer.send(frame(RESULT, 1, b"[1]"))
        with pytest.raises(OutputInvalid):
            await anext(aiter(stream))


async def test_leaving_a_stream_gives_the_call_up_once(shared):
    async with shared.channel.stream(call()) as stream:
        await shared.read()
        shared.send(frame(CHUNK, 1, b"a"))
        await anext(aiter(stream))
    assert shared.given_up == 1
    assert (await shared.read())[0] == CANCEL
    shared.send(frame(CHUNK, 1, b"b") + frame(RESULT, 1, b""))
    with anyio.fail_after(5):
        while shared.channel.in_hand:
            await anyio.sleep(0.001)
    assert not shared.hung_up


async def test_a_worker_of_another_protocol_is_refused(links):
    made = Peer(links)
    made.send(frame(HELLO, 0, agent_pb2.Hello(protocol=9).SerializeToString()))
    with pytest.raises(InstanceDied, match="version 9"):
        await made.channel.hello()
    made.close()


async def test_ready_before_init_is_a_broken_protocol(links):
    made = Peer(links)
    made.send(frame(READY, 0, agent_pb2.Ready(ok=True).SerializeToString()))
    assert (await hang_up_of(made)).startswith("protocol: ")
    made.close()


async def test_a_handler_that_does_not_load_is_said_by_the_worker(links):
    error = json.dumps({"type": "SyntaxError", "message": "line 1", "stack": ""}).encode()
    made = Peer(links)

    async def answer() -> None:
        await made.read()
        made.send(frame(READY, 0, agent_pb2.Ready(ok=False, error=error).SerializeToString()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        with pytest.raises(HandlerLoadFailed) as failed:
            await made.channel.init(agent_pb2.Init(), timeout_s=5)
    assert failed.value.error["type"] == "SyntaxError"
    made.close()


async def test_last_words_count_though_the_end_is_known_before_they_are_read(links):
    made = Peer(links)

    async def end() -> None:
        assert (await made.read())[0] == INIT
        error = b'{"type": "SyntaxError", "message": "line 1", "stack": ""}'
        made.send(frame(READY, 0, agent_pb2.Ready(ok=False, error=error).SerializeToString()))
        made.channel.catch_up_nowait()
        made.channel.end_nowait("exit status 1")  # in the same turn of the loop: nobody else has read the frame

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        with pytest.raises(HandlerLoadFailed):
            await made.channel.init(agent_pb2.Init(), timeout_s=5)
    made.close()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_an_error_nested_beyond_reading_is_an_invalid_output(links, is_streamed):
    peer = Peer(links)
    await peer.ready()
    deep = b'{"type":"E","message":"m","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    async def answer() -> None:
        _, call_id, _ = await peer.read()
        await anyio.to_thread.run_sync(peer.send, frame(ERROR, call_id, deep))

    async def run() -> None:
        if not is_streamed:
            await peer.channel.call(call())
            return
        async with peer.channel.stream(call()) as pieces:
            await anext(aiter(pieces))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        with anyio.fail_after(5), pytest.raises(OutputInvalid):
            await run()
    peer.close()


@pytest.mark.parametrize("flood", [frame(LOG, 0, b"x" * 500), frame(LOG, 1), frame(LOG, 1, b"y", 2), frame(CHUNK, 1)])
async def test_a_worker_that_floods_the_channel_is_hung_up_on(links, flood):
    peer = Peer(links)
    await peer.ready()
    peer.socket.setblocking(False)

    async def pour() -> None:
        while not peer.hung_up:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):  # the door is closed before we hear of it
                peer.socket.send(flood * 100)
            await anyio.sleep(0)

    with anyio.fail_after(10):
        async with peer.channel.stream(call()):
            await pour()
    assert peer.hung_up == ["protocol: more log than the limit"]
    peer.close()


async def test_calls_that_print_up_to_their_limit_do_not_flood(links):
    peer = Peer(links, is_alone=False)
    await peer.ready()
    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(peer.channel.call, call())
        for _ in range(200):
            _, call_id, _ = await peer.read()
            peer.send(frame(LOG, call_id, b"x" * 1000) + frame(LOG, 0, b"x" * 1000) + frame(RESULT, call_id, b"1"))
    assert not peer.hung_up
    peer.close()


async def test_what_was_read_before_the_end_is_delivered_before_it(shared):
    """A worker that answers one call and dies of the next: the answer counts, though the next call meets a closed door."""
    got: list[bytes | None] = []

    async def first() -> None:
        got.append((await shared.channel.call(call())).output)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await shared.read()
        shared.send(frame(RESULT, 1, b"1"))
        shared.socket.shutdown(socket.SHUT_RDWR)

        async def end() -> None:
            assert await hang_up_of(shared) == ""
            shared.channel.end_nowait("signal 9")

        tasks.start_soon(end)
        with pytest.raises(InstanceDied, match="signal 9"):
            await shared.channel.call(call())
    assert got == [b"1"]


async def test_a_stream_of_a_dead_worker_is_read_to_its_end(peer):
    chunk = b"z" * (64 << 10)
    async with peer.channel.stream(call()) as stream:
        await peer.read()
        peer.socket.settimeout(0.2)
        sent = b""
        with contextlib.suppress(TimeoutError):
            for _ in range(64):
                part = frame(CHUNK, 1, chunk)
                while part:
                    count = peer.socket.send(part)
                    sent, part = sent + part[:count], part[count:]
        peer.socket.close()
        whole, pieces = len(sent) // (len(chunk) + 12), []
        reader = aiter(stream)
        for _ in range(whole):
            with anyio.fail_after(5):
                pieces.append(await anext(reader))
        assert pieces == [chunk] * whole
        assert await hang_up_of(peer) == ""


async def test_a_call_after_the_end_is_refused_and_a_late_event_disturbs_nobody(peer):
    peer.send(frame(HELLO))
    peer.channel.end_nowait("out of memory")
    with pytest.raises(InstanceDied, match="out of memory"):
        await peer.channel.call(call())
    await anyio.sleep(0.01)
    assert peer.hung_up == []
    assert peer.channel.in_hand == 0
    assert peer.channel.last_words(10) == b""
