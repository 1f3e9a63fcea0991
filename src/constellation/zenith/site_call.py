"""A request that a route serves, as a call: it fits the schemas, becomes an event, is made again where that is safe, and its
answer becomes the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import msgspec
from msgspec import UNSET

from constellation.base.errors import ConstellationError, UnsupportedMediaType
from constellation.base.json_schema import Checker
from constellation.nova.domain.gateway import Auth, Found
from constellation.nova.domain.mapping import (
    Missing,
    RequestFacts,
    ResponseRules,
    body_of_rules,
    event_of_rules,
    headers_of_rules,
    status_of_rules,
)
from constellation.routes.models.gateway import ServedRouteBody
from constellation.routes.models.gateway_policy import RequestSchemas
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2
from constellation.zenith.calls import REPLAYED
from constellation.zenith.errors import MappingFailed, RequestUnfit, ResponseMappingFailed
from constellation.zenith.execution import Execution
from constellation.zenith.headers import function_headers
from constellation.zenith.http_event import HttpAnswer, answer_of, event_of, facts_of
from constellation.zenith.invoke import GRACE_S, failure_of
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.retries import Budgets, Tries
from constellation.zenith.site_values import as_typed, cookies_of, headers_of, query_of
from constellation.zenith.sites import Site

_OURS = (b"sk_", b"ss_")  # how API keys and session tokens begin
_NO_SCHEMAS, _NO_RULES = RequestSchemas(), ResponseRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRequest:
    """A request that was let in."""

    request: Request
    site: Site
    found: Found[ServedRouteBody]
    access: Access
    body: bytes


@dataclass(slots=True, kw_only=True)
class SiteCalls:
    """Makes the calls of routes, and maps what goes in and comes out."""

    execution: Execution
    max_timeout_s: float
    schemas: Checker = field(default_factory=Checker)
    budgets: Budgets = field(default_factory=Budgets)

    async def check(self, asked: SiteRequest) -> None:
        """Let a request through that fits the schemas of its route.

        Raises:
            RequestUnfit, UnsupportedMediaType, SchemaTooSlow, Overloaded.
        """
        schemas, request = asked.found.route.policy.schema, asked.request
        if schemas == _NO_SCHEMAS:
            return
        parts: dict[str, tuple[bytes, bytes]] = {}
        if schemas.body is not None:
            kind = request.single.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if (
                kind
                and kind != b"application/json"
                and not (kind.startswith(b"application/") and kind.endswith(b"+json"))
            ):
                raise UnsupportedMediaType(kind.decode("latin-1"))
            if not asked.body:
                raise RequestUnfit([{"in": "body", "pointer": "", "message": "it is missing"}])
            parts["body"] = (msgspec.json.encode(schemas.body), asked.body)
        texts: dict[str, Callable[[], dict[str, list[str]]]] = {
            "query": lambda: query_of(request),
            "headers": lambda: {name: [value] for name, value in headers_of(request).items()},
            "path": lambda: {name: [value] for name, value in asked.found.params.items()},
        }
        for part, values in texts.items():
            schema = getattr(schemas, part)
            if schema is not None:
                parts[part] = (msgspec.json.encode(schema), msgspec.json.encode(as_typed(schema, values())))
        faults = await self.schemas.faults(parts, owner=asked.site.tenant)
        if faults:
            raise RequestUnfit(
                [{"in": fault.part, "pointer": fault.pointer, "message": fault.message} for fault in faults]
            )

    def event(self, asked: SiteRequest) -> bytes:
        """Return the event that a request is to its function. Raises `MappingFailed`."""
        request, route = asked.request, asked.found.route
        if not route.policy.request:
            return event_of(request, path=request.path, body=asked.body, more=_place_of(asked), own=_own(asked))
        return msgspec.json.encode(_ruled(asked))

    def socket_facts(self, asked: SiteRequest) -> dict[str, Any]:
        """Return what the events of a WebSocket say of its handshake. Raises `MappingFailed`."""
        request, route = asked.request, asked.found.route
        if route.policy.request:
            made: dict[str, Any] = _ruled(asked)
            return made
        return {**facts_of(request, path=request.path, own=_own(asked)), **_place_of(asked)}

    async def answer(self, asked: SiteRequest, call: nova_pb2.InvokeRequest, context: CallContext) -> HttpAnswer:
        """Make a call, again where the route's policy lets it, and return what its answer is to the client.

        Raises:
            RouteBreakerOpen, ResponseMappingFailed
            ConstellationError: as `Execution.invoke`.
        """
        request, route = asked.request, asked.found.route
        with asked.site.guard(route) as outcome:
            answer = await self._tried(asked, call, context)
            rules = route.policy.response
            made = answer
            if rules != _NO_RULES:
                made = mapped(route.function, rules, answer, request_id=str(request.request_id))
            if REPLAYED not in request.also:  # else nothing was run
                outcome.answered(answer.status)
        return made

    def tries(self, route: ServedRouteBody, method: str) -> Tries:
        """Return the tries that a call of a route has."""
        policy = route.policy
        within_s = policy.timeout_s or self.max_timeout_s
        return Tries(policy.retry, method=method, budgets=self.budgets, route=str(route.id), within_s=within_s)

    async def _tried(self, asked: SiteRequest, call: nova_pb2.InvokeRequest, context: CallContext) -> HttpAnswer:
        request = asked.request
        tries = self.tries(asked.found.route, request.method)
        while True:
            try:
                answer = await self._once(asked, call, context, left_s=tries.left_s)
                pause_s = tries.after_answer(answer.status)
            except ConstellationError as error:
                pause_s = tries.after_error(error)
                if pause_s is None:
                    request.also.extend(tries.said())
                    raise
            if pause_s is None:
                request.also.extend(tries.said())
                return answer
            await anyio.sleep(pause_s)

    async def _once(
        self, asked: SiteRequest, call: nova_pb2.InvokeRequest, context: CallContext, *, left_s: float
    ) -> HttpAnswer:
        if call.timeout_ms:
            call.timeout_ms = max(1, round(min(left_s, self.max_timeout_s) * 1000))
        reply = await self.execution.invoke(call, token=asked.access.token, context=context, timeout_s=left_s + GRACE_S)
        if reply.replayed:
            asked.request.also.append(REPLAYED)
        if reply.error:
            raise failure_of(call.function, reply.error)
        return answer_of(call.function, reply.output or b"null")


def mapped(function: str, rules: ResponseRules, answer: HttpAnswer, *, request_id: str) -> HttpAnswer:
    """Return what rules make of an answer. Raises `ResponseMappingFailed`."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    headers.setdefault("content-type", answer.content_type.decode("latin-1"))
    body: Any = UNSET
    if rules.body or rules.headers:
        try:
            body = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, RecursionError):
            body = UNSET
    status = status_of_rules(rules, answer.status)
    seen: dict[str, Any] = {"status": answer.status, "headers": headers, "request_id": request_id, "body": body}
    made, content_type = answer.body, answer.content_type
    if rules.body and answer.status < 300:
        if body is UNSET:
            raise ResponseMappingFailed(function, "its body is no JSON")
        try:
            made, content_type = msgspec.json.encode(body_of_rules(rules, **seen)), b"application/json"
        except Missing as error:
            source, why = error.places[0]
            raise ResponseMappingFailed(function, f"{source} {why}") from error
    put = function_headers(headers_of_rules(rules, **seen).items())
    gone = {name.encode() for name, _ in seen["headers"].items() if name in map(str.lower, rules.remove_headers)}
    gone |= {name for name, _ in put}
    content_type = next((value for name, value in put if name == b"content-type"), content_type)
    kept = [pair for pair in answer.headers if pair[0] not in gone]
    kept += [pair for pair in put if pair[0] != b"content-type"]
    return replace(answer, status=status, headers=kept, body=made, content_type=content_type)


def _caller(asked: SiteRequest) -> str:
    return "" if asked.found.route.auth == Auth.NONE else asked.access.identity.subject


def _place_of(asked: SiteRequest) -> dict[str, Any]:
    """Return what an event says of its route."""
    caller = _caller(asked)
    return {
        "host": asked.site.host, "route": asked.found.route.path, "path_params": asked.found.params,
        **({"caller": caller} if caller else {}),
    }  # fmt: skip


def _ruled(asked: SiteRequest) -> Any:
    """Return what the rules of a route make of a request. Raises `MappingFailed`."""
    request = asked.request
    headers = headers_of(request)
    facts = RequestFacts(
        texts={
            "query": {name: values[0] for name, values in query_of(request).items()},
            "path": asked.found.params,
            "headers": headers,
            "cookies": cookies_of(headers),
        },
        facts={
            "method": request.method,
            "host": asked.site.host,
            "url": request.path,
            "source_ip": "" if request.address is None else str(request.address),
            "request_id": str(request.request_id),
            "caller": _caller(asked),
        },
        body=_json_body(asked.body),
    )
    try:
        return event_of_rules(asked.found.route.policy.request, facts)
    except Missing as error:
        raise MappingFailed(error.places) from error


def _json_body(body: bytes) -> Callable[[], Any]:
    """Return what decodes a body once it is wanted."""
    decoded: list[Any] = []

    def decode() -> Any:
        if not decoded:
            try:
                decoded.append(msgspec.json.decode(body) if body else None)
            except (msgspec.DecodeError, RecursionError) as error:
                raise Missing([("body", f"is no JSON: {error}"[:200])]) from error
        return decoded[0]

    return decode


def _own(asked: SiteRequest) -> tuple[tuple[bytes, bytes], ...]:
    """Return the Authorization of a request that the platform asks for none: it is the function's to judge.

    A credential of the platform that came by mistake is not shown to it.
    """
    given = asked.request.single.get(b"authorization", b"") if asked.found.route.auth == Auth.NONE else b""
    return () if not given or any(begin in given for begin in _OURS) else ((b"authorization", given),)
