"""Request smuggling: whatever stands in front of the edge may have read a message in another way, so the edge reads it in one or not
at all. A server behind it tells what reached it."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest

from constellation.base.sockets import listen_unix
from constellation.native.edge import Edge, Refusal, RefusalAnswer, grpc_refusal
from constellation.native.reactor import Reactor

pytestmark = pytest.mark.anyio

POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\n"
INNER = b"GET /inner HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"


@dataclass(slots=True)
class Rig:
    port: int
    edge: Edge
    heard: list[bytes] = field(default_factory=list)  # each connection to the server behind, as it came


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[Rig]:
    problems = {
        number: RefusalAnswer(
            status=400 + number, code="x", problem=json.dumps({"number": number}).encode(), headers={}
        )
        for number in [*Refusal, *(grpc_refusal(status) for status in range(1, 17))]
    }
    reactor = Reactor()
    edge = Edge(
        reactor, upstream=tmp_path / "s", idle_timeout_s=5.0, max_inflight=8, max_connections=8, max_bodies_bytes=1 << 20,
        refusals=problems,
    )  # fmt: skip
    front = socket.create_server(("127.0.0.1", 0))
    front.setblocking(False)
    behind = listen_unix(tmp_path / "s")
    rig = Rig(front.getsockname()[1], edge)

    async def serve(stream: anyio.abc.SocketStream) -> None:
        index = len(rig.heard)
        rig.heard.append(b"")
        async with stream:
            try:
                while True:
                    rig.heard[index] += await stream.receive()
                    head, found, body = rig.heard[index].rpartition(b"direct\r\n\r\n")
                    is_whole = b"chunked" not in head.rpartition(b"HTTP/1.1")[2] or body.endswith(b"0\r\n\r\n")
                    if found and is_whole:
                        await stream.send(ANSWER)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def accept() -> None:
        while True:
            connection, _ = await behind_stream()
            tasks.start_soon(serve, connection)

    async def behind_stream():
        await anyio.wait_readable(behind)
        connection, address = behind.accept()
        connection.setblocking(False)
        return await anyio.abc.UNIXSocketStream.from_socket(connection), address

    with reactor.turning(), front, behind:
        edge.listen(front)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            yield rig
            tasks.cancel_scope.cancel()
        edge.close()
    reactor.close()


async def exchange(rig: Rig, data: bytes, *, answers: int = 1) -> bytes:
    """Send bytes; return what comes back until the connection ends or so many answers are there."""
    got = b""
    async with await anyio.connect_tcp("127.0.0.1", rig.port) as stream:
        await stream.send(data)
        with anyio.move_on_after(5):
            try:
                while got.count(ANSWER) < answers:
                    got += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return got
    return got


REFUSED = {
    "CL.TE": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "TE.TE, the second unknown": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n"
    + INNER,
    "TE.TE, the first unknown": POST + b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "TE hidden by a space": POST + b"Transfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "TE hidden by a tab": POST + b"Transfer-Encoding:\tchunked, x\r\n\r\n0\r\n\r\n" + INNER,
    "TE hidden by a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + INNER,
    "TE in a folded line": POST + b"X: x\r\n Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "TE behind a bare LF": POST + b"X: x\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "TE behind a bare CR": POST + b"X: x\rTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "TE in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + INNER,
    "TE of HTTP/1.0": b"POST /a HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "CL.CL": POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + INNER,
    "CL.CL, the same": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + INNER,
    "CL as a list": POST + b"Content-Length: 0, 44\r\n\r\n" + INNER,
    "CL with a sign": POST + b"Content-Length: +0\r\n\r\n" + INNER,
    "CL in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n" + INNER,
    "CL that overflows": POST + b"Content-Length: 18446744073709551616\r\n\r\n" + INNER,
    "CL hidden by a space": POST + b"Content-Length : 44\r\n\r\n" + INNER,
    "CL hidden by a NUL": POST + b"Content-Length\0: 44\r\n\r\n" + INNER,
    "a head that ends with bare LFs": b"GET /a HTTP/1.1\nHost: localhost\n\n" + INNER,
    "a head whose last line is bare": POST + b"\n" + INNER,
    "no Host": b"GET /a HTTP/1.1\r\n\r\n" + INNER,
    "two Hosts": POST + b"Host: evil\r\n\r\n" + INNER,
    "a Host in a folded line": b"GET /a HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n" + INNER,
    "absolute form with another Host": b"GET http://evil/a HTTP/1.1\r\nHost: localhost\r\n\r\n" + INNER,
    "absolute form with a user": b"GET http://localhost@evil/a HTTP/1.1\r\nHost: evil\r\n\r\n" + INNER,
    "absolute form of another scheme": b"GET https://localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n" + INNER,
    "authority form": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n" + INNER,
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n" + INNER,
    "a request line of HTTP/0.9": b"GET /a\r\n\r\n" + INNER,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
}

BROKEN_CHUNKS = {
    "junk": b"zz\r\nabc\r\n0\r\n\r\n",
    "a sign": b"-1\r\nabc\r\n0\r\n\r\n",
    "a prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a blank before": b" 3\r\nabc\r\n0\r\n\r\n",
    "a blank behind": b"3 \r\nabc\r\n0\r\n\r\n",
    "a bare LF": b"3\nabc\r\n0\r\n\r\n",
    "a bare LF behind an extension": b"3;x\nabc\r\n0\r\n\r\n",
    "a size that overflows": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "less data": b"4\r\nabc\r\n0\r\n\r\n",
    "more data": b"2\r\nabc\r\n0\r\n\r\n",
    "a trailer without a colon": b"3\r\nabc\r\n0\r\nX\r\n\r\n",
    "a folded trailer": b"3\r\nabc\r\n0\r\nX: x\r\n y\r\n\r\n",
    "an end without CR": b"3\r\nabc\r\n0\r\n\n",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_message_that_can_be_read_in_two_ways_is_read_in_none(rig, name):
    answer = await exchange(rig, REFUSED[name])
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    assert not rig.heard  # neither it nor what it carried


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
async def test_chunks_that_can_be_read_in_two_ways_never_end(rig, name):
    answer = await exchange(rig, POST + b"Transfer-Encoding: chunked\r\n\r\n" + BROKEN_CHUNKS[name] + INNER)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    for heard in rig.heard:
        assert b"0\r\n\r\n" not in heard.partition(b"\r\n\r\n")[2]
        assert b"/inner" not in heard


async def test_what_is_read_is_told_in_one_way(rig):
    data = POST + b"tRANSFER-ENCODING:CHUNKED\r\n\r\n3;a=b\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n" + INNER
    data += b"GET http://localhost/abs?q HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    answer = await exchange(rig, data, answers=3)
    assert answer == 3 * ANSWER
    (heard,) = rig.heard
    heads = [part for part in heard.split(b"direct\r\n\r\n") if part]
    assert [head.split(b" HTTP/1.1")[0].rsplit(b"\n", 1)[-1] for head in heads] == [
        b"POST /a",
        b"GET /inner",
        b"GET /abs?q",
    ]
    assert heads[0].count(b"transfer-encoding: chunked\r\n") == 1
    assert heads[1].startswith(b"3\r\nabc\r\n0\r\n\r\nGET /inner")
    assert b"ontent-" not in heads[1]
    assert heads[2].count(b"content-length: 0\r\n") == 1
    assert b"localhost/abs" not in heads[2]
