from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from constellation.zenith.errors import FunctionAnswerInvalid
from constellation.zenith.http_event import answer_of, event_of
from constellation.zenith.request import Request


def request(method="GET", query=b"", headers=()):
    async def nothing(*_):
        raise AssertionError

    scope = {
        "method": method,
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 9000),
        "http_version": "1.1",
    }
    made = Request(scope, nothing, nothing, path="/fn/web/a")
    made.address = ip_address("127.0.0.1")
    return made


def test_the_event_is_the_request():
    made = request(
        "PUT",
        b"a=1&a=2&b=x%20y&c",
        [
            (b"host", b"h"),
            (b"x-one", b"1"),
            (b"x-one", b"2"),
            (b"x-api-key", b"sk_a"),
            (b"authorization", b"Bearer sk_a"),
        ],
    )
    event = json.loads(event_of(made, path="/a", body=b"hello"))
    assert event == {
        "method": "PUT",
        "path": "/a",
        "raw_query": "a=1&a=2&b=x%20y&c",
        "query_params": {"a": "1", "b": "x y", "c": ""},
        "headers": {"x-one": "1, 2"},
        "body": "hello",
        "isBase64Encoded": False,
        "source_ip": "127.0.0.1",
        "request_id": str(made.request_id),
    }


def test_a_body_that_is_no_text_is_base64():
    event = json.loads(event_of(request(), path="/", body=b"\xff\x00"))
    assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)


@pytest.mark.parametrize(
    "output",
    [b"null", b"[1]", b'"text"', b'{"a":1}', b'{"statusCode":"200"}', b'{"status":"ok"}', b'{"statusCode":true}'],
)
def test_any_other_output_is_json(output):
    answer = answer_of("web", output)
    assert (answer.status, answer.content_type, answer.body) == (200, b"application/json", output)


@pytest.mark.parametrize(
    ("output", "status", "content_type", "body"),
    [
        ({"statusCode": 201, "body": "hi"}, 201, b"text/plain; charset=utf-8", b"hi"),
        ({"status": 404, "body": "hi", "headers": {"Content-Type": "text/html"}}, 404, b"text/html", b"hi"),
        ({"statusCode": 200, "body": {"a": 1}}, 200, b"application/json", b'{"a":1}'),
        ({"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}, 200, b"application/octet-stream", b"\xff\x00"),
        ({"statusCode": 204}, 204, b"text/plain; charset=utf-8", b""),
    ],
)
def test_an_answer_is_an_answer(output, status, content_type, body):
    answer = answer_of("web", json.dumps(output).encode())
    assert (answer.status, answer.content_type, answer.body) == (status, content_type, body)


def test_headers_that_are_not_the_functions_are_dropped():
    output = {
        "statusCode": 200,
        "headers": {
            "X-Made-By": "me", "Set-Cookie": ["a=1", "b=2"], "X-Count": 3, "Content-Length": "1", "Connection": "close",
            "Transfer-Encoding": "chunked", "Server": "x", "X-Request-ID": "1", "X-Nova-Function-Error": "x",
            "nova-identity": "x", "constellation-peer": "x", "Bad Name": "x", "x-split": "a\r\nevil: 1", "": "x",
            "Access-Control-Allow-Origin": "*",
        },
    }  # fmt: skip
    assert answer_of("web", json.dumps(output).encode()).headers == [
        (b"x-made-by", b"me"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x-count", b"3"),
    ]


@pytest.mark.parametrize(
    "output",
    [
        {"statusCode": 100},
        {"statusCode": 600},
        {"statusCode": -1},
        {"statusCode": 10**30},
        {"statusCode": 200, "headers": []},
        {"statusCode": 200, "headers": {"a": {}}},
        {"statusCode": 200, "headers": {"a": None}},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
    ],
)
def test_an_answer_that_http_can_not_carry_is_the_functions_fault(output):
    with pytest.raises(FunctionAnswerInvalid):
        answer_of("web", json.dumps(output).encode())


@pytest.mark.parametrize(
    "headers", [{f"x-{n}": "v" for n in range(101)}, {"set-cookie": ["a=b"] * 101}, {"x": "v" * 33_000}]
)
def test_more_headers_than_clients_take_is_no_answer(headers):
    with pytest.raises(FunctionAnswerInvalid):
        answer_of("web", json.dumps({"statusCode": 200, "headers": headers}).encode())
