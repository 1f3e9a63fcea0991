"""A function's URL: who is let in, what browsers are told, and answers that come as they are made."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import httpx
import pytest

from constellation.base.errors import Overloaded
from constellation.nova.config.sections import ZenithSettings
from constellation.testing.comet import HandlerRaised
from constellation.testing.gateway import gateway_rig
from tests.integration.zenith.conftest import problem

pytestmark = pytest.mark.anyio

WEB = ("acme", "prod", "web")
URL = "/url/acme/prod/web"
KEY = {"X-API-Key": "sk_acme"}
ORIGIN = {"Origin": "https://page.example"}
SANDBOX = "sandbox allow-scripts"


def open_to_all(rig, key=WEB, **settings: object) -> None:
    rig.nova.urls[key] = {"auth": "none", **settings}
    rig.nova.change("function", *key)


def cors(**given: object) -> dict[str, object]:
    return {
        "allow_origins": ["https://page.example"], "allow_methods": ["GET", "PUT"], "allow_headers": ["X-Mine"],
        "expose_headers": ["ETag"], "allow_credentials": False, "max_age_s": 60, **given,
    }  # fmt: skip


@pytest.fixture
def web(rig):
    async def page(payload: bytes) -> bytes:
        event = json.loads(payload)
        return json.dumps({"statusCode": 201, "headers": {"ETag": "1"}, "body": event["path"]}).encode()

    rig.comet.functions["web"] = page
    return rig


async def until_known(rig, http, path: str, status: int, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask until what nova was told of has reached the gateway."""
    with anyio.fail_after(5):
        while (answer := await http.get(path, headers=headers)).status_code != status:
            await anyio.sleep(0.01)
    return answer


async def test_a_key_is_needed_unless_the_url_says_otherwise(web, http):
    stranger = {"Via": "1.1 proxy"}  # so that nobody is trusted for being here
    problem(await http.get(URL, headers=stranger), 401, "unauthenticated")
    assert (await http.get(URL + "/a/b", headers=KEY)).text == "/a/b"
    assert web.comet.calls[-1][1].identity.subject == "apikey:acme"

    open_to_all(web)
    answer = await until_known(web, http, URL + "/c", 201, stranger)
    assert answer.text == "/c"
    caller = web.comet.calls[-1][1]
    assert (caller.identity.tenant, caller.identity.namespace, caller.identity.subject) == ("acme", "prod", "url:web")
    assert caller.identity.permissions == {"function:invoke"}
    assert caller.context.source == "url"
    assert (await http.get("/fn/web/d", headers=KEY)).text == "/d"  # their own function, by their credential
    assert web.comet.calls[-1][1].identity.subject == "apikey:acme"
    problem(await http.get("/url/acme/prod/other", headers=stranger), 401, "unauthenticated")  # nor is its absence told

    web.nova.urls[WEB] = {"auth": "key"}
    web.nova.change("function", *WEB)
    await until_known(web, http, URL, 401, stranger)


async def test_the_path_says_where_whatever_the_headers_say(web, http):
    elsewhere = {"X-Nova-Tenant": "default", "X-Nova-Namespace": "default", "X-API-Key": "sk_admin"}
    await http.get(URL, headers=elsewhere)
    assert (web.comet.calls[-1][1].identity.tenant, web.comet.calls[-1][1].identity.namespace) == ("acme", "prod")
    problem(await http.get("/url/default/default/web", headers=KEY), 403, "scope_denied")
    web.nova.urls["default", "default", "none"] = None
    problem(await http.get("/url/default/default/none", headers={"X-API-Key": "sk_admin"}), 404, "not_found")


async def test_a_url_that_is_closed_and_one_of_a_suspended_tenant(web, http):
    open_to_all(web, enabled=False)
    problem(await until_known(web, http, URL, 403, {"Via": "1.1 x"}), 403, "function_url_disabled")
    problem(await http.get(URL, headers=KEY), 403, "function_url_disabled")
    assert (await http.post("/functions/web/invoke", json={"path": "/"}, headers=KEY)).status_code == 200
    open_to_all(web, tenant_status="suspended")
    with anyio.fail_after(5):
        while (answer := await http.get(URL)).json()["code"] == "function_url_disabled":
            await anyio.sleep(0.01)
    problem(answer, 403, "tenant_suspended")


async def test_what_nova_said_is_asked_once_until_it_changes(web, http):
    for _ in range(3):
        await http.get(URL, headers=KEY)
    assert web.nova.asked_urls.count(WEB) == 1
    open_to_all(web)
    await until_known(web, http, URL, 201, {"Via": "1.1 x"})
    asked = web.nova.asked_urls.count(WEB)
    for _ in range(3):
        await http.get(URL)
    assert web.nova.asked_urls.count(WEB) == asked


async def test_a_page_of_a_function_has_no_origin_here(web, http):
    for answer in (await http.get(URL, headers=KEY), await http.get(URL, headers={"Via": "1.1 x"})):
        assert answer.headers["content-security-policy"].startswith(SANDBOX)


async def test_pages_of_other_origins(web, http):
    open_to_all(web, cors=cors())
    await until_known(web, http, URL, 201, {"Via": "1.1 x"})
    asked = len(web.comet.calls)
    ask = ORIGIN | {"Access-Control-Request-Method": "PUT"}
    told = await http.options(URL, headers=ask)
    assert (told.status_code, told.content) == (204, b"")
    assert told.headers["access-control-allow-origin"] == "https://page.example"
    assert told.headers["access-control-allow-methods"] == "GET, PUT"
    assert told.headers["access-control-allow-headers"] == "X-Mine"
    assert told.headers["access-control-max-age"] == "60"
    problem(await http.options(URL, headers=ask | {"Origin": "https://evil.example"}), 403, "origin_refused")
    assert len(web.comet.calls) == asked  # the function heard nothing of all that
    answer = await http.get(URL, headers=ORIGIN)
    assert answer.headers["access-control-expose-headers"] == "ETag"
    assert answer.headers["vary"] == "Origin"
    assert (
        "access-control-allow-origin" not in (await http.get(URL, headers={"Origin": "https://evil.example"})).headers
    )
    open_to_all(web, auth="key", cors=cors(allow_origins=["*"]))
    refused = await until_known(web, http, URL, 401, ORIGIN)
    assert refused.headers["access-control-allow-origin"] == "*"  # else the page could not read why


async def test_each_tenant_has_a_host_of_its_own(native_lane, tmp_path):
    settings = ZenithSettings(function_domain="fn.test")
    async with (
        gateway_rig(settings, state_dir=tmp_path, is_native=native_lane) as rig,
        httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as http,
    ):

        async def answers(_payload: bytes) -> bytes:
            return b'{"statusCode": 200, "body": "x"}'

        rig.comet.functions["web"] = answers
        rig.nova.urls[WEB] = rig.nova.urls["default", "default", "web"] = {"auth": "none"}
        theirs = await http.get(URL, headers={"Host": "acme.fn.test:9000"})
        assert theirs.status_code == 200
        assert "content-security-policy" not in theirs.headers
        problem(await http.get(URL, headers={"Host": "other.fn.test"}), 404, "not_found")
        problem(await http.get("/url/default/default/web", headers={"Host": "acme.fn.test"}), 404, "not_found")
        rig.nova.serve("acme.fn.test", {"path": "/url/{all+}", "function": "stolen"})  # a nova that was not told
        rig.nova.serve("after.example", {"path": "/"})
        with anyio.fail_after(5):
            while rig.parts.sites.find([(b"host", b"after.example")]) is None:
                await anyio.sleep(0.005)
        assert (await http.get(URL, headers={"Host": "acme.fn.test"})).text == "x"  # not the claimed host's
        shared = await http.get(URL, headers={"Host": "fn.test"})
        assert shared.headers["content-security-policy"].startswith(SANDBOX)


# Answers that come as they are made.


@pytest.fixture
async def streamed(rig):
    rig.nova.urls["default", "default", "web"] = {"invoke_mode": "stream"}
    return rig


def streams(rig, *pieces: bytes, error: Exception | None = None) -> None:
    async def produce(_payload: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if error is not None:
            raise error

    rig.comet.streams["web"] = produce


@pytest.mark.parametrize(
    ("pieces", "status", "kind", "body"),
    [
        ((b"a", b"b"), 200, "text/plain; charset=utf-8", b"ab"),
        ((b'{"statusCode": 418, "headers": {"Content-Type": "x/y"}}', b"a", b"b"), 418, "x/y", b"ab"),
        ((b'{"statusCode": 200, "body": "first "}', b"then"), 200, "text/plain; charset=utf-8", b"first then"),
        ((b'{"statusCode": 200}' + bytes(8) + b"a", b"b"), 200, "text/plain; charset=utf-8", b"ab"),
        ((b'{"statusCode": 200}', bytes(8), b"a"), 200, "text/plain; charset=utf-8", b"a"),
        ((b'{"a": 1}\n', b'{"a": 2}\n'), 200, "text/plain; charset=utf-8", b'{"a": 1}\n{"a": 2}\n'),
        ((b'{"statusCode":', b" 200}"), 200, "text/plain; charset=utf-8", b'{"statusCode": 200}'),
        ((), 200, "text/plain; charset=utf-8", b""),
        ((b'{"statusCode": 200, "headers": {"Content-Type": "text/event-stream"}}', b"data: 1\n\n"), 200,
         "text/event-stream", b"data: 1\n\n"),
    ],
)  # fmt: skip
async def test_status_and_headers_come_first_and_then_bytes(streamed, http, pieces, status, kind, body):
    streams(streamed, *pieces)
    answer = await http.get("/fn/web/x?y=z")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (status, kind, body)
    assert json.loads(streamed.comet.calls[-1][0].payload)["path"] == "/x"
    assert answer.headers["content-security-policy"].startswith(SANDBOX)


async def test_each_piece_is_an_event_to_who_accepts_them(streamed, http):
    streams(streamed, b"a", b"b")
    answer = await http.get("/fn/web", headers={"Accept": "text/event-stream"})
    assert answer.text.startswith("data: a\n\ndata: b\n\nevent: done\ndata: {")


async def test_the_first_byte_comes_before_the_end_and_who_leaves_stops_the_function(streamed, http):
    async def forever(_payload: bytes) -> AsyncIterator[bytes]:
        yield b'{"statusCode": 202}'
        while True:
            yield b"x" * 1000
            await anyio.sleep(0.01)

    streamed.comet.streams["web"] = forever
    async with http.stream("GET", "/fn/web") as answer:
        assert answer.status_code == 202
        async with aclosing(answer.aiter_raw()) as pieces:
            assert (await anext(pieces)).startswith(b"x")
    with anyio.fail_after(5):
        while not streamed.comet.cancelled:
            await anyio.sleep(0.01)


async def test_a_head_needs_no_more_than_the_prelude(streamed, http):
    async def forever(_payload: bytes) -> AsyncIterator[bytes]:
        yield b'{"statusCode": 203, "headers": {"ETag": "7"}}'
        await anyio.sleep_forever()

    streamed.comet.streams["web"] = forever
    answer = await http.head("/fn/web")
    assert (answer.status_code, answer.headers["etag"], answer.content) == (203, "7", b"")
    with anyio.fail_after(5):
        while not streamed.comet.cancelled:
            await anyio.sleep(0.01)


async def test_what_fails_before_the_first_byte_is_a_problem_and_later_a_cut(streamed, http):
    raised = HandlerRaised(b'{"type":"ValueError","message":"no","stack":""}')
    streams(streamed, error=raised)
    problem(await http.get("/fn/web"), 502, "function_failed")
    streams(streamed, error=Overloaded("queue", limit=3))
    problem(await http.get("/fn/web"), 503, "overloaded")
    streams(streamed, b'{"statusCode": 999}')
    problem(await http.get("/fn/web"), 502, "function_answer_invalid")
    streams(streamed, b"a part", error=raised)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/fn/web")
    events = await http.get("/fn/web", headers={"Accept": "text/event-stream"})
    assert events.text.startswith("data: a part\n\nevent: error\n")


async def test_a_slow_client_holds_the_function_back(streamed, rig):
    made = 0

    async def flood(_payload: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(2000):
            made += 1
            yield b"x" * 65536

    streamed.comet.streams["web"] = flood
    async with await anyio.connect_tcp(rig.address.host, rig.address.port) as stream:
        await stream.send(b"GET /fn/web HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.receive(100)
        before = -1
        while before != made:  # it stands still
            before = made
            await anyio.sleep(0.3)
        assert made < 1000
