from __future__ import annotations

import json

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator

from constellation.nova.api.openapi import document
from constellation.routes.registry import ROUTES


def _document():
    return json.loads(msgspec.json.encode(document(ROUTES, version="1.2.3")))


def test_the_document_is_openapi_3_1():
    assert list(OpenAPIV31SpecValidator(_document()).iter_errors()) == []


def test_each_route_is_there_with_its_permission():
    paths = _document()["paths"]
    for route in ROUTES:
        item = paths[route.template.replace(":path", "")]
        methods = ["get", "post", "put", "patch", "delete"] if route.method == "*" else [route.method.lower()]
        for method in methods:
            operation = item[method]
            assert operation["x-permission"] == route.permission.value
            assert operation["summary"] == route.summary
            key = {"$ref": "#/components/parameters/IdempotencyKey"}
            assert (key in operation["parameters"]) == route.takes_key
            assert ("requestBody" in operation) == (route.request is not None)
            assert str(route.status) in operation["responses"]
            assert (operation["security"] == []) == (route.permission.value == "public")


def test_every_kind_of_credential_is_said_and_every_route_takes_it():
    told = _document()
    schemes = told["components"]["securitySchemes"]
    kinds = {
        name: (scheme["type"], scheme.get("scheme"), scheme.get("bearerFormat")) for name, scheme in schemes.items()
    }
    assert kinds == {
        "ApiKey": ("apiKey", None, None),
        "Session": ("http", "bearer", None),
        "Jwt": ("http", "bearer", "JWT"),
    }
    for item in told["paths"].values():
        for operation in item.values():
            assert operation["security"] in ([], [{name: []} for name in schemes])


def test_a_browser_that_comes_back_is_sent_on_or_shown_a_code():
    told = _document()["paths"]["/auth/oidc/{provider}/callback"]["get"]
    assert "Location" in told["responses"]["303"]["headers"]
    assert list(told["responses"]["200"]["content"]) == ["text/plain"]
    assert {"401", "403", "404"} <= set(told["responses"])


def test_operation_ids_are_unique():
    ids = [operation["operationId"] for item in _document()["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_limits_and_descriptions_of_bodies_are_in_the_document():
    create = _document()["components"]["schemas"]["FunctionCreate"]
    assert create["properties"]["memory_mb"]["minimum"] == 32
    assert create["additionalProperties"] is False
    assert create["required"] == ["name"]
    assert "new function" in create["description"]
