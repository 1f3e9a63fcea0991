"""Mount comet's part of the route registry: who calls, may they, what do they ask; then the operation, then its answer.

The registry's table is the only router (zenith routes by the same), so Quart's own is bypassed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import anyio
import msgspec
import quart
import structlog
from anyio.abc import TaskGroup
from quart import Quart, Response

from constellation.base.clock import Clock
from constellation.base.errors import (
    ConstellationError,
    DeadlineExceeded,
    MethodNotAllowed,
    PayloadTooLarge,
    RouteNotFound,
)
from constellation.comet.dataplane.request import Answer, DataRequest
from constellation.comet.executor.budget import Budget, budget
from constellation.routes.permit import authorize_route
from constellation.routes.reading import params_of, query_of
from constellation.routes.registry import ROUTES, RouteTable, strip_version
from constellation.routes.route import Plane, Transport
from constellation.routes.telling import told_of
from constellation.rpc.caller import CALLER
from constellation.rpc.problems import PROBLEM_JSON, headers_of

log = structlog.get_logger()

Operation = Callable[[DataRequest], Awaitable[Any]]
App = Callable[..., Awaitable[None]]

ANSWER_S = 50.0  # chosen: a question of the history; less than zenith waits. Streams end by their own rules
_TASKS: ContextVar[TaskGroup] = ContextVar("tasks")
_BUDGET: ContextVar[Budget] = ContextVar("budget")


class Mount:
    """Answers every request of comet's data-plane routes."""

    def __init__(self, operations: Mapping[str, Operation], *, clock: Clock) -> None:
        routes = [route for route in ROUTES if route.plane is Plane.COMET and route.transport is Transport.PROXY]
        served = {route.operation for route in routes}
        assert served == operations.keys(), f"routes and operations differ: {sorted(served ^ operations.keys())}"
        self._table = RouteTable(routes)
        self._operations, self._clock = operations, clock
        self._app = Quart("constellation.comet", static_folder=None)
        self._app.config["MAX_CONTENT_LENGTH"] = None  # each route has its own limit
        self._app.before_request(self._answer)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI app. Identity comes from the context of the gRPC call around it."""
        async with anyio.create_task_group() as tasks:
            _TASKS.set(tasks)
            await self._app(scope, receive, send)
            tasks.cancel_scope.cancel()

    def limited(self, left_s: float | None) -> None:
        """Say how long the transport of this context's request waits."""
        _BUDGET.set(budget(self._clock.monotonic_s(), deadline_s=left_s))

    async def _answer(self) -> Response:
        request = quart.request
        try:
            return await self._serve(request.method, request.scope["path"], request.query_string, request)
        except ConstellationError as error:
            return problem_response(error)
        except Exception:  # the supervision point of one request: it costs this request only
            log.exception("request.failed", path=request.path[:200])
            return problem_response(ConstellationError("an internal error; the server's log has its trace"))

    async def _serve(self, method: str, path: str, query: bytes, request: Any) -> Response:
        found = self._table.match(method, strip_version(path))
        if found is None:
            raise RouteNotFound(path[:200])
        if isinstance(found, list):
            raise MethodNotAllowed(method, path[:200], allow=found)
        route, caller = found.route, CALLER.get()
        params = params_of(found.params)
        authorize_route(caller.identity, route, params)
        body: bytes = await request.get_data(cache=False)
        if route.max_body_bytes is not None and len(body) > route.max_body_bytes:
            raise PayloadTooLarge(limit_bytes=route.max_body_bytes)
        asked = DataRequest(
            route=route,
            caller=caller,
            budget=_BUDGET.get(),
            params=params,
            query=query_of(route, query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            tasks=_TASKS.get(),
        )
        operation = self._operations[route.operation]
        if route.streams and method == "HEAD":
            return Response(b"", status=route.status)  # nobody would read the stream
        if route.streams:
            answer = await operation(asked)
        else:
            with anyio.move_on_after(ANSWER_S) as scope:
                answer = await operation(asked)
            if scope.cancelled_caught:
                raise DeadlineExceeded(route.operation, after_s=ANSWER_S)
        whole = answer if isinstance(answer, Answer) else Answer(body=answer)
        response = _response(whole, route.status)
        response.headers.update(told_of(route, None, whole.body))
        return response


def _response(answer: Answer, status: int) -> Response:
    body = answer.body
    if isinstance(body, AsyncIterator):
        response = Response(body, status=answer.status or status, content_type=answer.content_type)
        response.timeout = None  # it ends when the function, the client or the plane does
    elif body is None:
        response = Response(b"", status=answer.status or status)
        del response.headers["Content-Type"]
    else:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        response = Response(data, status=answer.status or status, content_type=answer.content_type)
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response


def problem_response(error: ConstellationError) -> Response:
    """Return an error as RFC 9457 says, with the headers that go with its status."""
    body = msgspec.json.encode(error.problem())
    response = Response(body, status=error.http_status, content_type=PROBLEM_JSON)
    response.headers.update(headers_of(error))
    return response
