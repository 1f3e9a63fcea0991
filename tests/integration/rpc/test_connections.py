"""A client that goes takes its connection with it."""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from quart import Quart

from constellation.base.address import parse_address
from constellation.base.sockets import listen_tcp
from constellation.rpc.http import serving_http

pytestmark = pytest.mark.anyio

CLIENTS = 20
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok"


def _accepted(port: int) -> int:
    """Count this process's descriptors of connections to a port of its own."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(link.name))) as copy:
                found += copy.family == socket.AF_INET and copy.getsockname()[1] == port
        except OSError:
            continue
    return found - 1  # the listener


async def _eventually_closed(port: int) -> bool:
    with anyio.move_on_after(10):
        while _accepted(port):
            await anyio.sleep(0.02)
        return True
    return False


@pytest.fixture
async def port():
    app = Quart("test")
    calls: Counter[str] = Counter()

    @app.post("/")
    async def echo() -> str:
        calls["echo"] += 1
        return "x" * 1000

    listener, address = listen_tcp(parse_address("127.0.0.1:0"))
    async with serving_http(app, listener=listener, drain_s=1.0):
        yield address.port


def _ask(port: int, *, is_half_closed: bool, is_reset: bool) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST)
        if is_half_closed:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < 1000:
            piece = client.recv(65536)
            if not piece:  # a server may take the end of the requests for a hang-up
                assert is_half_closed
                break
            answer += piece
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(("is_half_closed", "is_reset"), [(False, False), (True, False), (False, True)])
async def test_nothing_is_held_for_a_client_that_has_gone(port, is_half_closed, is_reset):
    for _ in range(CLIENTS):
        await anyio.to_thread.run_sync(lambda: _ask(port, is_half_closed=is_half_closed, is_reset=is_reset))
    assert await _eventually_closed(port), _accepted(port)


async def test_a_client_that_stays_keeps_its_connection(port):
    async with await anyio.connect_tcp("127.0.0.1", port) as client:
        for _ in range(3):
            await client.send(REQUEST)
            answer = b""
            with anyio.fail_after(10):
                while len(answer.partition(b"\r\n\r\n")[2]) < 1000:
                    answer += await client.receive()
            await anyio.sleep(0.1)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nhost : x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_is_answered_with_a_problem(port, junk):
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(junk)
        got = b""
        with anyio.fail_after(10):
            try:
                while True:
                    got += await stream.receive()
            except anyio.EndOfStream:
                pass
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in got
    assert got.endswith(b'"code":"malformed_request","retryable":false}')
