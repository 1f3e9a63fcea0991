from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress

import anyio
import httpx
import pytest

from constellation.base.address import Address
from constellation.base.errors import Overloaded
from constellation.nova.config.sections import ZenithSettings
from constellation.testing.comet import HandlerRaised
from constellation.testing.gateway import GatewayRig, gateway_rig
from tests.integration.zenith.conftest import ADMIN, echo, problem

pytestmark = pytest.mark.anyio


async def test_a_call_and_its_answer(rig, http):
    answer = await http.post("/functions/echo/invoke", json={"name": "Ada"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body == {
        "request_id": answer.headers["x-request-id"], "output": {"name": "Ada"}, "error": None, "duration_ms": 1.25,
        "cold_start": False, "version": "1",
    }  # fmt: skip
    request, caller = rig.comet.calls[0]
    assert (request.payload, request.timeout_ms) == (b'{"name":"Ada"}', 0)
    assert (caller.identity.tenant, caller.identity.subject) == ("default", "local:admin")
    assert "server" not in answer.headers
    assert (await http.post("/functions/ech%6F/invoke", json=1)).json()["output"] == 1


async def test_output_is_passed_on_byte_by_byte(rig, http):
    odd = b'{"a" : 1.0e+2,\n "b":"\\u00e9\xc3\xa9", "big":12345678901234567890123}'

    async def returns_odd(_payload: bytes) -> bytes:
        return odd

    rig.comet.functions["odd"] = returns_odd
    answer = await http.post("/functions/odd/invoke")
    assert b'"output":' + odd + b',"error":null' in answer.content
    assert rig.comet.calls[0][0].payload == b"{}"  # no body is an empty event


async def test_a_handler_that_raised_is_an_answer(rig, http):
    async def raises(_payload: bytes) -> bytes:
        raise HandlerRaised(b'{"type":"ValueError","message":"no","stack":""}')

    rig.comet.functions["raises"] = raises
    answer = await http.post("/functions/raises/invoke", json=1)
    assert answer.status_code == 200
    assert answer.headers["x-nova-function-error"] == "ValueError"
    assert answer.json()["output"] is None
    assert answer.json()["error"] == {"type": "ValueError", "message": "no", "stack": ""}


async def test_comets_problem_is_the_answer(rig, http):
    async def full(_payload: bytes) -> bytes:
        raise Overloaded("queue", limit=3)

    rig.comet.functions["full"] = full
    answer = await http.post("/functions/full/invoke", json=1)
    body = problem(answer, 503, "overloaded")
    assert body["limit"] == 3
    assert answer.headers["retry-after"] == "1"
    problem(await http.post("/functions/none/invoke", json=1), 404, "not_found")


async def test_headers_of_a_call_reach_comet(rig, http):
    given = "0190b5a0-7a3b-7c00-8000-0123456789ab"
    await http.post(
        "/functions/echo/invoke?qualifier=live",
        content=b"1",
        headers={
            "X-Request-ID": given, "X-Nova-Timeout-S": "2.5", "X-Nova-Call-Depth": "1", "X-Nova-Call-Chain": "a",
            "nova-identity": "forged", "nova-source": "forged",
        },
    )  # fmt: skip
    request, caller = rig.comet.calls[0]
    assert (request.timeout_ms, request.qualifier) == (2500, "live")
    assert (str(caller.context.request_id), caller.context.depth, caller.context.chain) == (given, 1, ("a",))
    assert caller.context.source == "http"


async def test_an_event_is_accepted_and_only_once_a_key(rig, http):
    headers = {"X-Nova-Invocation-Type": "Event", "Idempotency-Key": "k"}
    first = await http.post("/functions/echo/invoke", json=1, headers=headers)
    assert first.status_code == 202
    assert first.headers["location"] == f"/async-invocations/{first.json()['id']}"
    assert first.json()["status"] == "queued"
    again = await http.post("/functions/echo/invoke", json=1, headers=headers)
    assert (again.status_code, again.headers["x-idempotency-status"]) == (200, "replay")
    assert [a.payload for a in rig.comet.accepted] == [b"1", b"1"]
    bad = await http.post("/functions/echo/invoke", json=1, headers={"X-Nova-Invocation-Type": "Later"})
    problem(bad, 400, "invalid_request")


async def test_a_call_that_takes_too_long_is_a_504(rig, http, monkeypatch):
    monkeypatch.setattr("constellation.zenith.invoke.GRACE_S", 0.1)

    async def sleeps(_payload: bytes) -> bytes:
        await anyio.sleep_forever()
        return b""

    rig.comet.functions["sleeps"] = sleeps
    answer = await http.post("/functions/sleeps/invoke", json=1, headers={"X-Nova-Timeout-S": "0.1"})
    problem(answer, 504, "deadline_exceeded")
    with anyio.fail_after(5):
        while rig.comet.cancelled < 1:
            await anyio.sleep(0.01)


async def test_a_client_that_hangs_up_cancels_its_call_only(rig, http):
    begun = anyio.Event()
    go_on = anyio.Event()

    async def waits(payload: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return payload

    rig.comet.functions["waits"] = waits
    answers: list[httpx.Response] = []

    async def stays() -> None:
        answers.append(await http.post("/functions/waits/invoke", json="stays"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stays)
        async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
            await stream.send(b"POST /functions/waits/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1")
            with anyio.fail_after(5):
                while len(rig.comet.calls) < 2:
                    await anyio.sleep(0.01)
        with anyio.fail_after(5):
            while rig.comet.cancelled < 1:
                await anyio.sleep(0.01)
        go_on.set()
    assert [answer.json()["output"] for answer in answers] == ["stays"]
    assert rig.comet.cancelled == 1


async def test_more_calls_at_once_than_one_connection_takes(rig, http):
    together = anyio.Event()
    begun = 0

    async def meets(payload: bytes) -> bytes:
        nonlocal begun
        begun += 1
        if begun == 250:
            together.set()
        await together.wait()
        return payload

    rig.comet.functions["meets"] = meets
    statuses: list[int] = []

    async def call() -> None:
        statuses.append((await client.post("/functions/meets/invoke", json=1)).status_code)

    limits = httpx.Limits(max_connections=300)
    async with (
        httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=30, limits=limits) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(250):
            tasks.start_soon(call)
    assert statuses == [200] * 250


async def test_over_the_limit_is_refused_at_once(native_lane, tmp_path):
    settings = ZenithSettings(max_inflight=2)
    async with (
        gateway_rig(settings, state_dir=tmp_path, is_native=native_lane) as rig,
        httpx.AsyncClient(base_url=rig.url) as http,
    ):
        rig.nova.keys["sk_admin"] = {"subject": "a", "tenant": "*", "namespace": "*", "role": "admin"}
        go_on = anyio.Event()

        async def waits(payload: bytes) -> bytes:
            await go_on.wait()
            return payload

        rig.comet.functions["waits"] = waits
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(lambda: http.post("/functions/waits/invoke", json=1, headers=ADMIN))
            with anyio.fail_after(5):
                while len(rig.comet.calls) < 2:
                    await anyio.sleep(0.01)
            answer = await http.post("/functions/waits/invoke", json=1, headers=ADMIN)
            problem(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "1"
            go_on.set()
        assert (await http.post("/functions/waits/invoke", json=1, headers=ADMIN)).status_code == 200


@pytest.fixture
async def far(settings, native_lane, tmp_path) -> AsyncIterator[GatewayRig]:
    """A gateway whose comet is behind something that can break."""
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    async with gateway_rig(
        settings, state_dir=tmp_path, comet_at=Address("127.0.0.1", port), is_native=native_lane
    ) as rig:
        rig.comet.functions["echo"] = echo
        yield rig


def between(far: GatewayRig) -> AbstractAsyncContextManager[Address]:
    return severable(far.comet_address, port=far.comet_at.port)


async def test_comet_gone_is_a_503_and_comet_back_is_found(far):
    async with httpx.AsyncClient(base_url=far.url, trust_env=False, timeout=20) as http:
        problem(await http.post("/functions/echo/invoke", json=1), 503, "unavailable")
        for _ in range(2):
            with anyio.fail_after(10):
                async with between(far):
                    # The way back is looked for at intervals, not with every call.
                    while (await http.post("/functions/echo/invoke", json=1)).status_code != 200:
                        await anyio.sleep(0.01)
                    assert (await http.post("/functions/echo/invoke", json=1)).status_code == 200
            problem(await http.post("/functions/echo/invoke", json=1), 503, "unavailable")


@pytest.mark.parametrize("is_known", [False, True])
async def test_comet_lost_in_the_middle_of_a_call_is_said(far, is_known):
    async def waits(_payload: bytes) -> bytes:
        await anyio.sleep_forever()
        return b""

    far.comet.functions["waits"] = waits
    answers: list[httpx.Response] = []
    async with httpx.AsyncClient(base_url=far.url, trust_env=False, timeout=20) as http:

        async def call() -> None:
            answers.append(await http.post("/functions/waits/invoke", json=1))

        async with anyio.create_task_group() as tasks, between(far):
            if is_known:
                assert (await http.post("/functions/echo/invoke", json=1)).status_code == 200
            tasks.start_soon(call)
            with anyio.fail_after(5):
                while not far.comet.calls or far.comet.calls[-1][0].function != "waits":
                    await anyio.sleep(0.01)
    problem(answers[0], 503, "unavailable")


@asynccontextmanager
async def severable(target: Address, *, port: int = 0) -> AsyncIterator[Address]:
    """Stand between a client and a server; leaving the block breaks every connection, as a killed server would."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)

    async def pump(source, sink) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await sink.send(await source.receive())

    async def relay(client) -> None:
        async with (
            client,
            await anyio.connect_tcp(target.host, target.port) as server,
            anyio.create_task_group() as both,
        ):
            both.start_soon(pump, client, server)
            both.start_soon(pump, server, client)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, relay)
        yield Address("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


async def test_a_function_url(rig, http):
    async def web(payload: bytes) -> bytes:
        event = json.loads(payload)
        return json.dumps(
            {"statusCode": 201, "headers": {"X-Made": "me"}, "body": f"{event['method']} {event['path']}"}
        ).encode()

    rig.comet.functions["web"] = web
    answer = await http.put("/fn/web/a/b%2Fc?d=e", content=b"hello")
    assert (answer.status_code, answer.headers["x-made"], answer.text) == (201, "me", "PUT /a/b%2Fc")
    head = await http.head("/fn/web")
    assert (head.status_code, head.text) == (201, "")
    rig.comet.functions["web"] = echo
    assert (await http.get("/fn/web")).json()["path"] == "/"

    async def raises(_payload: bytes) -> bytes:
        raise HandlerRaised(b'{"type":"ValueError","message":"no"}')

    rig.comet.functions["web"] = raises
    problem(await http.get("/fn/web"), 502, "function_failed")
