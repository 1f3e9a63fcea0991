"""Loops against a real socket."""

from __future__ import annotations

import json
from itertools import count

import anyio
import pytest
from http1 import Answer, request_bytes, target_of
from load import Work, failure_of, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}  # as the bench runs


class Server:
    """Answers each request with the next of `answers`, the last one for ever; None closes the connection."""

    def __init__(self, *answers: bytes | None, delay_s: float = 0.0) -> None:
        self.answers, self.delay_s, self.served, self.connections = answers, delay_s, count(), 0

    async def handle(self, stream) -> None:
        self.connections += 1
        async with stream:
            rest = b""
            while True:
                try:
                    while b"\r\n\r\n" not in rest:
                        rest += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                head, _, rest = rest.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                while len(rest) < length:
                    rest += await stream.receive()
                rest = rest[length:]
                answer = self.answers[min(next(self.served), len(self.answers) - 1)]
                if answer is None:
                    return
                await anyio.sleep(self.delay_s)
                await stream.send(answer)


def http(status: int, body: object) -> bytes:
    content = json.dumps(body, separators=(",", ":")).encode()
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(content), content)


OK = http(200, {"output": 1, "error": None})


async def measured(server: Server, *, duration_s: float = 0.3, **more):
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.handle)
        target = target_of(f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}")
        work = Work(target=target, request=request_bytes(target, "POST", "/x", body=b"{}"), **more)
        with anyio.fail_after(30):
            result = await run(work, duration_s=duration_s)
        tasks.cancel_scope.cancel()
    return result


async def test_closed_loop_keeps_its_connections():
    server = Server(OK)
    result = await measured(server, connections=3)
    assert result.latency_us.count > 3
    assert not result.errors
    assert server.connections == 3


async def test_open_loop_makes_the_calls_of_its_schedule():
    result = await measured(Server(OK), connections=4, rate=100.0, duration_s=0.5)
    assert result.latency_us.count == 50


async def test_open_loop_charges_the_wait_for_a_free_connection():
    # 20 calls are due within 0.2 s and one connection answers each after 50 ms: the last waits for the others.
    result = await measured(Server(OK, delay_s=0.05), connections=1, rate=100.0, duration_s=0.2)
    assert result.latency_us.count == 20
    assert result.latency_us.max >= 700_000
    assert result.latency_us.percentile(50) >= 300_000


async def test_failures_are_counted_by_what_failed_and_not_timed():
    answers = [
        http(429, {"code": "pool_exhausted"}),
        http(500, "?"),
        http(200, {"output": None, "error": {"type": "E"}}),
        None,
        b"rubbish\r\n\r\n",
        OK,
    ]
    result = await measured(Server(*answers), connections=1, duration_s=0.6)
    assert result.errors["429 pool_exhausted"] == 1
    assert result.errors["500"] == 1
    assert result.errors["the function raised"] == 1
    assert result.errors["connection: Broken"] == 1
    assert sum(times for what, times in result.errors.items() if what.startswith("bad answer")) == 1
    assert result.latency_us.count > 0


async def test_silence_is_a_timeout():
    result = await measured(Server(OK, delay_s=5), connections=1, duration_s=0.05, timeout_s=0.1)
    assert dict(result.errors) == {"timeout": 1}


async def test_nobody_there_is_an_error_and_no_busy_loop():
    target = target_of("http://127.0.0.1:1")
    result = await run(Work(target=target, request=b"", connections=1), duration_s=0.2)
    assert 1 <= result.errors["connection: ConnectionRefusedError"] <= 6


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200, b'{"output":1,"error":null}', True), None),
        (Answer(202, b"plain", True), None),
        (Answer(200, b'{"output":null,"error":{"type":"E"}}', True), "the function raised"),
        (Answer(503, b'{"code":"overloaded"}', True), "503 overloaded"),
        (Answer(502, b"<html>", True), "502"),
    ],
)
def test_failure_has_a_name(answer, expected):
    assert failure_of(answer) == expected
