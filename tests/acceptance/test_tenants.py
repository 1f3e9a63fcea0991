"""Two tenants that call everything alike: whatever one reads, finds, calls, changes or deletes, the other's stays its own.

The requests come from the table of routes. A route whose resource is not made here, whose path has a name that stands
for nothing here, or whose body is not said, fails the test: add a step to MADE, a value to NAMES, a body to BODIES.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from constellation.nova.domain.access import Permission
from constellation.routes.registry import ROUTES, Match, RouteTable
from constellation.routes.route import Plane, Route

from .conftest import Platform, eventually

CODE = """
def handler(event, context):
    print("{mark}")
    return "{mark}"
"""
C_CODE = """#include <constellation.h>
int handler(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    return ct_add_quoted(answer, "MARK"), 0;
}
"""
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Step:
    """A request by which each tenant makes something; `keep`: the field of the answer that others must not know."""

    method: str
    path: str
    body: Any = None
    keep: str = ""  # "what=field": its value is kept as {what}


F = "/functions/same"
MADE = (
    Step("POST", "/secrets", {"name": "same", "value": "{mark}"}),
    Step("POST", "/databases", {"name": "same"}, "database=role_name"),
    Step("POST", "/volumes", {"name": "same", "size_mb": 8, "description": "{mark}"}),
    Step("POST", "/functions", {"name": "same", "runtime": "python", "code": CODE, "description": "{mark}",
                                "tags": {"owner": "{mark}"}, "env": {"S": "$SECRET:same"}}, "function=id"),
    Step("PATCH", F, {"env": {"MARK": "{mark}"}}),
    Step("PUT", F + "/docs", {"content": "{mark}"}),
    Step("POST", F + "/docs/shares", {"title": "{mark}"}, "share=id"),
    Step("PUT", F + "/url", {"enabled": True}),
    Step("PUT", F + "/slo", {"objectives": {"success_rate_pct": 50}}),
    Step("PUT", F + "/aliases/same", {"weights": {"1": 50, "2": 50}, "description": "{mark}"}),
    Step("PUT", F + "/aliases/moved", {"version": 1}),
    Step("POST", F + "/canary", {"alias": "moved", "version": 2}, "canary=id"),
    Step("POST", F + "/schedules", {"cron": "@yearly", "input": "{mark}"}, "schedule=id"),
    Step("POST", F + "/invoke", "{mark}", "request=request_id"),
    Step("POST", F + "/invoke-async", {"payload": "{mark}"}, "job=id"),
    Step("POST", F + "/invoke-durable", {"payload": "{mark}"}, "execution=id"),
    Step("PUT", F + "/state/same", {"value": "{mark}"}),
    Step("PUT", "/state/same/same", {"value": "{mark}"}),
    Step("POST", "/functions", {"name": "built", "runtime": "c", "code": "{c}"}),
    Step("POST", "/layers", {"name": "same", "files": {"same.txt": "eA=="}, "description": "{mark}"}),
    Step("POST", "/topics", {"name": "same", "description": "{mark}"}),
    Step("POST", "/topics/same/subscriptions", {"name": "same", "function": "same"}),
    Step("POST", "/topics/same/publish", {"payload": "{mark}"}, "message=id"),
    Step("POST", "/topics/same/publish-batch", {"messages": [{"payload": "{mark}"}]}),
    Step("POST", "/sandboxes", {"template": "python", "env": {"MARK": "{mark}"}}, "sandbox=id"),
    Step("PUT", "/sandboxes/{sandbox}/files?path=same", b"{mark}"),
    Step("POST", "/sandboxes/{sandbox}/ports", {"port": 8080}),
    Step("POST", "/users", {"name": "same", "password": PASSWORD, "display_name": "{mark}"}),
    Step("POST", "/service-accounts", {"name": "same", "description": "{mark}"}),
    Step("POST", "/rbac/roles", {"name": "same", "permissions": ["log:read"], "description": "{mark}"}),
    Step("POST", "/rbac/bindings", {"subject": "user:same", "role": "same"}, "binding=id"),
    Step("POST", "/apikeys", {"name": "same"}),
    Step("POST", "/domains", {"host": "{host}"}),
    Step("POST", "/gateway/routes", {"host": "{host}", "path": "/same", "function": "same"}, "route=id"),
)  # fmt: skip

# What the names in paths stand for, by what a template begins with. In braces: what the tenants do not share.
NAMES: dict[str, dict[str, str]] = {
    "/functions/{name}": {"name": "same", "version": "1", "other": "2", "alias": "same", "key": "same"},
    "/functions/{name}/schedules/{id}": {"id": "{schedule}"},
    "/functions/{name}/docs/shares/{id}": {"id": "{share}"},
    "/functions/{name}/builds": {"name": "built"},
    "/fn/{name}": {"name": "same", "rest": "x"},
    "/url/{tenant}": {"tenant": "{tenant}", "namespace": "default", "name": "same", "rest": "x"},
    "/tenants/{tenant}": {"tenant": "{tenant}", "namespace": "default", "dimension": "functions"},
    "/tiers/{tier}": {"tier": "free"},
    "/async-invocations/{id}": {"id": "{job}"},
    "/executions/{id}": {"id": "{execution}", "event": "same"},
    "/state/{store}": {"store": "same", "key": "same"},
    "/builds/{id}": {"id": "{build}"},
    "/sandboxes/{id}": {"id": "{sandbox}", "pid": "1", "port": "8080", "rest": "x"},
    "/topics/{name}": {"name": "same"},
    "/layers/{name}": {"name": "same"},
    "/notifications/{id}": {"id": "{session}"},  # nobody's: what a tenant is told of comes by itself
    "/subscriptions/{name}": {"name": "same"},
    "/secrets/{name}": {"name": "same"},
    "/databases/{name}": {"name": "same"},
    "/users/{name}": {"name": "same"},
    "/service-accounts/{name}": {"name": "same"},
    "/rbac/roles/{name}": {"name": "same"},
    "/rbac/bindings/{id}": {"id": "{binding}"},
    "/apikeys/{name}": {"name": "same"},
    "/volumes/{name}": {"name": "same"},
    "/domains/{host}": {"host": "{host}"},
    "/gateway/routes/{id}": {"id": "{route}"},
    "/auth/sessions/{id}": {"id": "{session}"},
    "/settings/{key}": {"key": "prices.call"},
}
QUERIES = {
    "match_gateway_route": "?host={host}&path=/same", "read_sandbox_file": "?path=same", "write_sandbox_file": "?path=same",
    "delete_sandbox_file": "?path=same", "list_sandbox_files": "?path=.", "stat_sandbox_file": "?path=same",
    "download_sandbox_archive": "?path=.", "upload_sandbox_archive": "?path=.", "list_functions": "?search=mark",
}  # fmt: skip
THEFT = {"description": "stolen"}
BODIES: dict[str, Any] = {
    "create_function": {"name": "new", "runtime": "python", "code": CODE},
    "update_function": THEFT, "put_code": {"code": "def handler(e, c): return 'stolen'"},
    "put_capacity": {"max_inflight": 1}, "put_function_url": {"enabled": False}, "put_ingress": {"callers": ["queue"]},
    "put_slo": {"objectives": {"p95_duration_ms": 1}},
    "put_docs": {"content": "stolen"}, "create_share": {}, "create_schedule": {"cron": "@daily"},
    "update_schedule": {"enabled": False}, "rollback_function": {}, "put_alias": {"version": 1}, "promote_alias": {},
    "start_canary": {"alias": "same", "version": 1}, "invoke": 1, "invoke_stream": 1, "invoke_async": {"payload": 1},
    "retry_async": {}, "prewarm": {}, "invoke_durable": {}, "signal_execution": 1, "put_state": {"value": "stolen"},
    "put_shared_state": {"value": "stolen"}, "create_topic": {"name": "new"}, "update_topic": THEFT,
    "publish": {"payload": 1}, "publish_batch": {"messages": [{"payload": 1}]},
    "create_subscription": {"name": "new", "function": "same"}, "update_subscription": {"enabled": False},
    "replay_subscription": {"since": "2020-01-01T00:00:00Z"}, "create_sandbox": {"template": "python"},
    "keep_sandbox": {"ttl_s": 60}, "fork_sandbox": {}, "exec_sandbox": {"command": "cat same"},
    "run_sandbox_code": {"code": "print(open('same').read())"}, "write_sandbox_file": b"stolen",
    "upload_sandbox_archive": b"stolen", "make_sandbox_directory": {"path": "stolen"},
    "move_sandbox_file": {"path": "same", "to": "stolen"}, "expose_sandbox_port": {"port": 8081},
    "create_user": {"name": "new", "password": PASSWORD}, "update_user": {"display_name": "stolen"},
    "reset_password": {"password": PASSWORD + "stolen"}, "change_password": {"current": PASSWORD, "new": PASSWORD + "!"},
    "create_service_account": {"name": "new"}, "update_service_account": THEFT,
    "create_volume": {"name": "new", "size_mb": 8}, "update_volume": THEFT,
    "create_role": {"name": "new", "permissions": ["log:read"]}, "update_role": THEFT,
    "create_binding": {"subject": "user:same", "role": "viewer"}, "create_apikey": {"name": "new"},
    "update_apikey": {"enabled": False}, "create_secret": {"name": "new", "value": "x"}, "put_secret": {"value": "stolen"},
    "create_database": {"name": "new"}, "update_database": {"limits": {"max_rows": 1}},
    "create_domain": {"host": "new.example.org"}, "create_gateway_route": {"host": "{host}", "path": "/new", "function": "same"},
    "replace_gateway_routes": {"routes": [{"path": "/same", "function": "same"}]},
    "create_layer": {"name": "new", "files": {"x": "eA=="}}, "put_layer": {"files": {"x": "eA=="}, **THEFT},
    "update_gateway_route": {"enabled": False}, "create_tenant": {"id": "stolen"}, "update_tenant": {"name": "stolen"},
    "create_namespace": {"name": "new"}, "put_setting": {"value": 1}, "revert_setting": {"version": 0},
    "put_quota": {"limit": None}, "put_tier": {},
}  # fmt: skip
LEFT_OUT = {
    **dict.fromkeys(
        ("ai_generate", "ai_review", "ai_explain", "ai_analyze", "ai_tests"), "it answers, and keeps nothing"
    ),
    "login": "it says the tenant itself",
    "logout": "an API key has no session",
    "list_sessions": "an API key has no session",
    "follow_logs": "it never ends; what it shows is what list_logs does",
    "follow_notifications": "it never ends; what it shows is what list_notifications does",
    "sandbox_terminal": "a WebSocket; it is found as every route below /sandboxes/{id} is",
}
# What a tenant reads of its own moves by itself, so that it is looked at and not compared.
MOVING = {"list_usage", "stats", "function_metrics", "timeseries", "heatmap", "function_heatmap", "diagnostics", "function_cost",
          "cost_summary", "invocations_summary", "metrics_summary", "slo_status", "recommendations", "list_sandbox_processes", "download_sandbox_archive", "list_backends", "list_runtimes",
          "sandbox_port"}  # fmt: skip
NOTHING_TO_READ = {"sandbox_port"}  # nobody listens in the sandbox
PLATFORMS = {
    "list_master_keys",
    "rotate_master_key",
    "create_tenant",
    "put_tier",
    "delete_tier",
}  # not a tenant's, so refused
MOVING_FIELDS = re.compile(r'"(last_used_at|used_at|expires_at|size_bytes)":[^,}]*')
LAST = ("delete_secret", "delete_topic", "delete_function", "delete_apikey", "delete_tenant")


@dataclass
class Tenant:
    name: str
    http: httpx.Client
    known: dict[str, str] = field(default_factory=dict)  # what the other has otherwise, by how paths call it

    @property
    def mark(self) -> str:
        return f"mark{self.name}"

    def filled(self, value: Any) -> Any:
        match value:
            case str():
                return re.sub(r"\{([a-z]+)\}", lambda found: self.known.get(found[1], found[0]), value)
            case bytes():
                return self.filled(value.decode()).encode()
            case dict():
                return {key: self.filled(item) for key, item in value.items()}
            case list():
                return [self.filled(item) for item in value]
        return value

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        if isinstance(body, bytes):
            return self.http.request(method, path, content=body)
        return self.http.request(method, path, json=body)

    def ask(self, route: Route, of: Tenant) -> httpx.Response:
        """Send what a route takes, about what `of` has."""
        method = "POST" if route.method == "*" else route.method
        names: dict[str, str] = {}
        for start, values in sorted(NAMES.items(), key=lambda each: len(each[0])):
            if route.template.startswith(start):
                names |= values
        path = re.sub(r"\{([a-z_]+)(?::path)?\}", lambda found: of.filled(names[found[1]]), route.template)
        body = of.filled(BODIES[route.operation]) if route.request is not None else None
        return self.send(method, path + of.filled(QUERIES.get(route.operation, "")), body)

    def is_shown_in(self, answer: httpx.Response) -> bool:
        return any(secret in answer.text for secret in (self.mark, *self.known.values()))


def make(platform: Platform, name: str) -> Tenant:
    created = platform.http.post("/tenants", json={"id": name})
    assert created.status_code == 201, created.text
    key = platform.http.post(
        "/apikeys", json={"name": "own", "role": "admin", "namespace": "*"}, headers={"x-nova-tenant": name}
    )
    assert key.status_code == 201, key.text
    http = httpx.Client(base_url=platform.url, headers={"x-api-key": key.json()["key"]}, timeout=30, trust_env=False)
    tenant = Tenant(name, http)
    c = C_CODE.replace("MARK", tenant.mark)
    tenant.known |= {"tenant": name, "host": f"same.{name}.example.org", "mark": tenant.mark, "c": c}
    for step in MADE:
        answer = tenant.send(step.method, tenant.filled(step.path), tenant.filled(step.body))
        assert answer.status_code < 300, (step, answer.text)
        if step.keep:
            what, _, where = step.keep.partition("=")
            tenant.known[what] = answer.json()[where]
    for secret in ("c", "mark"):
        tenant.known.pop(secret)
    tenant.known["build"] = tenant.send("GET", "/functions/built/builds").json()["items"][0]["id"]
    tenant.known["session"] = tenant.known["build"]  # an id that is nobody's session
    return tenant


@pytest.fixture(scope="module")
def pair(platform: Platform) -> Iterator[tuple[Tenant, Tenant]]:
    tenants = make(platform, "acme"), make(platform, "beta")
    for tenant in tenants:
        eventually(lambda tenant=tenant: is_settled(tenant))
    yield tenants
    for tenant in tenants:
        tenant.http.close()
        platform.http.delete(f"/tenants/{tenant.name}")


def is_settled(tenant: Tenant) -> bool:
    """Is all that was begun over, and on record?"""
    counted = tenant.send("GET", "/invocations").json()["pagination"]["total"]
    build = tenant.send("GET", f"/builds/{tenant.known['build']}").json()["state"]
    execution = tenant.send("GET", f"/executions/{tenant.known['execution']}").json()["status"]
    return counted == 5 and build in ("success", "failed") and execution == "succeeded"


def asked() -> list[Route]:
    """The routes that are a tenant's."""
    routes = [
        route
        for route in ROUTES
        if route.plane is not Plane.ZENITH
        and route.permission is not Permission.PUBLIC
        and route.operation not in LEFT_OUT
    ]
    return sorted(routes, key=lambda route: LAST.index(route.operation) if route.operation in LAST else -1)


def is_by_own(route: Route, of: Tenant) -> bool:
    """Does its path say something that only one of the tenants has?"""
    names: dict[str, str] = {}
    for start, values in sorted(NAMES.items(), key=lambda each: len(each[0])):
        if route.template.startswith(start):
            names |= values
    found = re.findall(r"\{([a-z_]+)(?::path)?\}", route.template)
    return any("{" in said for said in (*(names[name] for name in found), QUERIES.get(route.operation, "")))


def test_whatever_can_be_made_is_made():
    table = RouteTable()
    made = set()
    for step in MADE:
        match = table.match(step.method, step.path.partition("?")[0])
        assert isinstance(match, Match)
        made.add(match.route.operation)
    can_be = {r.operation for r in ROUTES if r.method == "POST" and r.status == 201 and "{id}" not in r.template}
    assert can_be - made - PLATFORMS - {"create_namespace", "create_tenant"} == set()


def test_nobody_reads_what_is_the_others(pair):
    acme, beta = pair
    for route in asked():
        if route.method != "GET":
            continue
        own = acme.ask(route, acme)
        refused = route.operation in PLATFORMS
        assert (own.status_code < 300) != refused or route.operation in NOTHING_TO_READ, (route.operation, own.text)
        assert not beta.is_shown_in(own), route.operation
        other = beta.ask(route, acme)
        if is_by_own(route, acme):
            assert other.status_code in (403, 404), (route.operation, other.text)
        elif not refused:
            assert other.status_code < 300, (route.operation, other.text)
            # What beta asked for in vain is on its own record, with acme's ids in it.
            is_told = acme.mark in other.text if route.operation == "list_audit" else acme.is_shown_in(other)
            assert not is_told, (route.operation, other.text)


def test_nobody_changes_or_calls_what_is_the_others(pair):
    acme, beta = pair
    kept = snapshot(acme)
    for route in asked():
        if route.method == "GET":
            continue
        answer = beta.ask(route, acme)
        assert answer.status_code < 500, (route.operation, answer.text)
        assert answer.status_code >= 300 or not acme.is_shown_in(answer), (route.operation, answer.text)
        if is_by_own(route, acme) or route.operation in PLATFORMS:
            assert answer.status_code in (403, 404), (route.operation, answer.status_code, answer.text)
        if route.operation == "invoke":
            assert answer.json()["output"] in (beta.mark, "stolen"), answer.text
    time.sleep(0.5)  # for what beta has begun; nothing of it may show
    now = snapshot(acme)
    assert now.keys() == kept.keys()
    for operation, text in kept.items():
        assert now[operation] == text, operation
    assert acme.send("POST", f"{F}/invoke", 1).json()["output"] == acme.mark


def snapshot(tenant: Tenant) -> dict[str, str]:
    """All that a tenant reads of its own, but what moves by itself."""
    read = {}
    for route in asked():
        if route.method == "GET" and route.operation not in MOVING | PLATFORMS:
            answer = tenant.ask(route, tenant)
            read[route.operation] = f"{answer.status_code} {MOVING_FIELDS.sub('', answer.text)}"
    return read
