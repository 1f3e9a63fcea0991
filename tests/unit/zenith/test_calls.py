from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest, UnsupportedMediaType
from constellation.zenith.calls import check_json_type, context_of, qualifier_of, timeout_of
from constellation.zenith.errors import HeadersTooLarge, UriTooLong
from constellation.zenith.headers import forwarded, returned
from constellation.zenith.request import Request


def request(*headers: tuple[bytes, bytes], query: bytes = b"", path: str = "/functions/f/invoke") -> Request:
    async def nothing(*_):
        raise AssertionError

    scope = {
        "method": "POST", "query_string": query, "headers": list(headers), "client": None, "server": None,
        "http_version": "1.1",
    }  # fmt: skip
    made = Request(scope, nothing, nothing, path=path)
    made.read_head()
    return made


def test_a_request_id_is_kept_when_it_is_a_uuid():
    given = b"0190b5a0-7a3b-7c00-8000-0123456789ab"
    assert str(request((b"x-request-id", given)).request_id).encode() == given
    for other in (b"1", b"", b"z" * 36, b"0190b5a07a3b7c0080000123456789ab"):
        assert str(request((b"x-request-id", other)).request_id).encode() != other


@pytest.mark.parametrize("value", [b"0.001", b"5", b"300", b"1e2"])
def test_a_timeout_is_a_number(value):
    assert timeout_of(request((b"x-nova-timeout-s", value)), max_s=300) == float(value)


@pytest.mark.parametrize("value", [b"0", b"-1", b"301", b"nan", b"inf", b"soon", b"", b"5s", b"\xff"])
def test_a_timeout_that_is_none_is_refused(value):
    with pytest.raises(InvalidRequest):
        timeout_of(request((b"x-nova-timeout-s", value)), max_s=300)


def test_no_timeout_is_the_functions_own():
    assert timeout_of(request(), max_s=300) is None


def test_the_context_carries_what_led_here():
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    context = context_of(
        request(
            (b"traceparent", trace),
            (b"x-nova-call-depth", b"2"),
            (b"x-nova-call-chain", b"one, two".replace(b" ", b"")),
        )
    )
    assert (context.traceparent.encode(), context.depth, context.chain) == (trace, 2, ("one", "two"))
    assert context_of(request((b"traceparent", b"rubbish"))).traceparent == ""


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-nova-call-depth", b"-1")],
        [(b"x-nova-call-depth", b"10000")],
        [(b"x-nova-call-depth", b"x")],
        [(b"x-nova-call-depth", b"1"), (b"x-nova-call-chain", b"a" * 5000)],
        [(b"x-nova-call-depth", b"1"), (b"x-nova-call-chain", b"a\x01")],
        [(b"x-nova-call-depth", b"1"), (b"x-nova-call-chain", b"a b")],
    ],
)
def test_a_context_that_is_malformed_is_refused(headers):
    with pytest.raises(InvalidRequest):
        context_of(request(*headers))


def test_the_qualifier_comes_from_header_or_query():
    assert qualifier_of(request((b"x-nova-qualifier", b"live"))) == "live"
    assert qualifier_of(request(query=b"a=b&qualifier=li%76e")) == "live"
    assert qualifier_of(request()) == ""


@pytest.mark.parametrize(
    "value",
    [b"application/json", b"application/json; charset=utf-8", b"Application/JSON", b"application/cloudevents+json",
     b"application/x-www-form-urlencoded", b""],
)  # fmt: skip
def test_json_and_what_curl_says_are_taken(value):
    check_json_type(request((b"content-type", value)))


@pytest.mark.parametrize(
    "value", [b"text/plain", b"application/octet-stream", b"multipart/form-data; boundary=x", b"json"]
)
def test_other_types_are_refused(value):
    with pytest.raises(UnsupportedMediaType):
        check_json_type(request((b"content-type", value)))


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"x-nova-tenant", b"content-length", b"x-request-id"])
def test_a_header_that_must_be_single_is_refused_twice(name):
    with pytest.raises(InvalidRequest):
        request((name, b"1"), (name, b"1"))


def test_the_head_is_bounded():
    with pytest.raises(HeadersTooLarge):
        request(*((b"x-%d" % n, b"1") for n in range(101)))
    with pytest.raises(HeadersTooLarge):
        request((b"x-big", b"1" * 33_000))
    with pytest.raises(UriTooLong):
        request(path="/" + "x" * 9000)
    with pytest.raises(UriTooLong):
        request(query=b"x" * 9000)


def test_a_gateways_own_headers_do_not_pass():
    kept = [(b"accept", b"*/*"), (b"x-mine", b"1"), (b"x-nova-source", b"1"), (b"cookie", b"a=b")]
    gone = [
        (b"Forwarded", b"1"), (b"X-Forwarded-For", b"1"), (b"x-forwarded-proto", b"1"), (b"Constellation-Peer", b"1"),
        (b"nova-identity", b"1"), (b"NOVA-call-depth", b"1"), (b"authorization", b"1"), (b"x-api-key", b"1"),
        (b"host", b"1"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked"), (b"te", b"trailers"),
        (b"upgrade", b"h2c"), (b"expect", b"100-continue"), (b"x-request-id", b"1"), (b"x-nova-tenant", b"a"),
        (b"connection", b"keep-alive, X-Secret"), (b"x-secret", b"1"),
    ]  # fmt: skip
    assert forwarded([*gone, *kept]) == kept


def test_a_planes_hop_by_hop_headers_do_not_come_back():
    assert returned([(b"Content-Type", b"a"), (b"Transfer-Encoding", b"chunked"), (b"Server", b"x"), (b"Date", b"x"),
                     (b"Connection", b"close"), (b"nova-x", b"1"), (b"Location", b"/a")]) == [
        (b"content-type", b"a"), (b"location", b"/a"),
    ]  # fmt: skip
