"""Whatever arrives, the right status and a problem; never a trace, never half a body taken for a whole one."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest


def _problem(answer, status, code=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == status
    assert "Traceback" not in answer.text
    if code is not None:
        assert body["code"] == code, body
    return body


def _raw(platform, data: bytes, *, half_close=True) -> bytes:
    parts = urlsplit(platform.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=40) as sock:
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"name": 1, "runtime": "python", "code": "x"}', "name"),
        (b'{"name": "x", "runtime": "python", "code": "x", "colour": "red"}', "colour"),
        (b'{"name": "../x", "runtime": "python", "code": "x"}', "name"),
        (b'{"name": "x", "runtime": "python", "code": "x", "memory_mb": -1}', "memory_mb"),
        (b'{"name": "x", "runtime": "python", "code": "x", "timeout_s": "soon"}', "timeout_s"),
        (b'{"name": "x", "runtime": "python"}', None),
        (b'{"name": "x", "runtime": "cobol", "code": "x"}', "runtime"),
        (b'{"name": "x", "runtime": "python", "files": {"/etc/passwd": "eA=="}}', "files"),
        (b'{"name": "x", "runtime": "python", "files": {"../a.py": "eA=="}}', "files"),
        (b'{"name": "x", "runtime": "python", "files": {"main.py": "not base64!"}}', "files"),
        (b'{"name": "x", "runtime": "python", "code": "x", "handler": "no dots here"}', "handler"),
        (b'\xff\xfe{"name": "x"}', None),
    ],
)
def test_a_function_that_makes_no_sense_is_refused(platform, body, field):
    answer = platform.http.post("/functions", content=body, headers={"content-type": "application/json"})
    problem = _problem(answer, 400)
    if field is not None:
        assert field in json.dumps(problem)


@pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b"NaN", b'{"a": 1} x', b'"\xff"', b"[1,]"])
def test_an_event_that_is_not_json_is_refused(platform, body):
    answer = platform.http.post(
        "/functions/hello-python/invoke", content=body, headers={"content-type": "application/json"}
    )
    _problem(answer, 400, "invalid_request")


def test_unknown_things(platform):
    _problem(platform.http.get("/nowhere"), 404, "route_not_found")
    _problem(platform.http.get("/internal/changes"), 404, "route_not_found")
    _problem(platform.http.get("/v1/internal/changes"), 404, "route_not_found")
    _problem(platform.http.get("/functions/missing"), 404, "not_found")
    _problem(platform.invoke("missing", {}), 404, "not_found")
    _problem(platform.http.delete("/functions/missing"), 404, "not_found")
    _problem(platform.http.patch("/functions/missing", json={"memory_mb": 64}), 404, "not_found")
    _problem(platform.http.get("/functions/missing/logs"), 404, "not_found")
    _problem(platform.http.get("/async-invocations/not-a-uuid"), 400)
    _problem(platform.http.get("/async-invocations/01a20fd7-3a23-7325-a2c5-e56069108a26"), 404, "not_found")
    _problem(platform.invoke("hello-python", {}, headers={"X-Nova-Tenant": "nobody"}), 404, "not_found")
    _problem(platform.invoke("hello-python", {}, headers={"X-Nova-Tenant": "no/body"}), 400)


def test_wrong_method_names_the_right_ones(platform):
    answer = platform.http.put("/functions")
    _problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}
    _problem(platform.http.get("/functions/hello-python/invoke"), 405)


def test_v1_is_stripped_before_anything_looks(platform):
    assert platform.http.post("/v1/functions/hello-python/invoke", json={"name": "Ada"}).status_code == 200
    assert platform.http.get("/v1/functions").status_code == 200


def test_wrong_keys(platform):
    for headers in ({"X-API-Key": "sk_wrong"}, {"Authorization": "Bearer sk_wrong"}, {"Authorization": "Basic eDp5"}):
        answer = platform.http.get("/functions", headers=headers)
        _problem(answer, 401, "unauthenticated")
        assert "sk_wrong" not in answer.text


def test_loopback_trust_ends_where_a_proxy_begins(platform):
    for headers in (
        {"X-Forwarded-For": "10.0.0.1"},
        {"Forwarded": "for=10.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        _problem(platform.http.get("/functions", headers=headers), 401)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=501", "offset=-1", "limit=1&limit=2"])
def test_paging_is_checked(platform, query):
    _problem(platform.http.get(f"/functions?{query}"), 400)


def test_a_body_over_the_limit_is_refused_whole(platform):
    big = b'"' + b"x" * (6 << 20) + b'"'
    _problem(platform.http.post("/functions/hello-python/invoke", content=big), 413, "payload_too_large")

    def pieces():
        yield from (big[i : i + 65536] for i in range(0, len(big), 65536))

    _problem(platform.http.post("/functions/hello-python/invoke", content=pieces()), 413, "payload_too_large")


def test_a_functions_own_payload_limit_holds(platform):
    platform.deploy("tiny", "def handler(event, context):\n    return event\n", max_payload_bytes=10)
    assert platform.output("tiny", "1234567") == "1234567"
    _problem(platform.invoke("tiny", "1234567890"), 413, "payload_too_large")


def test_a_chunked_body_is_read_whole(platform):
    def pieces():
        yield b'{"name": '
        yield b'"Ada"}'

    answer = platform.http.post("/functions/hello-python/invoke", content=pieces())
    assert answer.status_code == 200
    assert "Ada" in answer.text


BROKEN = {
    "body-ends-early": b"POST /functions/hello-python/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{}",
    "chunk-ends-early": b"POST /functions/hello-python/invoke HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "chunk-size-is-junk": b"POST /functions/hello-python/invoke HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "two-lengths": b"POST /functions/hello-python/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "space-before-colon": b"POST /functions/hello-python/invoke HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_request_that_is_broken_never_reaches_a_function(platform, name):
    head, _, body = _raw(platform, BROKEN[name]).partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert 400 <= status < 500, head
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["status"] == status


def test_what_is_no_http_gets_no_answer_but_a_refusal(platform):
    answer = _raw(platform, b"\x16\x03\x01\x00\xa5\x01\x00")
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")


def test_secrets_do_not_come_back(platform):
    made = platform.http.post("/apikeys", json={"name": "shown-once", "role": "viewer"})
    key = made.json()["key"]
    assert key not in platform.http.get("/apikeys").text
    for log in (platform.data_dir / "logs").iterdir():
        assert key not in log.read_text(errors="replace"), log.name
    assert platform.http.get("/functions", headers={"X-API-Key": key}).status_code == 200
    _problem(platform.http.delete("/functions/hello-python", headers={"X-API-Key": key}), 403, "forbidden")
    assert platform.http.delete("/apikeys/shown-once").status_code == 200
    platform.eventually(lambda: platform.http.get("/functions", headers={"X-API-Key": key}).status_code == 401)
