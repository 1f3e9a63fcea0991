"""The public API as an OpenAPI 3.1 document, made from the route registry and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from constellation.nova.api.request import ApiRequest
from constellation.nova.api.statuses import REASONS, answers_freely, refusals, repeats
from constellation.nova.domain import names
from constellation.nova.domain.access import Permission
from constellation.routes.reading import FORM
from constellation.routes.route import Query, Route

JSON, PROBLEM, EVENTS, ANYTHING = "application/json", "application/problem+json", "text/event-stream", "*/*"
_ANY_METHOD = ("get", "post", "put", "patch", "delete")  # what "*" is written out as
_PARAMETER = re.compile(r"\{([a-z_]+)(?::path)?\}")

_NAME, _SCOPE_NAME = {"type": "string", "pattern": names.FUNCTION}, {"type": "string", "pattern": names.SCOPE}
# Of what stands in a path.
_SCHEMAS: dict[str, dict[str, Any]] = {
    "name": _NAME,
    "store": _NAME,
    "tenant": _SCOPE_NAME,
    "namespace": _SCOPE_NAME,
    "id": {"type": "string", "format": "uuid"},
    "version": {"type": "integer", "minimum": 1},
    "other": {"type": "integer", "minimum": 1},
    "pid": {"type": "integer", "minimum": 1},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
}


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """An error as RFC 9457 says. `code` is stable; some codes bring more members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    retry_after_s: int | None = None
    field: str | None = None


def document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """Return the whole document."""
    types = [type_ for route in routes for type_ in (route.request, route.response) if type_ not in (None, bytes)]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    schema_of: dict[Any, dict[str, Any]] = dict(zip([*types, Problem], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        item = paths.setdefault(_PARAMETER.sub(r"{\1}", route.template), {})
        methods = _ANY_METHOD if route.method == "*" else (route.method.lower(),)
        for method in methods:
            name = route.operation if len(methods) == 1 else f"{route.operation}_{method}"
            item[method] = _operation(route, name, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Constellation",
            "version": version,
            "description": "Functions, run in sandboxes, called over HTTP. Errors are problems (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}, {"url": "/v1"}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(route) for route in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "A key of `POST /apikeys`; also `Authorization: ApiKey KEY` or `Bearer KEY`.",
                },
                "Session": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a session (`ss_...`): of `POST /auth/login` with a password, or of "
                    "`POST /auth/oidc/token` after a login at a provider of OpenID Connect (`GET /auth/providers`; "
                    "authorization code flow with PKCE, begun by `POST /auth/oidc/{provider}/login`). What the "
                    "provider itself hands out is no credential here. `POST /auth/logout` ends it.",
                },
                "Jwt": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A signed token (RS256, ES256 or HS256) of an issuer that `auth.issuers` of the "
                    "configuration trusts, for the audience that it names.",
                },
            },
            "parameters": {
                "Tenant": _header(
                    "X-Nova-Tenant", "The tenant to act in; absent or empty: the credential's own", f"^$|{names.SCOPE}"
                ),
                "Namespace": _header(
                    "X-Nova-Namespace",
                    "The namespace to act in; absent or empty: the credential's own",
                    f"^$|{names.SCOPE}",
                ),
                "IfMatch": _header(
                    "If-Match", "The ETag of an earlier answer: do it only if nothing was changed since", r"^[ -~]+$"
                ),
                "IdempotencyKey": _header(
                    "Idempotency-Key",
                    "1 to 256 visible characters, within the function: a request that repeats an answered one gets its "
                    "answer again, with X-Idempotency-Status: replay; of those at once one runs. With another payload: "
                    "422 idempotency_mismatch",
                    r"^[!-~]{1,256}$",
                ),
            },
        },
    }


def _operation(route: Route, name: str, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    is_public = route.permission is Permission.PUBLIC
    parameters: list[dict[str, Any]] = [
        {"name": parameter, "in": "path", "required": True, "schema": _SCHEMAS.get(parameter, {"type": "string"})}
        for parameter in _PARAMETER.findall(route.template)
    ]
    parameters += [
        {
            "name": query.name,
            "in": "query",
            "schema": _query_schema(query),
            **({"description": query.about} if query.about else {}),
        }
        for query in route.query
    ]
    if route.takes_key:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if route.takes_match:
        parameters.append({"$ref": "#/components/parameters/IfMatch"})
    if not is_public:
        parameters += [{"$ref": "#/components/parameters/Tenant"}, {"$ref": "#/components/parameters/Namespace"}]
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": route.summary,
        "description": "Needs no credential." if is_public else f"Needs the permission `{route.permission.value}`.",
        "tags": [_tag(route)],
        "parameters": parameters,
        "responses": _responses(route, schema_of),
        "security": [] if is_public else [{"ApiKey": []}, {"Session": []}, {"Jwt": []}],
        "x-permission": route.permission.value,
    }
    if route.request is not None:
        content = (
            {ANYTHING: {}}
            if route.request is bytes
            else {FORM if route.takes_form else JSON: {"schema": schema_of[route.request]}}
        )
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _query_schema(query: Query) -> dict[str, Any]:
    bounds = {"minimum": query.low, "maximum": query.high}
    return {"type": query.type, **{name: bound for name, bound in bounds.items() if bound is not None}}


def _responses(route: Route, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": REASONS[route.status]}
    if route.response is not None:
        answer["content"] = {JSON: {"schema": schema_of[route.response]}}
    elif route.media_types:
        answer["content"] = {media_type: {} for media_type in route.media_types}
    elif route.streams:
        answer["content"] = {EVENTS if route.method == "GET" else ANYTHING: {}}
    elif route.status != 204:
        answer["content"] = {JSON if route.method == "GET" else ANYTHING: {}}
    if route.has_tag:
        answer["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "For If-Match"}}
    besides: dict[str, Any] = {}
    if repeats(route):
        besides["200"] = {**answer, "description": "The answer of before: the key was there already"}
    if route.status == 303:  # where the browser can be sent on to
        besides["200"] = {"description": REASONS[200], "content": answer.pop("content")}
        answer["headers"] = {"Location": {"schema": {"type": "string", "format": "uri"}}}
    responses = {
        **besides,
        str(route.status): answer,
        **{
            str(status): {"description": REASONS[status], "content": {PROBLEM: {"schema": schema_of[Problem]}}}
            for status in refusals(route)
        },
    }
    if answers_freely(route):
        responses["default"] = {"description": "Whatever the function or the server behind it answers"}
    return responses


def _header(name: str, about: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": about}


def _tag(route: Route) -> str:
    return route.template.split("/")[1].removesuffix(".json") or "root"


class OpenApiRoutes:
    """The document itself, made once."""

    def __init__(self, routes: Sequence[Route], *, version: str) -> None:
        self._document = msgspec.Raw(msgspec.json.encode(document(routes, version=version)))

    async def openapi(self, _call: ApiRequest[None]) -> msgspec.Raw:
        return self._document
