"""The ASGI app: one request from its head to its last byte, whatever goes wrong between."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from typing import Protocol

import structlog

from constellation.base.errors import ConstellationError
from constellation.routes.registry import Match, strip_version
from constellation.routes.route import Route, Transport
from constellation.rpc.hangup import HangupWatch
from constellation.rpc.http import live
from constellation.zenith.audit import AuditTrail
from constellation.zenith.doorman import Doorman
from constellation.zenith.errors import ClientGone
from constellation.zenith.limits import Admission, Budget
from constellation.zenith.metrics import GatewayMetrics
from constellation.zenith.principals import Access
from constellation.zenith.proxies import Proxies
from constellation.zenith.request import Message, Receive, Request, Send
from constellation.zenith.routing import Router
from constellation.zenith.site_requests import SiteRequests
from constellation.zenith.sites import Site, Sites
from constellation.zenith.socket_request import FAILED, SocketRequest, check_socket

log = structlog.get_logger()

_GONE = 499  # counted, never sent


class Handler(Protocol):
    """Answers the requests of some routes. `access` is None on public ones."""

    def __call__(self, request: Request, match: Match, access: Access | None, /) -> Awaitable[None]: ...


class Gateway:
    """Routes, admits and hands over; every failure becomes a problem, or, once an answer has begun, a cut connection."""

    def __init__(
        self,
        *,
        router: Router,
        doorman: Doorman,
        handlers: Mapping[str, Handler],
        gate: Admission,
        budget: Budget,
        hangups: HangupWatch,
        metrics: GatewayMetrics,
        audit: AuditTrail,
        sites: Sites,
        site_requests: SiteRequests,
        proxies: Proxies,
    ) -> None:
        self._sites, self._site_requests = sites, site_requests
        self._proxies = proxies
        self._router, self._doorman, self._handlers = router, doorman, handlers
        self._gate, self._budget, self._hangups, self._metrics = gate, budget, hangups, metrics
        self._audit = audit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        site = self._sites.find(scope["headers"])
        path = scope["raw_path"].decode("latin-1")
        if site is None:
            path = strip_version(path)  # a tenant's paths are its own
        if scope["type"] == "http":
            await self._serve(Request(scope, receive, send, path=path), site)
        elif scope["type"] == "websocket":
            await self._serve(SocketRequest(scope, receive, send, path=path), site)

    async def _serve(self, request: Request, site: Site | None) -> None:
        began_s = time.perf_counter()
        route: Route | None = None
        refusal: ConstellationError | None = None
        operation = "unrouted"
        try:
            request.read_head()
            request.address = self._proxies.client_of(request.client[0] if request.client else None, request.headers)
            if site is not None:
                operation = "domain"
                with self._gate.admitted(), self._hangups.over(request):
                    await self._site_requests.serve(request, site)
                return
            match = self._router.find(request.method, request.path)
            route = match.route
            operation = route.operation
            handler = self._handlers[operation]
            if isinstance(request, SocketRequest):
                check_socket(route)
            with self._gate.admitted():
                # Whether anybody is asked who comes by a function's URL is for the function to say: its handler sees to it.
                is_asked = route.transport is not Transport.FUNCTION_URL
                access = await self._doorman.admit(request, match) if is_asked else None
                with self._hangups.over(request):
                    await handler(request, match, access)
        except ClientGone:
            request.gone = True
        except ConstellationError as error:
            refusal = error
            await self._refuse(request, error)
        except Exception:  # the supervision point of one request: it costs this request only
            log.exception("request.failed", request_id=str(request.request_id), path=request.path[:200])
            await self._refuse(
                request, ConstellationError("an internal error; the gateway's log has its trace under the request id")
            )
        finally:
            self._budget.give(request.held_bytes)
            status = _GONE if request.gone and not request.status else request.status
            self._metrics.answered(operation, status, time.perf_counter() - began_s)
            if site is None:
                self._audit.note_nowait(request, route, refusal, status)
            else:
                self._audit.note_site_nowait(request, site, refusal, status)

    async def _refuse(self, request: Request, error: ConstellationError) -> None:
        problem = error.problem()
        self._metrics.refused(str(problem["code"]))
        if request.is_started:
            if isinstance(request, SocketRequest):
                await request.close(FAILED, str(error))
                return
            # The client holds a part of an answer: leaving it without its end makes the server cut the connection,
            # which no client takes for the whole.
            log.warning("answer.cut_off", request_id=str(request.request_id), code=problem["code"], detail=str(error))
            return
        try:
            await request.refuse(error)
        except ClientGone:
            request.gone = True
