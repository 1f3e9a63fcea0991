"""Mount the registry's routes: who calls, may they, what do they send; then the operation; then its answer as JSON.

The registry is the only router; its table also serves zenith.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import anyio
import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from constellation.aurora.metrics.registry import DURATION_BUCKETS_S
from constellation.base.errors import (
    ConstellationError,
    DeadlineExceeded,
    MethodNotAllowed,
    Overloaded,
    RouteNotFound,
    TenantSuspended,
)
from constellation.base.ids import RequestId
from constellation.nova.api.http import CallerGone, HttpAnswer, HttpRequest, Message, Receive, Send
from constellation.nova.api.request import ApiRequest, Redirect, Shown, Tagged
from constellation.nova.domain.access import Identity, Permission
from constellation.nova.domain.tenancy import Tenant, TenantStatus
from constellation.routes.permit import authorize_route
from constellation.routes.reading import FORM, decode_body, decode_form, params_of, query_of, window_of
from constellation.routes.registry import RouteTable, strip_version
from constellation.routes.route import PAGING, Route
from constellation.routes.telling import told_of
from constellation.rpc.caller import CallerVerifier
from constellation.rpc.hangup import HangupWatch
from constellation.rpc.http import live
from constellation.rpc.metadata import CLIENT, REQUEST_ID, request_id_from
from constellation.rpc.problems import PROBLEM_JSON, headers_of

log = structlog.get_logger()

Operation = Callable[[ApiRequest[Any]], Awaitable[Any]]

REQUEST_BUDGET_S = 30.0  # chosen: longer than the database's statement and acquire timeouts together
STREAM_BUDGET_S = 660.0  # chosen: until a stream begins; a model thinks for ai.timeout at most, ten minutes
BODY_WAIT_S = 20.0  # chosen: 16 MiB at 1 MiB/s, which a slow uplink still makes
MAX_REQUESTS = 256  # chosen: in hand at a time; the database pool is far smaller and waits in line itself
_LARGE_BODY_BYTES = 256 << 10  # decoding more than this takes over 1 ms, so it goes to a thread

# Who asks without an identity: public and internal routes.
NOBODY = Identity(
    tenant="", namespace="", subject="nobody", permissions=frozenset(), is_platform_admin=False, expires_at_s=0
)


class TenantStates(Protocol):
    """Knows whether a tenant is suspended."""

    async def try_get_tenant(self, tenant: str) -> Tenant | None: ...


def operations_of(*groups: object) -> dict[str, Operation]:
    """Return the public coroutine methods of some objects by name."""
    found: dict[str, Operation] = {}
    for group in groups:
        for name, method in inspect.getmembers(group, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                assert name not in found, f"two operations are called {name}"
                found[name] = method
    return found


class Mount:
    """Answers every request to the control plane."""

    def __init__(
        self,
        *,
        routes: Sequence[Route],
        operations: Mapping[str, Operation],
        verifier: CallerVerifier,
        tenants: TenantStates,
        max_body_bytes: int,
        registry: CollectorRegistry,
    ) -> None:
        served = {route.operation for route in routes}
        assert served == operations.keys(), f"routes and operations differ: {sorted(served ^ operations.keys())}"
        self._table = RouteTable(routes)
        self._operations, self._verifier, self._tenants = operations, verifier, tenants
        self._max_body_bytes = max_body_bytes
        self._in_hand = 0
        self._hangups = HangupWatch()
        self._counted: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._decoding = anyio.CapacityLimiter(1)  # of large bodies; the loop keeps the other core
        self._requests = Counter(
            "constellation_nova_requests", "Answered requests", ["operation", "status"], registry=registry
        )
        self._duration = Histogram(
            "constellation_nova_request_duration_seconds",
            "From the request's head to the answer's head",
            ["operation"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve as an ASGI app."""
        if scope["type"] == "lifespan":
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._hangups.run)
                await live(receive, send)
                tasks.cancel_scope.cancel()
            return
        request = HttpRequest(scope, receive, send)
        with suppress(CallerGone), self._hangups.over(request):
            await request.answer(await self._answer(request))

    async def _answer(self, request: HttpRequest) -> HttpAnswer:
        request_id = request_id_from(request.headers.get(REQUEST_ID, ""))
        began_s, operation = time.perf_counter(), "none"
        with structlog.contextvars.bound_contextvars(request_id=str(request_id)):
            try:
                self._verifier.verify_service(request.headers)
                route, params = self._route(request.method, strip_version(request.path))
                operation = route.operation
                answer = await self._serve(request, route, params, request_id)
            except ConstellationError as error:
                if error.http_status >= 500:
                    log.warning("request.failed", operation=operation, code=error.code, detail=str(error))
                answer = problem_answer(error)
            except CallerGone:
                raise
            except Exception:  # the supervision point of one request: it costs this request only
                log.exception("request.broke", operation=operation)
                answer = problem_answer(ConstellationError("an internal error; the server's log has its trace"))
        answer.headers[REQUEST_ID] = str(request_id)
        self._count(operation, answer.status, time.perf_counter() - began_s)
        return answer

    def _count(self, operation: str, status: int, took_s: float) -> None:
        """Count an answer; children are kept, as looking one up costs more than counting."""
        kept = self._counted.get((operation, status))
        if kept is None:
            kept = self._requests.labels(operation, str(status)), self._duration.labels(operation)
            self._counted[operation, status] = kept
        kept[0].inc()
        kept[1].observe(took_s)

    def _route(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        found = self._table.match(method, path)
        if found is None:
            raise RouteNotFound(path[:200])
        if isinstance(found, list):
            raise MethodNotAllowed(method, path[:200], allow=_with_head(found))
        if method == "HEAD" and found.route.streams:  # it would hold the connection and never say a word
            raise MethodNotAllowed(method, path[:200], allow=["GET"])
        return found.route, params_of(found.params)

    async def _serve(
        self, request: HttpRequest, route: Route, params: dict[str, str], request_id: RequestId
    ) -> HttpAnswer:
        if self._in_hand >= MAX_REQUESTS:
            raise Overloaded("nova", limit=MAX_REQUESTS)
        self._in_hand += 1
        try:
            budget_s = STREAM_BUDGET_S if route.streams else REQUEST_BUDGET_S
            with anyio.fail_after(budget_s):
                return await self._run(request, route, params, request_id)
        except TimeoutError as error:
            raise DeadlineExceeded(route.operation, after_s=budget_s) from error
        finally:
            self._in_hand -= 1

    async def _run(
        self, request: HttpRequest, route: Route, params: dict[str, str], request_id: RequestId
    ) -> HttpAnswer:
        identity = NOBODY
        if route.permission is not Permission.PUBLIC:
            identity = self._verifier.verify(request.headers).identity
            authorize_route(identity, route, params)
            await self._refuse_suspended(route, identity)
        query = query_of(route, request.query)
        call: ApiRequest[Any] = ApiRequest(
            identity=identity,
            params=params,
            query=query,
            window=window_of(query if PAGING[0] in route.query else {}),
            body=await self._body(request, route),
            request_id=request_id,
            if_match=request.first("if-match") if route.takes_match else None,
            client=request.headers.get(CLIENT, "")[:64],
        )
        answer = await self._operations[route.operation](call)
        if route.streams:
            media_type = route.media_types[0] if route.media_types else "application/x-ndjson"
            return HttpAnswer(status=200, content_type=media_type, body=answer)
        if isinstance(answer, Redirect | Shown):
            return _page_answer(answer)
        is_tagged = isinstance(answer, Tagged)
        body = answer.body if is_tagged else answer
        return HttpAnswer(
            status=route.status,
            content_type="application/json",
            body=b"" if body is None else msgspec.json.encode(body),
            headers=({"ETag": answer.tag} if is_tagged else {}) | told_of(route, call.body, body),
        )

    async def _refuse_suspended(self, route: Route, identity: Identity) -> None:
        if route.method == "GET" or (route.permission is Permission.TENANT_MANAGE and identity.is_platform_admin):
            return
        tenant = await self._tenants.try_get_tenant(identity.tenant)
        if tenant is not None and tenant.status is TenantStatus.SUSPENDED:
            raise TenantSuspended(tenant.id)

    async def _body(self, request: HttpRequest, route: Route) -> Any:
        if route.request is None:
            return None
        limit_bytes = min(route.max_body_bytes or self._max_body_bytes, self._max_body_bytes)
        if route.takes_form:
            return decode_form(
                await request.body(limit_bytes=limit_bytes, wait_s=BODY_WAIT_S, wanted=FORM), route.request
            )
        data = await request.body(limit_bytes=limit_bytes, wait_s=BODY_WAIT_S)
        if len(data) <= _LARGE_BODY_BYTES:
            return decode_body(data, route.request)
        return await anyio.to_thread.run_sync(decode_body, data, route.request, limiter=self._decoding)


def problem_answer(error: ConstellationError) -> HttpAnswer:
    """Return an error as RFC 9457 says, with the headers that go with its status."""
    return HttpAnswer(
        status=error.http_status,
        content_type=PROBLEM_JSON,
        body=msgspec.json.encode(error.problem()),
        headers=dict(headers_of(error)),
    )


def _page_answer(answer: Redirect | Shown) -> HttpAnswer:
    """Return what a browser gets. It may have a code in it: no cache keeps it, and no page is told of it."""
    headers = {
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    if isinstance(answer, Redirect):
        headers["location"] = answer.location
        return HttpAnswer(status=303, content_type="text/html; charset=utf-8", body=b"", headers=headers)
    return HttpAnswer(status=200, content_type="text/plain; charset=utf-8", body=answer.text.encode(), headers=headers)


def _with_head(methods: list[str]) -> list[str]:
    return sorted({*methods, "HEAD"}) if "GET" in methods else methods
