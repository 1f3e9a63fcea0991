"""The client has what the registry has."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from constellation.client import (
    calls,
    database_calls,
    docs_calls,
    entrances,
    executions,
    gateway_calls,
    people_calls,
    quota_calls,
    sandbox_calls,
    slo_calls,
    topics,
    versions,
)
from constellation.client.operations import Listing, Operation, Operations, Streaming
from constellation.routes.registry import ROUTES
from constellation.routes.route import Route

# Every operation is a method, but for these.
WITHOUT_METHOD = {
    "health_live": "a probe for whoever runs the process",
    "end_oidc_sessions": "a provider tells of a logout",
    "return_oidc_login": "where a browser comes by on its way",
    "health_startup": "a probe for whoever runs the process",
    "sandbox_terminal": "a WebSocket: constellation.client.Terminal opens it",
    "sandbox_port": "any HTTP client calls it: what is asked and answered is the affair of the server in the sandbox",
    "function_url": "any HTTP client calls it: method, headers and body are the function's own",
    "function_url_path": "any HTTP client calls it: method, headers and body are the function's own",
    "public_url": "any HTTP client calls it: method, headers and body are the function's own",
    "public_url_path": "any HTTP client calls it: method, headers and body are the function's own",
}
METHODS = {
    name: value for name, value in vars(Operations).items() if isinstance(value, Operation | Listing | Streaming)
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_every_operation_is_a_method_or_has_a_reason(route: Route):
    assert (route.operation in METHODS) != (route.operation in WITHOUT_METHOD)


def test_no_method_is_without_an_operation():
    assert set(METHODS) <= {route.operation for route in ROUTES}


def sample(parameter: inspect.Parameter) -> Any:
    """A value that a required parameter can have."""
    kinds = {
        "str": "x",
        "int": 1,
        "bytes": b"x",
        "x.SandboxExec": {"command": "true"},
        "x.SandboxCode": {"code": "1"},
        "x.SandboxExpose": {"port": 1},
        "UUID": "0190a0a0-0000-7000-8000-000000000000",
        "f.FunctionCreate": {"name": "x", "runtime": "python", "code": "x"},
        "f.CapacityPolicyBody": {},
        "s.ScheduleCreate": {"cron": "@hourly"},
        "a.ApiKeyCreate": {"name": "x"},
        "a.TenantCreate": {"id": "x"},
        "a.NamespaceCreate": {"name": "x"},
        "e.DurableInvoke": {},
        "g.DomainCreate": {"host": "x.example.org"},
        "g.GatewayRouteCreate": {"host": "x.example.org", "path": "/", "function": "x"},
        "dbs.DatabaseCreate": {"name": "x"},
        "dbs.DatabaseUpdate": {"limits": {}},
        "t.TopicCreate": {"name": "x"},
        "t.SubscriptionCreate": {"name": "x", "function": "f"},
        "object": 1,
        "Sequence[Mapping[str, Any]]": [{"payload": 1}],
        "datetime": datetime(2026, 1, 1, tzinfo=UTC),
        "u.FunctionUrlSettings": {},
        "p.ServiceAccountCreate": {"name": "x"},
        "p.Login": {"user": "x", "password": "x"},
        "p.OidcBegin": {"challenge": "x" * 43},
        "p.OidcFinish": {"code": "x", "verifier": "x" * 43},
        "p.PasswordChange": {"current": "x", "new": "x" * 8},
        "p.PasswordReset": {"password": "x" * 8},
        "p.UserCreate": {"name": "x", "password": "x" * 8},
        "p.RoleCreate": {"name": "x", "permissions": ["log:read"]},
        "p.BindingCreate": {"subject": "user:x", "role": "viewer"},
        "v.AliasPut": {"version": 1},
        "c.CanaryStart": {"alias": "x", "version": 1},
        "ing.IngressPolicyBody": {},
        "m.SloPolicyBody": {},
        "g.GatewayRoutesPut": {"routes": []},
        "q.QuotaSet": {"limit": 1},
        "q.TierPut": {},
    }
    kind = str(parameter.annotation)
    modules = (
        calls,
        database_calls,
        docs_calls,
        entrances,
        executions,
        gateway_calls,
        people_calls,
        quota_calls,
        sandbox_calls,
        slo_calls,
        topics,
        versions,
    )
    known = {name: value for module in modules for name, value in vars(module).items()}
    model = eval(kind, known) if "." in kind else None
    return msgspec.convert(kinds.get(kind, {}), model) if model is not None else kinds[kind]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_call_has_the_route_and_the_types_of_the_registry(name: str):
    build = METHODS[name].build
    required = [p for p in inspect.signature(build).parameters.values() if p.default is p.empty]
    call = build(*map(sample, required))
    route = next(route for route in ROUTES if route.operation == name)
    assert call.route is route
    assert route.pattern.fullmatch(call.path)
    assert set(call.query) <= {query.name for query in route.query}
    if route.response is not None:
        assert call.reply == route.response
        assert isinstance(METHODS[name], Listing) == ("Page" in str(route.response))
    assert isinstance(METHODS[name], Streaming) == route.streams
    assert (call.content is not None) == (route.request is not None)
    if route.request not in (None, bytes):
        msgspec.json.decode(call.content, type=route.request)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_method_is_documented(name: str):
    assert METHODS[name].build.__doc__
