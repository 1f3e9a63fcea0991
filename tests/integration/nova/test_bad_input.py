"""Whatever is wrong with a request, the answer is the right status and a problem that names the place."""

from __future__ import annotations

import base64
import json

import anyio
import pytest

from constellation.nova.domain.access import Role

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

GOOD = {"name": "f", "runtime": "python", "code": "def handler(e, c): pass\n"}
X = base64.b64encode(b"x").decode()


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name not in names}


def files(*paths: str) -> dict[str, object]:
    return {**without("code"), "files": dict.fromkeys(("main.py", *paths), X)}


# body of POST /functions -> (status, field)
CREATE = [
    ({}, 400, "name"),
    (without("runtime"), 400, "runtime"),
    (GOOD | {"surprise": 1}, 400, "surprise"),
    (GOOD | {"name": 7}, 400, "name"),
    (GOOD | {"name": ""}, 400, "name"),
    (GOOD | {"name": "a b"}, 400, "name"),
    (GOOD | {"name": "-a"}, 400, "name"),
    (GOOD | {"name": "a" * 65}, 400, "name"),
    (GOOD | {"name": "hello\n"}, 400, "name"),
    (GOOD | {"name": "../etc"}, 400, "name"),
    (GOOD | {"runtime": "cobol"}, 400, "runtime"),
    (GOOD | {"code": ""}, 400, "code"),
    (GOOD | {"code": " \n"}, 400, "code"),
    (GOOD | {"code": None}, 400, "code"),
    (GOOD | {"code": "x\0"}, 400, "code"),
    (without("code"), 400, "code"),
    (GOOD | {"files": {"main.py": X}}, 400, "code"),
    (without("code") | {"files": {}}, 400, "files"),
    (without("code") | {"files": {"main.py": "not base64!"}}, 400, "files"),
    (without("code") | {"files": {"main.py": "eA"}}, 400, "files"),
    (files("/etc/passwd"), 400, "files"),
    (files("../x.py"), 400, "files"),
    (files("a/../../x.py"), 400, "files"),
    (files("a//b.py"), 400, "files"),
    (files("./a.py"), 400, "files"),
    (files("a/"), 400, "files"),
    (files("a\\b"), 400, "files"),
    (files("a\nb"), 400, "files"),
    (files("x" * 256), 400, "files"),
    (files("\u00fc" * 128), 400, "files"),
    (files("x" * 257), 400, "files"),
    (files("d", "d/e.py"), 400, "files"),
    (files(*(f"f{place}" for place in range(1000))), 400, "files"),
    (GOOD | {"handler": "handler"}, 400, "handler"),
    (GOOD | {"handler": "main."}, 400, "handler"),
    (GOOD | {"handler": ".handler"}, 400, "handler"),
    (GOOD | {"handler": "../main.handler"}, 400, "handler"),
    (GOOD | {"handler": "main.handler\n"}, 400, "handler"),
    (GOOD | {"handler": "other.handler"}, 400, "handler"),
    (GOOD | {"handler": "m." + "h" * 200}, 400, "handler"),
    (GOOD | {"memory_mb": 31}, 400, "memory_mb"),
    (GOOD | {"memory_mb": 10241}, 400, "memory_mb"),
    (GOOD | {"memory_mb": "128"}, 400, "memory_mb"),
    (GOOD | {"memory_mb": 128.5}, 400, "memory_mb"),
    (GOOD | {"memory_mb": True}, 400, "memory_mb"),
    (GOOD | {"memory_mb": 10**30}, 400, "memory_mb"),
    (GOOD | {"timeout_s": 0}, 400, "timeout_s"),
    (GOOD | {"timeout_s": 901}, 400, "timeout_s"),
    (GOOD | {"min_replicas": 5, "max_replicas": 4}, 400, "min_replicas"),
    (GOOD | {"max_payload_bytes": 7 << 20}, 400, "max_payload_bytes"),
    (GOOD | {"capacity": {"shed_status_code": 500}}, 400, "capacity.shed_status_code"),
    (GOOD | {"capacity": {"max_inflight": -1}}, 400, "capacity.max_inflight"),
    (GOOD | {"capacity": {"breaker_error_percent": 101}}, 400, "capacity.breaker_error_percent"),
    (GOOD | {"capacity": {"breaker_min_samples": 0}}, 400, "capacity.breaker_min_samples"),
    (GOOD | {"capacity": {"nope": 1}}, 400, "capacity.nope"),
    (GOOD | {"capacity": None}, 400, "capacity"),
    (GOOD | {"env": {"1A": "x"}}, 400, "env"),
    (GOOD | {"env": {"A\n": "x"}}, 400, "env"),
    (GOOD | {"env": {"A": 1}}, 400, "env[...]"),
    (GOOD | {"env": {"A": "x\0y"}}, 400, "env.A"),
    (GOOD | {"env": {f"A{place}": "x" * 32768 for place in range(9)}}, 400, "env"),
    (GOOD | {"preload": ["a"] * 17}, 400, "preload"),
    (GOOD | {"preload": ["numpy", "numpy"]}, 400, "preload"),
    (GOOD | {"preload": ["os; import x"]}, 400, "preload[0]"),
    (GOOD | {"preload": ["a..b"]}, 400, "preload[0]"),
    (GOOD | {"preload": ["a\n"]}, 400, "preload"),
    (GOOD | {"preload": "numpy"}, 400, "preload"),
    (GOOD | {"backend": "chroot"}, 400, "backend"),
    (GOOD | {"mode": "durable"}, 400, "mode"),
    (GOOD | {"mode": "isolated", "instance_concurrency": 2}, 400, "instance_concurrency"),
    (GOOD | {"log_retention_days": -1}, 400, "log_retention_days"),
    (GOOD | {"runtime": "node", "code": "x", "preload": ["a"]}, 400, "preload"),
    (GOOD | {"description": "x" * 2001}, 400, "description"),
    (GOOD | {"description": "a\0b"}, 400, "description"),
]

# raw bodies of POST /functions
RAW = [
    b"",
    b"   ",
    b"[]",
    b"null",
    b'"x"',
    b"{",
    b'{"name": "f", "runtime": "pyth',
    b'{"name": "f",}',
    b"{'name': 'f'}",
    b'{"name": "f"} {"name": "g"}',
    b'\xef\xbb\xbf{"name": "f"}',
    b'{"name": "\xff"}',
    b'{"name": "\\ud800"}',
    b'{"name": NaN}',
    b"[" * 100_000,
    b'{"surprise": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"name=f&runtime=python",
]


def check(answer, status: int, field: str | None = None) -> str | None:
    """Return what is wrong with a problem, or None."""
    problem = answer.json()
    wanted = {"type", "title", "status", "detail", "code"}
    if answer.status_code != status or problem["status"] != status or not wanted <= problem.keys():
        return f"{answer.status_code} {answer.text}"
    if answer.headers["content-type"] != "application/problem+json" or "Traceback" in answer.text:
        return answer.text
    if field is not None and problem.get("field") != field:
        return f"field {problem.get('field')}: {answer.text}"
    return None


async def send_raw(nova, rest: str, *, ends: bool = True) -> bytes:
    """Send a POST /functions of our own making, perhaps say that nothing more comes, and return what is answered."""
    url = nova.http.base_url
    head = "".join(f"{name}: {value}\r\n" for name, value in nova.admin().items())
    async with await anyio.connect_tcp(url.host, url.port) as stream:
        await stream.send(f"POST /functions HTTP/1.1\r\nhost: x\r\n{head}{rest}".encode())
        if ends:
            await stream.send_eof()
        received = b""
        with anyio.fail_after(10):
            async for piece in stream:
                received += piece
        return received


async def test_bad_functions_are_refused_by_field(nova):
    headers = nova.admin()
    wrong = {}
    for body, status, field in CREATE:
        answer = await nova.http.post("/functions", json=body, headers=headers)
        if (complaint := check(answer, status, field)) is not None:
            wrong[str(body)[:200]] = complaint
    assert wrong == {}
    assert (await nova.http.get("/functions", headers=headers)).json()["items"] == []


async def test_bodies_that_are_no_json_object_are_refused(nova):
    headers = {**nova.admin(), "content-type": "application/json"}
    wrong = {}
    for body in RAW:
        answer = await nova.http.post("/functions", content=body, headers=headers)
        if (complaint := check(answer, 400)) is not None:
            wrong[body[:80]] = complaint
    assert wrong == {}


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_body_must_say_that_it_is_json(nova, content_type):
    headers = nova.admin() | ({"content-type": content_type} if content_type else {})
    answer = await nova.http.post("/functions", content=json.dumps(GOOD).encode(), headers=headers)
    assert check(answer, 415) is None
    assert answer.json()["code"] == "unsupported_media_type"


async def test_a_charset_does_no_harm(nova):
    headers = nova.admin() | {"content-type": "application/json; charset=utf-8"}
    answer = await nova.http.post("/functions", content=json.dumps(GOOD).encode(), headers=headers)
    assert answer.status_code == 201


async def test_bad_changes_are_refused_and_change_nothing(nova):
    created = await nova.deploy("f")
    headers = nova.admin()
    bad = [
        ("PATCH", "/functions/f", {"name": "g"}, 422, "name"),
        ("PATCH", "/functions/f", {"runtime": "node"}, 400, "runtime"),
        ("PATCH", "/functions/f", {"version": "1"}, 400, "version"),
        ("PATCH", "/functions/f", {"min_replicas": 11}, 400, "min_replicas"),
        ("PATCH", "/functions/f", {"mode": "isolated", "instance_concurrency": 2}, 400, "instance_concurrency"),
        ("PATCH", "/functions/f", {"handler": "gone.handler"}, 400, "handler"),
        ("PATCH", "/functions/f", {"code": "x", "files": {"main.py": X}}, 400, "code"),
        ("PATCH", "/functions/f", {"files": {"other.py": X}}, 400, "handler"),
        ("PATCH", "/functions/f", {"capacity": {"shed_status_code": 200}}, 400, "capacity.shed_status_code"),
        ("PUT", "/functions/f/code", {}, 400, "code"),
        ("PUT", "/functions/f/code", {"handler": "a.b"}, 400, "code"),
        ("PUT", "/functions/f/capacity", {"shed_status_code": 418}, 400, "capacity.shed_status_code"),
        ("PUT", "/functions/f/capacity", {"max_queue_wait_s": 1e9}, 400, "max_queue_wait_s"),
        ("PUT", "/functions/f/capacity", {"breaker_error_percent": -1}, 400, "breaker_error_percent"),
        ("PUT", "/functions/f/capacity", {"breaker_error_percent": 0.5}, 400, "breaker_error_percent"),
        ("PUT", "/functions/f/capacity", {"breaker_min_samples": 100_001}, 400, "breaker_min_samples"),
        ("PUT", "/functions/f/capacity", {"breaker_window_s": 0.9}, 400, "breaker_window_s"),
        ("PUT", "/functions/f/capacity", {"breaker_window_s": 3600.5}, 400, "breaker_window_s"),
        ("PUT", "/functions/f/capacity", {"breaker_open_s": 0.05}, 400, "breaker_open_s"),
        ("PUT", "/functions/f/capacity", {"breaker_open_s": 3601}, 400, "breaker_open_s"),
        ("PUT", "/functions/f/capacity", {"breaker_probes": 0}, 400, "breaker_probes"),
        ("PUT", "/functions/f/capacity", {"breaker_probes": 101}, 400, "breaker_probes"),
        ("PUT", "/functions/g/code", {"code": "x"}, 404, None),
        ("PUT", "/functions/g/capacity", {}, 404, None),
        ("POST", "/functions/g/schedules", {"cron": "@daily"}, 404, None),
        ("POST", "/functions/f/schedules", {}, 400, "cron"),
        ("POST", "/functions/f/schedules", {"cron": "* * *"}, 400, "cron"),
        ("POST", "/functions/f/schedules", {"cron": "0 0 30 2 *"}, 400, "cron"),
        ("POST", "/functions/f/schedules", {"cron": "@daily", "time_zone": "Mars/Base"}, 400, "time_zone"),
        ("POST", "/functions/f/schedules", {"cron": "@daily", "enabled": "yes"}, 400, "enabled"),
        ("POST", "/functions/f/schedules", {"cron": "@daily", "input": "x" * (1 << 20)}, 413, None),
        ("POST", "/apikeys", {"name": "a b"}, 400, "name"),
        ("POST", "/apikeys", {"name": "k", "role": "king"}, 400, "role"),
        ("POST", "/apikeys", {"name": "k", "namespace": "a/b"}, 400, "namespace"),
        ("POST", "/apikeys", {"name": "k", "namespace": "nowhere"}, 404, None),
        ("POST", "/apikeys", {"name": "k", "expires_in_s": 0}, 400, "expires_in_s"),
        ("POST", "/apikeys", {"name": "k", "rate_per_s": -1}, 400, "rate_per_s"),
        ("POST", "/apikeys", {"name": "k", "rate_per_s": 1_000_001}, 400, "rate_per_s"),
        ("POST", "/apikeys", {"name": "k", "rate_per_s": "9"}, 400, "rate_per_s"),
        ("POST", "/apikeys", {"name": "k", "rate_per_s": 1, "burst": 1_000_001}, 400, "burst"),
        ("POST", "/apikeys", {"name": "k", "rate_per_s": 1, "burst": 1.5}, 400, "burst"),
        ("POST", "/apikeys", {"name": "k", "burst": 5}, 400, "burst"),
        ("PATCH", "/apikeys/nobody", {"enabled": False}, 404, None),
        ("POST", "/tenants", {"id": "no spaces"}, 400, "id"),
        ("POST", "/tenants", {"id": "acme\n"}, 400, "id"),
        ("POST", "/tenants", {"id": "default"}, 409, None),
        ("PATCH", "/tenants/default", {"status": "sleepy"}, 400, "status"),
        ("PATCH", "/tenants/nobody", {"name": "x"}, 404, None),
        ("POST", "/tenants/nobody/namespaces", {"name": "x"}, 404, None),
        ("POST", "/tenants/default/namespaces", {"name": "x/y"}, 400, "name"),
        ("POST", "/volumes", {"name": "a b", "size_mb": 8}, 400, "name"),
        ("POST", "/volumes", {"name": "v", "size_mb": -1}, 400, "size_mb"),
        ("POST", "/internal/authenticate", {"kind": "magic"}, 400, "kind"),
        ("POST", "/internal/authenticate", {"kind": "presented"}, 400, "credential"),
    ]
    wrong = {}
    for method, path, body, status, field in bad:
        answer = await nova.http.request(method, path, json=body, headers=headers)
        if (complaint := check(answer, status, field)) is not None:
            wrong[f"{method} {path} {str(body)[:80]}"] = complaint
    assert wrong == {}
    assert (await nova.http.get("/functions/f", headers=headers)).json() == created
    assert (await nova.http.get("/schedules", headers=headers)).json()["items"] == []


async def test_bad_paths_methods_and_queries_are_refused(nova):
    headers = nova.admin()
    await nova.deploy("f")
    bad = [
        ("GET", "/", 404, "route_not_found"),
        ("GET", "/nowhere", 404, "route_not_found"),
        ("GET", "/functions/", 404, "route_not_found"),
        ("GET", "//functions", 404, "route_not_found"),
        ("GET", "/functions/a/b/c", 404, "route_not_found"),
        ("GET", "/internal/nowhere", 404, "route_not_found"),
        ("POST", "/functions/f/invoke", 404, "route_not_found"),
        ("GET", "/functions/nope", 404, "not_found"),
        ("GET", "/functions/a%2Fb", 404, "not_found"),
        ("GET", "/functions/%00", 400, "invalid_request"),
        ("GET", "/functions/%ff", 400, "invalid_request"),
        ("GET", "/functions/" + "x" * 5000, 404, "not_found"),
        ("PUT", "/functions", 405, "method_not_allowed"),
        ("BREW", "/functions/f", 405, "method_not_allowed"),
        ("OPTIONS", "/functions/f", 405, "method_not_allowed"),
        ("GET", "/functions?limit=0", 400, "invalid_request"),
        ("GET", "/functions?limit=501", 400, "invalid_request"),
        ("GET", "/functions?limit=-1", 400, "invalid_request"),
        ("GET", "/functions?limit=ten", 400, "invalid_request"),
        ("GET", "/functions?limit=", 400, "invalid_request"),
        ("GET", "/functions?limit=1e2", 400, "invalid_request"),
        ("GET", "/functions?limit=1&limit=2", 400, "invalid_request"),
        ("GET", "/functions?offset=-1", 400, "invalid_request"),
        ("GET", "/functions?offset=99999999999999999999", 400, "invalid_request"),
        ("GET", "/functions?search=%00", 400, "invalid_request"),
        ("GET", "/functions/f/schedules/not-a-uuid", 405, "method_not_allowed"),
        ("DELETE", "/functions/f/schedules/not-a-uuid", 404, "not_found"),
        ("GET", "/internal/scope", 400, "invalid_request"),
        ("GET", "/internal/scope?tenant=nobody&namespace=x", 404, "not_found"),
        ("GET", "/internal/scope?tenant=default&namespace=x", 404, "not_found"),
        ("GET", "/internal/changes?after=-1", 400, "invalid_request"),
        ("GET", "/internal/changes?after=x", 400, "invalid_request"),
    ]
    wrong = {}
    for method, path, status, code in bad:
        answer = await nova.http.request(method, path, headers=headers)
        complaint = check(answer, status)
        if complaint is not None or answer.json()["code"] != code:
            wrong[f"{method} {path[:80]}"] = complaint or answer.text
    assert wrong == {}


async def test_a_wrong_method_is_told_the_right_ones(nova):
    answer = await nova.http.put("/functions", headers=nova.admin())
    assert answer.headers["allow"] == "GET, HEAD, POST"
    stream = await nova.http.head("/internal/changes", headers=nova.service())
    assert (stream.status_code, stream.headers["allow"]) == (405, "GET")


async def test_nobody_gets_in_without_service_token_and_identity(nova):
    good = nova.admin()
    tampered = good["nova-identity"][:-2] + ("AA" if good["nova-identity"][-2:] != "AA" else "BB")
    bad = [
        {},
        {"nova-identity": good["nova-identity"]},
        {"authorization": good["authorization"]},
        {**good, "authorization": "Bearer wrong"},
        {**good, "authorization": "Basic x"},
        {**good, "authorization": "Bearer \xff".encode("latin-1")},
        {**good, "nova-identity": "x.y"},
        {**good, "nova-identity": ""},
        {**good, "nova-identity": tampered},
    ]
    for headers in bad:
        answer = await nova.http.get("/functions", headers=headers)
        assert check(answer, 401) is None
        assert "www-authenticate" in answer.headers
    for path in ("/internal/changes", "/internal/health", "/openapi.json", "/nowhere"):
        assert check(await nova.http.get(path), 401) is None


async def test_a_role_without_the_permission_is_refused(nova):
    headers = nova.member("default", role=Role.VIEWER)
    assert (await nova.http.get("/functions", headers=headers)).status_code == 200
    answer = await nova.http.post("/functions", json=GOOD, headers=headers)
    assert check(answer, 403) is None
    assert answer.json()["permission"] == "function:create"


async def test_an_oversized_body_is_refused_before_it_is_read(nova):
    answer = await send_raw(nova, f"content-type: application/json\r\ncontent-length: {1 << 40}\r\n\r\n{{", ends=False)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"payload_too_large" in answer


async def test_an_oversized_body_in_chunks_is_refused(nova):
    async def pieces():
        for _ in range(24):
            yield b" " * (1 << 20)

    headers = nova.admin() | {"content-type": "application/json"}
    answer = await nova.http.post("/functions", content=pieces(), headers=headers, timeout=30)
    assert check(answer, 413) is None
    assert answer.json()["limit_bytes"] == 16 << 20


async def test_a_body_in_chunks_is_taken(nova):
    async def pieces():
        for byte in json.dumps(GOOD).encode():
            yield bytes([byte])

    answer = await nova.http.post(
        "/functions", content=pieces(), headers=nova.admin() | {"content-type": "application/json"}
    )
    assert answer.status_code == 201


async def test_a_body_that_ends_early_costs_only_its_connection(nova):
    answer = await send_raw(nova, 'content-type: application/json\r\ncontent-length: 500\r\n\r\n{"name": "f"')
    # An end that comes while the server still takes the start in closes the connection; one that it waits for is answered.
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert (await nova.http.get("/functions", headers=nova.admin())).json()["items"] == []


async def test_request_ids_come_back_when_they_are_ids(nova):
    given = "0198c5a2-7b7a-7000-8000-000000000001"
    answer = await nova.http.get("/functions", headers=nova.admin() | {"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    answer = await nova.http.get("/nowhere", headers=nova.admin() | {"x-request-id": "<script>"})
    assert len(answer.headers["x-request-id"]) == 36


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET ?x HTTP/1.1\r\n", b"404"),
        ("OPTIONS * HTTP/1.1\r\n", b"404"),
        ("GET http://x/functions HTTP/1.1\r\n", b"404"),
        (
            (
                "GET /functions HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            ),
            b"403",
        ),
        ("nonsense\r\n", b"400"),
    ],
)
async def test_odd_requests_are_answered_too(nova, head, status):
    url = nova.http.base_url
    async with await anyio.connect_tcp(url.host, url.port) as stream:
        credentials = "".join(f"{name}: {value}\r\n" for name, value in nova.admin().items())
        await stream.send(f"{head}host: x\r\n{credentials}\r\n".encode())
        with anyio.fail_after(10):
            answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 " + status)
