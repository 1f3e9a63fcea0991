"""What the clients send, and what they make of answers and failures."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from constellation.base.errors import Overloaded, Unavailable
from constellation.client import (
    ApiProblem,
    AsyncClient,
    AsyncInvoke,
    BadArgument,
    BadReply,
    Client,
    FunctionCreate,
    FunctionUpdate,
    NoAnswer,
    StreamEnd,
    Unreachable,
)
from constellation.client.http import Connection
from constellation.testing.platform import FakePlatform

HELLO = "def handler(event, context):\n    print('hi')\n    return {'got': event}\n"


def client_of(handler, **more) -> Client:
    return Client("http://platform.test", transport=httpx.MockTransport(handler), **more)


def answering(status: int, content: bytes = b"", **headers: str):
    return lambda _: httpx.Response(status, content=content, headers=headers)


def raising(error: Exception):
    def handler(_request):
        raise error

    return handler


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def client(platform):
    with Client("http://platform.test", transport=platform.transport()) as client:
        yield client


def test_an_idempotency_key_travels_as_a_header_beside_the_timeout():
    seen = {}

    def handler(request):
        seen.update(request.headers)
        return httpx.Response(404, content=b"{}")

    with client_of(handler) as client, pytest.raises(ApiProblem):
        client.invoke("f", 1, timeout_s=2, idempotency_key="order 17")
    assert (seen["idempotency-key"], seen["x-nova-timeout-s"]) == ("order 17", "2")


def test_scope_and_key_travel_as_headers():
    seen = {}

    def handler(request):
        seen.update(request.headers)
        return httpx.Response(404, content=b"{}")

    with pytest.raises(ApiProblem):
        client_of(handler, api_key="sk_1", tenant="acme", namespace="prod").whoami()
    assert (seen["x-api-key"], seen["x-nova-tenant"], seen["x-nova-namespace"]) == ("sk_1", "acme", "prod")


def test_absent_scope_sends_no_headers():
    assert set(Connection().headers()) == {"accept"}


def test_key_is_not_in_the_repr():
    assert "sk_secret" not in repr(Connection(api_key="sk_secret"))


@pytest.mark.parametrize("key", ["line\nbreak", "caf\u00e9"])
def test_key_that_no_header_can_hold_is_refused(key):
    with pytest.raises(BadArgument):
        Client(api_key=key)


@pytest.mark.parametrize("server", ["localhost:9000", "ftp://x", "http://", "http://x:99999", ""])
def test_address_that_is_none_is_refused(server):
    with pytest.raises(BadArgument):
        Client(server)


@pytest.mark.parametrize(
    ("server", "is_loopback"),
    [("http://localhost:9000", True), ("http://[::1]:9", True), ("http://127.8.0.1", True), ("http://10.0.0.1", False)],
)
def test_loopback_calls_take_no_proxy(server, is_loopback):
    connection = Connection(server=server)
    assert connection.is_loopback is is_loopback
    assert connection.setup()["trust_env"] is not is_loopback


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_name_that_would_change_the_path_is_refused(client, name):
    with pytest.raises(BadArgument):
        client.get_function(name)


def test_name_is_encoded_into_one_segment(platform, client):
    with pytest.raises(ApiProblem) as caught:
        client.get_function("a/b?c")
    assert caught.value.status == 404
    assert platform.requests == [("GET", "/functions/a%2Fb%3Fc")]


def test_event_that_is_not_json_is_refused_before_sending(platform, client):
    with pytest.raises(BadArgument):
        client.invoke("x", {"a": object()})
    assert platform.requests == []


def test_raw_event_travels_untouched():
    seen = []

    def handler(request):
        seen.append(request.content)
        return httpx.Response(503)

    with pytest.raises(ApiProblem):
        client_of(handler).invoke("x", msgspec.Raw(b'{"big": 123456789012345678901234567890}'))
    assert seen == [b'{"big": 123456789012345678901234567890}']


def test_timeout_of_a_call_is_told_to_the_gateway_and_outlived():
    seen = {}

    def handler(request):
        seen.update(request.headers, read_s=request.extensions["timeout"]["read"])
        return httpx.Response(503)

    with pytest.raises(ApiProblem):
        client_of(handler).invoke("x", timeout_s=2.5)
    assert seen["x-nova-timeout-s"] == "2.5"
    assert seen["read_s"] > 2.5


def test_function_lives_its_life(client):
    made = client.create_function(FunctionCreate(name="hi", runtime="python", code=HELLO))
    assert made == client.get_function("hi")
    answer = client.invoke("hi", {"n": 1})
    assert (answer.output, answer.error) == ({"got": {"n": 1}}, None)
    changed = client.update_function("hi", FunctionUpdate(memory_mb=256, version=made.version))
    assert (changed.memory_mb, changed.code_version) == (256, 1)
    with pytest.raises(ApiProblem) as caught:
        client.update_function("hi", FunctionUpdate(memory_mb=64, version=made.version))
    assert caught.value.code == "version_conflict"
    assert client.get_code("hi").code_version == 1
    assert [entry.log for entry in client.list_logs("hi")] == ["hi\n"]
    client.delete_function("hi")
    assert list(client.list_functions()) == []


def test_list_iterates_over_pages_and_asks_only_when_needed(platform, client):
    for number in range(7):
        client.create_function(FunctionCreate(name=f"f{number}", runtime="python", code=HELLO))
    platform.requests.clear()
    found = client.list_functions(page_size=3)
    assert [next(found).name for _ in range(3)] == ["f0", "f1", "f2"]
    assert len(platform.requests) == 1
    assert [function.name for function in found] == ["f3", "f4", "f5", "f6"]
    assert len(platform.requests) == 3


def test_page_that_claims_more_and_has_nothing_ends_the_list():
    page = b'{"items": [], "pagination": {"limit": 1, "offset": 0, "returned": 0, "has_more": true}}'
    assert list(client_of(answering(200, page)).list_functions()) == []


def test_answer_without_body_is_none(platform, client):
    client.create_function(FunctionCreate(name="hi", runtime="python", code=HELLO))
    job = client.invoke_async("hi", AsyncInvoke())
    assert client.delete_async(job.id) is None


def test_problem_keeps_its_facts(platform, client):
    platform.refuse_next.append(Overloaded("gateway", limit=3))
    with pytest.raises(ApiProblem) as caught:
        client.whoami()
    problem = caught.value
    assert (problem.status, problem.code, problem.retry_after_s, problem.body["limit"]) == (503, "overloaded", 1, 3)


def test_retry_after_is_read_from_the_header_too():
    with pytest.raises(ApiProblem) as caught:
        client_of(answering(429, b"slow down", **{"retry-after": "7"})).whoami()
    problem = caught.value
    assert (problem.status, problem.code, problem.detail, problem.retry_after_s) == (429, "http_429", "slow down", 7)


@pytest.mark.parametrize("content", [b"<html>nginx</html>", b"[1]", b"\xff\xfe", b"", b'{"code": 5, "detail": null}'])
def test_error_that_is_no_problem_still_is_one_to_the_caller(content):
    with pytest.raises(ApiProblem) as caught:
        client_of(answering(502, content)).whoami()
    assert caught.value.code == "http_502"
    assert caught.value.detail


@pytest.mark.parametrize("content", [b"<html>", b"", b'{"subject": 1}', b"null"])
def test_answer_of_another_server_is_a_bad_reply(content):
    with pytest.raises(BadReply, match="whoami"):
        client_of(answering(200, content)).whoami()


def test_redirect_is_not_followed_with_the_key():
    with pytest.raises(ApiProblem) as caught:
        client_of(answering(307, location="http://elsewhere.test/"), api_key="sk_1").whoami()
    assert caught.value.status == 307


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (httpx.ConnectError("refused"), Unreachable),
        (httpx.ConnectTimeout("slow"), Unreachable),
        (httpx.ReadTimeout("slow"), NoAnswer),
        (httpx.RemoteProtocolError("cut"), Unreachable),
        (httpx.ReadError("reset"), Unreachable),
    ],
)
def test_transport_errors_have_names(raised, expected):
    with pytest.raises(expected) as caught:
        client_of(raising(raised)).whoami()
    if isinstance(caught.value, Unreachable):
        assert caught.value.is_sent is not isinstance(raised, httpx.ConnectError | httpx.ConnectTimeout)


def test_nobody_listening_is_unreachable():
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unreachable) as caught:
        client.whoami()
    assert not caught.value.is_sent


def test_stream_gives_pieces_then_the_end(client):
    source = "def handler(event, context):\n    yield 'a\\nb'\n    yield {'n': 1}\n"
    client.create_function(FunctionCreate(name="s", runtime="python", code=source))
    with client.invoke_stream("s", {}) as pieces:
        found = list(pieces)
    assert found[:2] == [b"a\nb", b'{"n": 1}']
    assert isinstance(found[2], StreamEnd)
    assert found[2].error is None


def test_stream_that_is_refused_raises_at_its_beginning(client):
    with pytest.raises(ApiProblem) as caught, client.invoke_stream("nobody"):
        pytest.fail("the block must not run")
    assert caught.value.status == 404


def test_stream_without_an_end_is_not_taken_for_whole():
    broken = answering(200, b"data: a\n\n", **{"content-type": "text/event-stream"})
    with client_of(broken).invoke_stream("x") as pieces:
        assert next(pieces) == b"a"
        with pytest.raises(BadReply, match="broke off"):
            next(pieces)


EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


def test_problem_inside_a_stream_raises():
    text = b'event: error\ndata: {"status": 504, "code": "timeout", "detail": "too slow"}\n\n'
    with client_of(answering(200, text, **EVENTS)).invoke_stream("x") as pieces, pytest.raises(ApiProblem) as caught:
        list(pieces)
    assert (caught.value.status, caught.value.code) == (504, "timeout")


def test_handler_that_raises_on_the_way_ends_the_stream_with_its_error():
    text = b'data: a\n\nevent: error\ndata: {"type": "ValueError", "message": "m", "stack": "s"}\n\n'
    with client_of(answering(200, text, **EVENTS)).invoke_stream("x") as pieces:
        first, end = list(pieces)
    assert first == b"a"
    assert end.error.type == "ValueError"


def test_binary_stream_is_untouched_and_says_when_the_handler_raised():
    seen = []

    def handler(request):
        seen.append(request.headers["accept"])
        if len(seen) == 1:
            return httpx.Response(200, content=b"\xff\x00\r\n", headers={"content-type": "text/plain"})
        error = b'{"output": null, "error": {"type": "E", "message": "m"}, "request_id": "r", "duration_ms": 1.5}'
        return httpx.Response(200, content=error, headers={"x-nova-function-error": "E"})

    client = client_of(handler)
    with client.invoke_stream("x", is_binary=True) as pieces:
        assert b"".join(pieces) == b"\xff\x00\r\n"
    with client.invoke_stream("x", is_binary=True) as pieces:
        (end,) = list(pieces)
    assert (end.error.type, end.request_id) == ("E", "r")
    assert not any("event-stream" in accept for accept in seen)


@pytest.mark.parametrize("data", [b"[]", b"{", b'{"type": 1}', b"null"])
def test_error_event_that_is_neither_is_a_bad_reply(data):
    text = b"event: error\ndata: " + data + b"\n\n"
    with client_of(answering(200, text, **EVENTS)).invoke_stream("x") as pieces, pytest.raises(BadReply):
        list(pieces)


@pytest.mark.anyio
async def test_async_client_is_the_same_client(platform):
    async with AsyncClient("http://platform.test", transport=platform.transport()) as client:
        for number in range(3):
            await client.create_function(FunctionCreate(name=f"f{number}", runtime="python", code=HELLO))
        assert [function.name async for function in client.list_functions(page_size=2)] == ["f0", "f1", "f2"]
        assert (await client.invoke("f0", 5)).output == {"got": 5}
        async with client.invoke_stream("f0", 5) as pieces:
            assert (await anext(pieces)) == b'{"got": 5}'
        platform.refuse_next.append(Unavailable("nova", reason="gone"))
        with pytest.raises(ApiProblem):
            await client.whoami()
        with pytest.raises(ApiProblem):
            async with client.follow_logs("nobody"):
                pytest.fail("the block must not run")


@pytest.mark.anyio
async def test_async_transport_errors_have_names():
    transport = httpx.MockTransport(raising(httpx.ReadTimeout("slow")))
    async with AsyncClient("http://platform.test", transport=transport) as client:
        with pytest.raises(NoAnswer):
            await client.whoami()
