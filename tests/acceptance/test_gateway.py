"""Hosts of one's own: made with orbit, served by the gateway, changed while it serves."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from tests.acceptance.conftest import Platform

HOST = "shop.example.org"
USERS = """
def handler(event, context):
    return {"statusCode": 201, "headers": {"X-Who": event["path_params"]["id"]}, "body": event["method"]}
"""

ORDERS = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("no")
    return {"rows": [event["sku"]] * event["count"], "version": context.function_version}
"""
CHAT = """
def handler(event, context):
    return f"{event['who']} in {event['room']}: {event['body']}" if event["event"] == "message" else None
"""
BROKEN = """
calls = 0

def handler(event, context):
    global calls
    calls += 1
    return {"statusCode": 500 if "fail" in event["query_params"] else 200, "body": str(calls)}
"""
TICKS = """
import time

def handler(event, context):
    yield event["first"]
    for _ in range(600):
        time.sleep(0.1)
        yield "more"
"""


def orbit(platform: Platform, *words: str) -> Any:
    done = subprocess.run(
        ["bin/orbit", "--server", platform.url, "-o", "json", *words], capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def users(platform: Platform) -> Platform:
    platform.deploy("users", USERS)
    assert orbit(platform, "domains", "create", HOST)["host"] == HOST
    return platform


def test_a_domain_is_served_changed_and_given_up(users: Platform):
    route = orbit(users, "gateway", "create", HOST, "/users/{id}", "users", "-X", "get", "--auth", "none")

    def get(path: str = "/users/ada", method: str = "GET") -> Any:
        return users.http.request(method, path, headers={"Host": HOST})

    users.eventually(lambda: get().status_code == 201, within_s=5)
    answer = get()
    assert (answer.headers["x-who"], answer.text) == ("ada", "GET")
    assert get(method="DELETE").status_code == 405
    assert get("/functions").status_code == 404  # the platform's own is not there
    orbit(users, "gateway", "update", route["id"], "--auth", "api_key", "-X", "any", "--path", "/people/{id}")
    users.eventually(lambda: get("/people/bob").status_code == 401, within_s=5)
    assert get().status_code == 404
    assert [each["path"] for each in orbit(users, "gateway", "list", HOST)] == ["/people/{id}"]
    written = orbit(users, "gateway", "export", HOST)
    written["routes"][0]["auth"] = "none"
    planned = orbit(users, "gateway", "import", HOST, json.dumps(written), "--dry-run")
    assert (planned["changed"], planned["is_dry_run"]) == (["any method /people/{id}"], True)
    assert get("/people/bob").status_code == 401
    assert orbit(users, "gateway", "import", HOST, json.dumps(written))["changed"] == planned["changed"]
    users.eventually(lambda: get("/people/bob").status_code == 201, within_s=5)
    orbit(users, "gateway", "disable", route["id"])
    users.eventually(lambda: get("/people/bob").status_code == 404, within_s=5)
    orbit(users, "gateway", "delete", route["id"][4:], "--yes")
    assert orbit(users, "gateway", "list") == []
    orbit(users, "domains", "delete", HOST, "--yes")
    assert orbit(users, "domains", "list") == []
    # and now its name leads to the platform, as any that is nobody's
    users.eventually(lambda: get("/health/live").status_code == 200, within_s=5)


def test_a_route_checks_maps_and_calls_an_alias(users: Platform, tmp_path: Path):
    host, path = "orders.example.org", "/orders/{sku}"
    users.deploy("orders", ORDERS)
    users.deploy("orders", ORDERS + "\n# later\n")
    orbit(users, "alias", "set", "orders", "prod", "1", "--sticky")
    orbit(users, "domains", "create", host)
    policy = {
        "schema": {"body": {"properties": {"count": {"type": "integer", "maximum": 9}}, "required": ["count"]}},
        "request": {"sku": "path.sku", "count": "body.count", "fail": "query.fail"},
        "response": {"status": {"200": 201}, "headers": {"X-Ran": "body.version"}, "body": {"items": "body.rows"}},
        "retry": {"attempts": 2, "statuses": [502]},
    }
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"schema": {"body": {"$ref": "http://127.0.0.1/x"}}}))
    words = ("gateway", "create", host, path, "orders:prod", "--auth", "none", "--policy")
    refused = subprocess.run(
        ["bin/orbit", "--server", users.url, *words, f"@{bad}"], capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert refused.returncode != 0
    assert "leads out of the schema" in refused.stderr
    made = orbit(users, *words, f"@{file}")
    assert (made["function"], made["policy"]) == ("orders:prod", policy)

    def put(body: Any, query: str = "") -> Any:
        return users.http.put(f"/orders/A{query}", json=body, headers={"Host": host})

    assert orbit(users, "gateway", "match", host, "/orders/A", "-X", "PUT")["path_params"] == {"sku": "A"}
    users.eventually(lambda: put({"count": 2}).status_code == 201, within_s=10)
    answer = put({"count": 2})
    assert (answer.json(), answer.headers["x-ran"]) == ({"items": ["A", "A"]}, "1")
    wrong = put({"count": 10}).json()
    assert (wrong["code"], wrong["errors"][0]["in"], wrong["errors"][0]["pointer"]) == (
        "validation_failed",
        "body",
        "/count",
    )
    failed = put({"count": 1}, "?fail=1")
    assert (failed.json()["code"], failed.headers["x-nova-attempts"]) == ("function_failed", "2")
    users.http.cookies.clear()
    orbit(users, "gateway", "update", made["id"], "--function", "orders")
    users.eventually(lambda: put({"count": 1}).headers.get("x-ran") == "2", within_s=10)
    orbit(users, "domains", "delete", host, "--yes")


def test_a_route_whose_function_fails_rests_and_recovers(users: Platform):
    host = "broken.example.org"
    users.deploy("broken", BROKEN)
    orbit(users, "domains", "create", host)
    policy = {
        "breaker_error_percent": 50, "breaker_min_samples": 4, "breaker_open_s": 1.5,
        "retry": {"attempts": 2, "backoff_s": 0.01, "statuses": [500]},
    }  # fmt: skip
    made = orbit(
        users, "gateway", "create", host, "/*", "broken", "--auth", "none", "--policy", json.dumps(policy)
    )  # fmt: skip

    def get(query: str = "") -> Any:
        return users.http.get(f"/x{query}", headers={"Host": host})

    def breaker() -> Any:
        return orbit(users, "gateway", "status", made["id"])["breaker"]

    users.eventually(lambda: get().status_code == 200)
    answers = [get("?fail=1") for _ in range(8)]
    failed, refused = [each for each in answers if each.status_code == 500], answers[-1]
    assert failed[0].headers["x-nova-attempts"] == "2"
    assert (refused.status_code, refused.json()["code"]) == (503, "route_breaker_open")
    assert int(refused.headers["retry-after"]) in (1, 2)
    assert breaker()["state"] == "open"
    users.eventually(lambda: get().status_code == 200, within_s=10)  # a probe found that it works
    assert (breaker()["state"], breaker()["opened"]) == ("closed", 1)
    assert int(get().text) <= int(failed[-1].text) + 2  # what was refused had not called it
    orbit(users, "domains", "delete", host, "--yes")


def test_a_route_of_web_sockets_makes_their_events_and_keeps_all_that_it_promises(users: Platform):
    host = "chat.example.org"
    users.deploy("chat", CHAT)
    orbit(users, "domains", "create", host)
    words = ("gateway", "create", host, "/rooms/{room}", "chat", "--auth", "none", "--policy")
    policy = {"websocket": True, "request": {"room": "path.room", "who": {"from": "query.who", "required": True}}}
    refused = subprocess.run(
        ["bin/orbit", "--server", users.url, *words, json.dumps(policy | {"response": {"remove_headers": ["x"]}})],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "what a function says to a WebSocket is sent as it is" in refused.stderr
    orbit(users, *words, json.dumps(policy))
    plain = users.eventually(
        lambda: (answer := users.http.get("/rooms/7", headers={"Host": host})).status_code == 426 and answer
    )
    assert plain.json()["code"] == "websocket_mismatch"
    assert spoken(users, host, "/rooms/7?who=ann", "hello") == "ann in 7: hello"
    assert spoken(users, host, "/rooms/7", "hello") == 400
    orbit(users, "domains", "delete", host, "--yes")


def spoken(platform: Platform, host: str, target: str, text: str) -> str | int:
    """What a WebSocket says to a message, or the status that refuses its handshake."""
    wire = WSConnection(ConnectionType.CLIENT)
    url = httpx.URL(platform.url)
    with socket.create_connection((url.host, url.port), timeout=20) as stream:
        stream.sendall(wire.send(Request(host=host, target=target)))
        while True:
            wire.receive_data(stream.recv(65536) or None)
            for event in wire.events():
                if isinstance(event, RejectConnection):
                    return event.status_code
                if isinstance(event, AcceptConnection):
                    stream.sendall(wire.send(TextMessage(data=text)))
                elif isinstance(event, TextMessage):
                    return event.data
                else:
                    assert not isinstance(event, CloseConnection)


def test_events_of_a_route_come_one_by_one_and_who_hangs_up_stops_the_function(users: Platform):
    host = "ticks.example.org"
    users.deploy("ticks", TICKS)
    orbit(users, "domains", "create", host)
    orbit(users, "gateway", "create", host, "/{first}", "ticks", "--auth", "none", "--policy",
          '{"stream": true, "request": {"first": "path.first"}}')  # fmt: skip
    headers = {"Host": host, "Accept": "text/event-stream"}

    def first() -> bool:
        with users.http.stream("GET", "/one", headers=headers) as answer:
            return answer.status_code == 200 and next(answer.iter_lines()) == "data: one"  # a minute before the last

    users.eventually(first)

    def is_free() -> bool:
        stats = users.http.get("/stats").json()
        return all(each["inflight"] == 0 for each in stats["functions"] if each["function"] == "ticks")

    users.eventually(is_free)
    orbit(users, "domains", "delete", host, "--yes")
