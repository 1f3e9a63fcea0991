"""A request of the control plane: its body's bound, its answer, and callers that go away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from constellation.base.errors import BodyTimeout, PayloadTooLarge, UnsupportedMediaType
from constellation.nova.api.http import DISCARDED_BYTES, CallerGone, HttpAnswer, HttpRequest
from constellation.rpc.hangup import HangupWatch

pytestmark = pytest.mark.anyio


class Wire:
    """Both ends of an ASGI scope; behind the last of what came in there is silence."""

    def __init__(self, *pieces: dict[str, Any]) -> None:
        self.coming, self.sent = list(pieces), []

    async def receive(self) -> dict[str, Any]:
        if not self.coming:
            await anyio.sleep_forever()
        return self.coming.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)

    def request(self, *headers: tuple[bytes, bytes], method: str = "POST") -> HttpRequest:
        scope = {"method": method, "raw_path": b"/functions", "query_string": b"", "headers": list(headers)}
        return HttpRequest(scope, self.receive, self.send)


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}
JSON = (b"content-type", b"Application/JSON; charset=utf-8")
CHUNKED = (b"transfer-encoding", b"chunked")


async def test_a_body_comes_in_pieces():
    request = Wire(piece(b"[1,", more=True), piece(b"2]")).request(JSON, CHUNKED)
    assert await request.body(limit_bytes=5, wait_s=1) == b"[1,2]"


async def test_a_request_that_announces_no_body_has_none():
    request = Wire().request(JSON)
    assert request.body_done
    assert await request.body(limit_bytes=5, wait_s=1) == b""


async def test_a_body_over_the_limit_is_read_to_its_end_and_refused():
    wire = Wire(piece(b"123", more=True), piece(b"456", more=True), piece(b"7"))
    with pytest.raises(PayloadTooLarge):
        await wire.request(JSON, CHUNKED).body(limit_bytes=5, wait_s=1)
    assert wire.coming == []


async def test_one_that_announces_far_more_is_refused_unread():
    wire = Wire(piece(b"1"))
    announced = (b"content-length", str(DISCARDED_BYTES + 6).encode())
    with pytest.raises(PayloadTooLarge):
        await wire.request(JSON, announced).body(limit_bytes=5, wait_s=1)
    assert wire.coming


async def test_a_body_must_be_json_and_come_in_time():
    for media_type in (b"text/plain", b"application/jsonx", b""):
        with pytest.raises(UnsupportedMediaType):
            await Wire(piece(b"1")).request((b"content-type", media_type), CHUNKED).body(limit_bytes=5, wait_s=1)
    with pytest.raises(BodyTimeout):
        await Wire(piece(b"1", more=True)).request(JSON, CHUNKED).body(limit_bytes=5, wait_s=0.01)


async def test_who_hangs_up_within_the_body_gets_no_answer():
    with pytest.raises(CallerGone):
        await Wire(piece(b"1", more=True), GONE).request(JSON, CHUNKED).body(limit_bytes=5, wait_s=1)


async def test_of_a_header_that_comes_twice_the_last_is_the_gateways_and_the_first_the_callers():
    request = Wire().request((b"if-match", b"a"), (b"if-match", b"b"))
    assert (request.headers["if-match"], request.first("if-match"), request.first("absent")) == ("b", "a", None)


async def test_an_answer_says_its_length_and_forgets_the_rest_of_the_body():
    wire = Wire(*(piece(b"x", more=True) for _ in range(3)))
    await wire.request(JSON, CHUNKED).answer(
        HttpAnswer(status=403, content_type="application/json", body=b"{}", headers={"ETag": '"1"'})
    )
    start, body = wire.sent
    assert start["status"] == 403
    assert dict(start["headers"]) == {b"content-type": b"application/json", b"ETag": b'"1"', b"content-length": b"2"}
    assert (body["body"], body["more_body"]) == (b"{}", False)
    assert wire.coming == []


async def test_a_stream_ends_where_its_caller_hangs_up():
    ended = anyio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"1"
            wire.coming.append(GONE)
            await anyio.sleep_forever()
        finally:
            ended.set()

    wire, watch = Wire(), HangupWatch()
    request = wire.request(method="GET")
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.run)
        with anyio.fail_after(5), watch.over(request):
            await request.answer(HttpAnswer(status=200, content_type="application/x-ndjson", body=pieces()))
            pytest.fail("a stream without an end ended")
        tasks.cancel_scope.cancel()
    assert ended.is_set()
    assert [message.get("body") for message in wire.sent] == [None, b"1"]
