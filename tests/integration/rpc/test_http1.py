"""A pool of HTTP/1.1 connections against sockets that do what they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import pytest
from anyio.abc import SocketStream

from constellation.rpc.http1 import HttpPool, PeerLost

pytestmark = pytest.mark.anyio

GET = ("GET", b"/a%2Fb?c", [(b"host", b"x")], None)


class Server:
    """Answers each request, once its head and `body` bytes more came, with what it was given; counts connections."""

    def __init__(self, *answers: bytes, body: int = 0) -> None:
        self.answers, self.body = list(answers), body
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0

    async def __call__(self, stream: SocketStream) -> None:
        self.connections += 1
        async with stream:
            try:
                while True:
                    request = b""
                    while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < self.body:
                        request += await stream.receive()
                    self.requests.append(request)
                    if not self.answers:
                        return
                    await stream.send(self.answers.pop(0))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.closed += 1


@pytest.fixture
async def pool_of():
    """Returns a pool of connections to a server, both of which end with the test."""
    async with AsyncExitStack() as ending, anyio.create_task_group() as tasks:

        async def made(server: Server, **settings: float) -> HttpPool:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            ending.push_async_callback(listener.aclose)
            tasks.start_soon(listener.serve, server)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            more = {"max_connections": 4, "max_idle": 2, "idle_s": 30.0, "wait_s": 5.0, **settings}
            pool = HttpPool("127.0.0.1", port, tls=None, connect_s=2.0, **more)
            ending.callback(pool.close)
            return pool

        yield made
        tasks.cancel_scope.cancel()


async def ask(pool: HttpPool, *request, quiet_s: float = 5.0) -> tuple[int, bytes]:
    async with pool.request(*(request or GET), quiet_s=quiet_s) as answer:
        return answer.status, b"".join([piece async for piece in answer.body])


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_a_connection_serves_one_request_after_the_other(pool_of):
    server = Server(OK, b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nnot\r\n0\r\n\r\n", OK)
    pool = await pool_of(server)
    assert [await ask(pool) for _ in range(3)] == [(200, b"ok"), (404, b"not"), (200, b"ok")]
    assert server.connections == 1
    assert server.requests[0] == b"GET /a%2Fb?c HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", OK + b"HTTP/1.1 200 OK\r\n"]
)
async def test_a_connection_that_is_over_or_says_more_than_asked_is_not_used_again(pool_of, answer):
    server = Server(answer, OK)
    pool = await pool_of(server)
    assert [await ask(pool), await ask(pool)] == [(200, b"ok"), (200, b"ok")]
    assert server.connections == 2


async def test_an_answer_that_is_left_before_its_end_costs_the_connection(pool_of):
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", OK)
    pool = await pool_of(server)
    async with pool.request(*GET, quiet_s=5.0) as answer:
        assert answer.status == 200
    assert await ask(pool) == (200, b"ok")
    assert server.connections == 2


async def test_an_unused_connection_that_the_server_closed_is_replaced(pool_of):
    server = Server(OK)
    pool = await pool_of(server)
    assert await ask(pool) == (200, b"ok")
    with anyio.fail_after(5):
        connection = pool._idle[0]
        connection._writer.write(b"GET / HTTP/1.1\r\n\r\n")  # the server has no answer left, and closes
        while not connection.is_closed:
            await anyio.sleep(0.01)
    server.answers.append(OK)
    assert await ask(pool) == (200, b"ok")
    assert server.connections == 2


async def test_an_unused_connection_is_closed_in_time(pool_of):
    server = Server(OK)
    pool = await pool_of(server, idle_s=0.05)
    assert await ask(pool) == (200, b"ok")
    with anyio.fail_after(5):
        while not server.closed:
            await anyio.sleep(0.01)


async def test_a_body_is_sent_as_it_is_framed_and_an_interim_answer_is_passed_over(pool_of):
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    server = Server(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK, body=6)
    pool = await pool_of(server)
    for framing in ((b"content-length", b"6"), (b"transfer-encoding", b"chunked")):
        assert await ask(pool, "POST", b"/", [(b"host", b"x"), framing], pieces()) == (200, b"ok")
    assert server.requests[0].endswith(b"\r\n\r\nonetwo")
    assert b"3\r\none\r\n" in server.requests[1]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", b"nonsense\r\n\r\n"])
async def test_a_server_that_goes_or_makes_no_sense_is_named_as_lost(pool_of, answer):
    class Leaving(Server):
        async def __call__(self, stream: SocketStream) -> None:
            async with stream:
                await stream.receive()
                if answer:
                    await stream.send(answer)

    pool = await pool_of(Leaving())
    with pytest.raises(PeerLost):
        await ask(pool)


async def test_nobody_there(pool_of):
    pool = await pool_of(Server())
    pool._port = 1
    with pytest.raises(PeerLost):
        await ask(pool)


async def test_silence_and_a_full_pool_end_in_time(pool_of):
    class Silent(Server):
        async def __call__(self, stream: SocketStream) -> None:
            async with stream:
                await anyio.sleep_forever()

    pool = await pool_of(Silent(), max_connections=1, wait_s=0.05)
    with pytest.raises(TimeoutError):
        await ask(pool, quiet_s=0.05)

    async with anyio.create_task_group() as asking:

        async def first() -> None:
            with pytest.raises(TimeoutError):
                await ask(pool, quiet_s=1.0)

        asking.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TimeoutError):
            await ask(pool)
