"""Routes that other planes serve: bytes as they came, as they come, and no longer than the client stays."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest

from constellation.base.errors import NotFound
from constellation.testing.nova import read_body
from constellation.wire.gen import nova_pb2
from tests.integration.zenith.conftest import ADMIN, problem

pytestmark = pytest.mark.anyio


def head(status: int = 200, **headers: str):
    pairs = [nova_pb2.Header(name=n.replace("_", "-"), value=v.encode()) for n, v in headers.items()]
    return nova_pb2.ProxyHTTPResponse(status=status, headers=pairs)


async def test_a_data_plane_request_reaches_comet_as_it_came(rig, http):
    async def proxied(request, stream) -> None:
        seen = {"path": request.path, "query": request.query.decode(), "body": request.body.decode(),
                "headers": {h.name: h.value.decode() for h in request.headers}}  # fmt: skip
        await stream.send_message(head(202, content_type="application/json", transfer_encoding="chunked", x_kept="1"))
        await stream.send_message(nova_pb2.ProxyHTTPResponse(body=json.dumps(seen).encode()))

    rig.comet.proxied = proxied
    answer = await http.post(
        "/v1/functions/f/invoke-async?a=%20b",
        json={"payload": 1},
        headers={"X-Mine": "1", "X-Forwarded-For": "x", **ADMIN},
    )
    assert (answer.status_code, answer.headers["x-kept"]) == (202, "1")
    seen = answer.json()
    assert (seen["path"], seen["query"], seen["body"]) == ("/functions/f/invoke-async", "a=%20b", '{"payload":1}')
    assert seen["headers"]["x-mine"] == "1"
    assert not {"x-forwarded-for", "x-api-key", "host", "content-length"} & set(seen["headers"])


async def test_a_stream_comes_as_it_is_made(rig, http):
    go_on = [anyio.Event() for _ in range(3)]

    async def proxied(_request, stream) -> None:
        await stream.send_message(head(content_type="text/event-stream"))
        for n, event in enumerate(go_on):
            await stream.send_message(nova_pb2.ProxyHTTPResponse(body=f"data: {n}\n\n".encode()))
            await event.wait()

    rig.comet.proxied = proxied
    async with http.stream("GET", "/functions/f/logs/stream") as answer:
        pieces = answer.aiter_bytes()
        with anyio.fail_after(10):
            for n, event in enumerate(go_on):
                # The next piece is made only after this one was read here: nothing was gathered on the way.
                assert await pieces.__anext__() == f"data: {n}\n\n".encode()
                event.set()


async def test_a_client_that_hangs_up_ends_the_stream(rig, http):
    async def proxied(_request, stream) -> None:
        await stream.send_message(head())
        await stream.send_message(nova_pb2.ProxyHTTPResponse(body=b"first"))
        await anyio.sleep_forever()

    rig.comet.proxied = proxied
    async with http.stream("GET", "/functions/f/logs/stream") as answer:
        await answer.aiter_bytes().__anext__()
    with anyio.fail_after(5):
        while rig.comet.cancelled < 1 or rig.parts.gate.inflight:
            await anyio.sleep(0.01)


async def test_a_slow_reader_slows_the_maker(rig):
    made = 0

    async def proxied(_request, stream) -> None:
        nonlocal made
        await stream.send_message(head())
        for _ in range(400):
            await stream.send_message(nova_pb2.ProxyHTTPResponse(body=b"x" * 262_144))
            made += 1

    rig.comet.proxied = proxied
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        await stream.send(b"GET /functions/f/logs/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = -1
        with anyio.fail_after(20):
            while seen != made or made == 0:
                seen = made
                await anyio.sleep(0.3)
        assert made < 200  # 100 MiB were there to make; windows and socket buffers hold a fraction


async def test_an_answer_cut_off_does_not_look_whole(rig, http):
    async def proxied(_request, stream) -> None:
        await stream.send_message(head())
        await stream.send_message(nova_pb2.ProxyHTTPResponse(body=b"half"))
        raise NotFound("rest", "of it")

    rig.comet.proxied = proxied
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/stats")


async def test_a_plane_lost_before_the_first_byte_of_its_answer_is_a_problem(rig, http):
    async def proxied(_request, stream) -> None:
        await stream.send_message(head())
        raise NotFound("rest", "of it")

    rig.comet.proxied = proxied
    problem(await http.get("/stats"), 404, "not_found")


async def test_a_refusal_of_comet_is_the_answer(rig, http):
    problem(await http.get("/stats"), 404, "not_found")


async def test_a_control_plane_request_reaches_nova_as_it_came(rig, http):
    async def public(scope, receive, send) -> None:
        body = await read_body(receive)
        seen = {"method": scope["method"], "target": scope["raw_path"].decode(), "query": scope["query_string"].decode(),
                "body": body.decode(), "headers": {n.decode(): v.decode() for n, v in scope["headers"]}}  # fmt: skip
        data = json.dumps(seen).encode()
        await send({"type": "http.response.start", "status": 201, "headers": [
            (b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), (b"location", b"/x")]})  # fmt: skip
        await send({"type": "http.response.body", "body": data, "more_body": False})

    rig.nova.public = public
    request_id = "0190b5a0-7a3b-7c00-8000-0123456789ab"
    answer = await http.patch(
        "/functions/a%2Db?x=%41&y='",
        json={"memory_mb": 64},
        headers={"X-Request-ID": request_id, "nova-identity": "forged", **ADMIN},
    )
    assert (answer.status_code, answer.headers["location"], answer.headers["x-request-id"]) == (201, "/x", request_id)
    seen = answer.json()
    assert (seen["method"], seen["target"], seen["body"]) == ("PATCH", "/functions/a%2Db", '{"memory_mb":64}')
    assert seen["query"] == "x=%41&y='"
    assert seen["headers"]["x-request-id"] == request_id
    assert seen["headers"]["nova-identity"] != "forged"
    assert seen["headers"]["authorization"].startswith("Bearer service-token")
    assert "x-api-key" not in seen["headers"]


async def test_a_body_for_nova_is_bounded_however_it_comes(rig, http):
    async def public(scope, receive, send) -> None:
        body = await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(body)).encode(), "more_body": False})

    rig.nova.public = public

    async def pieces(count: int):
        for _ in range(count):
            yield b"x" * (1 << 20)

    assert (await http.post("/tenants", content=pieces(9), headers=ADMIN)).text == str(9 << 20)
    problem(await http.post("/tenants", content=pieces(12), headers=ADMIN), 413, "payload_too_large")
    problem(await http.post("/tenants", content=b"x" * (12 << 20), headers=ADMIN), 413, "payload_too_large")


async def test_nova_gone_in_the_middle_is_never_a_whole_answer(rig, http):
    async def public(_scope, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    rig.nova.public = public
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/functions")


async def test_health(rig, http):
    for path in ("/health/live", "/health/startup"):
        assert (await http.get(path)).json() == {"status": "ok"}
    for path in ("/health", "/health/ready"):
        answer = await http.get(path)
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "ok", "components": {"zenith": "healthy", "nova": "healthy", "comet": "healthy"},
        }  # fmt: skip
    assert (await http.head("/health/live")).status_code == 200


async def test_counts_are_kept(rig, http):
    from constellation.aurora.metrics.registry import exposition

    await http.get("/health/live")
    await http.get("/nowhere")
    text = exposition(rig.context.registry).decode()
    assert 'constellation_gateway_requests_total{operation="health_live",status="2xx"} 1.0' in text
    assert 'constellation_gateway_requests_total{operation="unrouted",status="4xx"} 1.0' in text
    assert 'constellation_gateway_refusals_total{code="route_not_found"} 1.0' in text
