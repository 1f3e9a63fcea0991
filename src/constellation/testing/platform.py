"""A platform in memory behind the public API: every request and answer is checked against the route registry.

It keeps functions, keys, schedules and jobs as the real one does, and runs Python functions in a process each. What
it has not is isolation, time (schedules never fire, jobs run at once) and more than one node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import httpx
import msgspec

from constellation.base.errors import (
    ConstellationError,
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
    Unauthenticated,
)
from constellation.routes.models import access as a
from constellation.routes.models import functions as f
from constellation.routes.models import invocations as i
from constellation.routes.models.paging import page_facts
from constellation.routes.registry import Match, RouteTable, strip_version
from constellation.routes.route import Route
from constellation.testing.catalogue import Catalogue
from constellation.testing.running import Running
from constellation.testing.state import EXTENSIONS, Asked, Events
from constellation.testing.topics import Topics

TABLE = RouteTable()


class FakePlatform(Catalogue, Running, Topics):
    """State and rules. `handle` is what httpx's MockTransport takes; it serves both kinds of client."""

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.partition(b"?")[0].decode()
        self.requests.append((request.method, path))
        try:
            if self.refuse_next:
                raise self.refuse_next.pop(0)
            return self._answer(self._understood(request, path))
        except ConstellationError as error:
            headers = {"content-type": "application/problem+json"}
            if error.retry_after_s is not None:
                headers["retry-after"] = str(error.retry_after_s)
            return httpx.Response(error.http_status, content=msgspec.json.encode(error.problem()), headers=headers)

    def _understood(self, request: httpx.Request, path: str) -> Asked:
        match TABLE.match(request.method, strip_version(path)):
            case None:
                raise RouteNotFound(path)
            case list() as allow:
                raise MethodNotAllowed(request.method, path, allow=allow)
            case Match() as found:
                route = found.route
        if self.api_key is not None and request.headers.get("x-api-key") != self.api_key:
            raise Unauthenticated("this needs a valid API key")
        query = dict(request.url.params)
        unknown = set(query) - {known.name for known in route.query}
        if unknown:
            raise InvalidRequest(f"{route.operation} has no query parameter {unknown}")
        timeout = request.headers.get("x-nova-timeout-s")
        return Asked(
            route=route,
            scope=(request.headers.get("x-nova-tenant", "default"), request.headers.get("x-nova-namespace", "default")),
            params=found.params,
            query=query,
            body=self._body(route, request.content),
            timeout_s=float(timeout) if timeout else None,
        )

    @staticmethod
    def _body(route: Route, content: bytes) -> Any:
        if route.request is None:
            if content:
                raise InvalidRequest(f"{route.operation} takes no body")
            return None
        try:
            return msgspec.json.decode(content or b"{}", type=route.request)
        except msgspec.MsgspecError as error:
            raise InvalidRequest(str(error)) from error

    def _answer(self, asked: Asked) -> httpx.Response:
        act = cast("Callable[[Asked], Any]", getattr(self, asked.route.operation))
        value = act(asked)
        if isinstance(value, Events):
            text = b"".join(b"event: %s\ndata: %s\n\n" % (name.encode(), data) for name, data in value.items)
            return httpx.Response(200, content=text, headers={"content-type": "text/event-stream"})
        if isinstance(value, bytes):
            return httpx.Response(200, content=value, headers={"content-type": "text/plain; charset=utf-8"})
        if asked.route.status == 204:
            return httpx.Response(204)
        if isinstance(value, list):
            value = self._page(value, asked)
        content = msgspec.json.encode(value)
        if asked.route.response is not None:
            msgspec.json.decode(content, type=asked.route.response)  # the fake keeps the registry's promise, or fails
        return httpx.Response(asked.route.status, content=content, headers={"content-type": "application/json"})

    @staticmethod
    def _page(items: list[Any], asked: Asked) -> dict[str, Any]:
        limit, offset = int(asked.query.get("limit", "100")), int(asked.query.get("offset", "0"))
        shown = items[offset : offset + limit]
        facts = page_facts(limit=limit, offset=offset, returned=len(shown), total=len(items))
        return {"items": shown, "pagination": facts}

    # --- the platform

    def health(self, _: Asked) -> dict[str, Any]:
        return {"status": "ok", "components": {"zenith": "healthy", "nova": "healthy", "comet": "healthy"}}

    health_ready = health_live = health_startup = health

    def openapi(self, _: Asked) -> dict[str, Any]:
        return {"openapi": "3.1.0"}

    def whoami(self, asked: Asked) -> a.WhoAmI:
        tenant, namespace = asked.scope
        return a.WhoAmI(
            subject="test",
            tenant=tenant,
            namespace=namespace,
            permissions=["function:read"],
            is_platform_admin=True,
            rate_per_s=0.0,
            burst=0,
        )

    def stats(self, asked: Asked) -> i.StatsBody:
        names = sorted(name for *scope, name in self.functions if tuple(scope) == asked.scope)
        found = [i.FunctionStatsBody(function=name, idle=0, busy=0, booting=0, inflight=0, queued=0) for name in names]
        return i.StatsBody(node="fake", instances=0, uptime_s=1.0, functions=found)

    def list_backends(self, _: Asked) -> i.BackendsBody:
        found = i.BackendBody(name="none", available=True, reason="", is_default=True, limits={"memory": "none"})
        return i.BackendsBody(backends=[found])

    def list_runtimes(self, _: Asked) -> list[f.RuntimeBody]:
        return [
            f.RuntimeBody(
                id=name,
                name=name,
                version="1",
                status="available",
                reason="",
                default_handler="main.handler",
                file_extension=extension,
                functions_count=0,
            )
            for name, extension in EXTENSIONS.items()
        ]
