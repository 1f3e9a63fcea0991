"""Whatever arrives by raw sockets: the right status, a problem where HTTP leaves us the word, and never a call."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from tests.integration.zenith.conftest import problem, raw, received

pytestmark = pytest.mark.anyio

POST = b"POST /functions/echo/invoke HTTP/1.1\r\nHost: localhost\r\n"


async def _sent(stream, data: bytes) -> bool:
    try:
        await stream.send(data)
    except anyio.BrokenResourceError:
        return False
    return True


@pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b"NaN", b'{"a": 1} x', b'"\xff"', b"[1,]", b"\xef\xbb\xbf1", b" "])
async def test_a_body_that_is_not_json(rig, http, body):
    problem(await http.post("/functions/echo/invoke", content=body), 400, "invalid_request")
    assert not rig.comet.calls


async def test_another_content_type(rig, http):
    answer = await http.post("/functions/echo/invoke", content=b"1", headers={"content-type": "text/xml"})
    problem(answer, 415, "unsupported_media_type")
    assert not rig.comet.calls


async def test_unknown_paths_and_methods(rig, http):
    for path in ("/nowhere", "/internal/changes", "/v1/internal/authenticate", "/functions/a%2Fcode", "/"):
        problem(await http.get(path), 404, "route_not_found")
    answer = await http.request("DELETE", "/functions")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST, HEAD"
    assert not rig.comet.calls


@pytest.mark.parametrize("value", ["0", "-1", "1000", "x", "NaN"])
async def test_a_timeout_out_of_range(rig, http, value):
    answer = await http.post("/functions/echo/invoke", json=1, headers={"X-Nova-Timeout-S": value})
    problem(answer, 400, "invalid_request")


async def test_an_announced_body_over_the_limit_is_refused_unread(rig):
    answer = await raw(rig, POST + b"Content-Length: 99999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"payload_too_large"' in answer
    assert not rig.comet.calls


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_body_over_the_limit_is_refused_and_the_refusal_arrives(rig, http, is_chunked):
    big = b'"' + b"x" * (7 << 20) + b'"'

    async def pieces():
        for at in range(0, len(big), 65536):
            yield big[at : at + 65536]

    answer = await http.post("/functions/echo/invoke", content=pieces() if is_chunked else big)
    problem(answer, 413, "payload_too_large")
    assert (await http.post("/functions/echo/invoke", json=1)).status_code == 200
    with anyio.fail_after(5):
        while rig.parts.budget.taken_bytes:
            await anyio.sleep(0.01)


async def test_a_client_that_floods_without_reading_is_let_go(rig):
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        await stream.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with anyio.fail_after(20):
            while await _sent(stream, b"10000\r\n" + b"x" * 65536 + b"\r\n"):
                continue
    with anyio.fail_after(10):
        while rig.parts.gate.inflight:
            await anyio.sleep(0.01)
    assert rig.parts.budget.taken_bytes == 0


async def test_a_chunked_body_is_read_whole(rig):
    answer = await raw(rig, POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n3;ext=1\r\n2 ]\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert rig.comet.calls[0][0].payload == b"[1,2 ]"


async def test_a_body_that_stops_coming_is_a_408(rig):
    answer = await raw(rig, POST + b"Content-Length: 10\r\n\r\n{", patience_s=10)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert not rig.comet.calls


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"Content-Length: 50\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    ],
)
async def test_a_body_cut_off_is_never_a_whole_one(rig, request_bytes):
    answer = await raw(rig, request_bytes, half_close=True)
    assert not answer or answer.split(b" ")[1].startswith(b"4")
    assert not rig.comet.calls


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked, gzip\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: 2x\r\n\r\n{}",
        POST + b"Bad Header: 1\r\n\r\n",
        POST + b"X: a\r\n b\x00\r\n\r\n",
        b"POST /functions/echo/invoke HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST /functions/echo/invoke HTTP/1.1\r\nHost: a\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /functions/echo/invoke HTTP/1.1\r\n\r\n",
        b"POST /functions/echo invoke HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n",
        b"GET /functions HTTP/9.9\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_closed(rig, request_bytes):
    answer = await raw(rig, request_bytes, half_close=True)
    assert not answer or answer.split(b" ")[1] in (b"400", b"401", b"501", b"505"), answer[:100]
    assert not rig.comet.calls


async def test_a_head_without_end_is_bounded(rig):
    answer = await raw(rig, b"GET /functions HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, half_close=True)
    assert not answer or answer.split(b" ")[1] in (b"400", b"431")
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(150))
    answer = await raw(rig, b"GET /functions HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    answer = await raw(rig, b"GET /functions?" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 414 ")


async def test_a_connection_that_says_nothing_is_closed(native_lane, tmp_path):
    from constellation.nova.config.sections import ZenithSettings
    from constellation.testing.gateway import gateway_rig

    async with gateway_rig(ZenithSettings(idle_timeout_s=1.0), state_dir=tmp_path, is_native=native_lane) as rig:
        for begun in (b"", b"GET /health/live HTTP/1.1\r\nHost: loc"):
            async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
                if begun:
                    await stream.send(begun)
                with anyio.fail_after(10):
                    answer = await received(stream)
                    assert not answer or (begun and answer.startswith(b"HTTP/1.1 408 "))


async def test_a_connection_that_falls_silent_after_an_answer_is_closed(native_lane, tmp_path):
    from constellation.nova.config.sections import ZenithSettings
    from constellation.testing.gateway import gateway_rig

    async with (
        gateway_rig(ZenithSettings(idle_timeout_s=0.3), state_dir=tmp_path, is_native=native_lane) as rig,
        await anyio.connect_tcp(rig.address.host, rig.address.port) as stream,
    ):
        await stream.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await received(stream)).startswith(b"HTTP/1.1 200 ")
        with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def answered_and_kept_or_not(rig, request: bytes) -> bytes:
    """Return the answer, behind which the connection takes another request unless the answer said otherwise."""
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        await stream.send(request)
        answer = await received(stream)
        if b"connection: close" not in answer.lower().partition(b"\r\n\r\n")[0].split(b"\r\n"):
            await stream.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await received(stream)).startswith(b"HTTP/1.1 200 ")
        return answer


async def test_a_web_socket_is_refused(rig):
    answer = await answered_and_kept_or_not(
        rig,
        b"GET /functions HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 4")


async def test_a_body_with_two_ends_is_refused_and_nothing_behind_it_is_read(rig):
    smuggled = b"POST /functions/echo/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n2"
    for first, second in (
        (b"Content-Length: 4", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 99"),
    ):
        answer = await raw(rig, POST + first + b"\r\n" + second + b"\r\n\r\n0\r\n\r\n" + smuggled)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answer.lower()
    assert not rig.comet.calls


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health/live HTTP/1.1\r\nHo", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
async def test_a_connection_that_its_client_ended_is_ended(rig, sent):
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        if sent:
            await stream.send(sent)
        if sent.endswith(b"\r\n\r\n"):
            await received(stream)
        await stream.send_eof()
        with anyio.fail_after(10):  # not when a minute of silence is over
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()


async def test_no_request_turns_its_connection_into_http_2(rig):
    """Behind the edge that would be a way to say `Constellation-Peer` oneself, and so whose the connection is."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n"
    assert (await answered_and_kept_or_not(rig, request)).startswith(b"HTTP/1.1 200 ")
