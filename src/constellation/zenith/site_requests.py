"""Requests to custom domains: the route of the path, who calls, and then the function behind it, as with function URLs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from urllib.parse import quote

import anyio

from constellation.base.errors import ConstellationError, Forbidden, MethodNotAllowed, NotFound
from constellation.nova.domain.gateway import Found, OtherMethods
from constellation.routes.models.gateway import ServedRouteBody
from constellation.routes.models.gateway_policy import Mock
from constellation.routes.models.gateway_socket import socket_conflict
from constellation.routes.registry import ROUTES, Match
from constellation.rpc.metadata import CallContext
from constellation.wire.gen import nova_pb2
from constellation.zenith.breakers import Outcome, unguarded
from constellation.zenith.calls import context_of, idempotency_key_of
from constellation.zenith.event import BodyReader
from constellation.zenith.execution import Execution
from constellation.zenith.headers import function_headers
from constellation.zenith.http_event import fingerprint_of
from constellation.zenith.principals import Access
from constellation.zenith.request import Request
from constellation.zenith.site_call import SiteCalls, SiteRequest
from constellation.zenith.site_callers import SiteCallers
from constellation.zenith.site_policy import asked_method, check_address, preflight, say_origin
from constellation.zenith.sites import Site, Sites
from constellation.zenith.socket_request import NoSocketHere, SocketRequest
from constellation.zenith.stickiness import sticky_key
from constellation.zenith.stream import STREAM_S, pass_on
from constellation.zenith.url_stream import UrlAnswer
from constellation.zenith.watched import AskedAgain, WatchedAnswer
from constellation.zenith.web_socket import SocketTerms, WebSockets

# Bodies have the bounds of a function URL's, and a WebSocket is one to a function URL.
SOURCE = "gateway"
_LIKE = next(route for route in ROUTES if route.operation == "function_url_path")


class SiteRequests:
    """Serves requests to custom domains."""

    def __init__(
        self, *, sites: Sites, callers: SiteCallers, execution: Execution, sockets: WebSockets, bodies: BodyReader,
        max_timeout_s: float,
    ) -> None:  # fmt: skip
        self._sites, self._callers, self._execution, self._sockets = sites, callers, execution, sockets
        self._bodies, self._max_timeout_s = bodies, max_timeout_s
        self._calls = SiteCalls(execution=execution, max_timeout_s=max_timeout_s)

    async def serve(self, request: Request, site: Site) -> None:
        """Answer a request to a host of `site`; `request.path` is as it came.

        Raises:
            ConstellationError: it is refused, or failed; nothing was answered yet.
        """
        asked = asked_method(request)
        found = None if asked is None else site.routes.find(asked, request.path)
        if isinstance(found, Found) and found.route.policy.cors.allow_origins:
            check_address(found.route.policy, _address(request))
            say_origin(found.route.policy, request)
            await request.answer(204, b"", headers=preflight(found.route.policy, request))
            return
        found = site.routes.find(request.method, request.path)
        if found is None:
            raise NotFound("path", request.path[:200])
        if isinstance(found, OtherMethods):
            raise MethodNotAllowed(request.method, request.path[:200], allow=list(found.allow))
        policy = found.route.policy
        check_address(policy, _address(request))
        say_origin(policy, request)
        access = await self._callers.admit(request, site, found.route)
        if policy.mock is not None:
            await _answer_mock(request, policy.mock)
        elif isinstance(request, SocketRequest):
            await self._socket(SiteRequest(request=request, site=site, found=found, access=access, body=b""))
        elif policy.websocket:
            raise NoSocketHere(wants_socket=True)
        else:
            await self._call(request, site, found, access)

    async def _call(self, request: Request, site: Site, found: Found[ServedRouteBody], access: Access) -> None:
        route, policy = found.route, found.route.policy
        site.check_rest(route)
        context = replace(context_of(request), source=SOURCE)
        like = replace(_LIKE, max_body_bytes=policy.max_body_bytes) if policy.max_body_bytes else _LIKE
        body = await self._bodies.read(request, like)
        asked = SiteRequest(request=request, site=site, found=found, access=access, body=body)
        await self._calls.check(asked)
        key = idempotency_key_of(request)
        if key:
            fingerprint = fingerprint_of(request, path=request.path, body=body)
            context = replace(context, idempotency_key=key, idempotency_fingerprint=fingerprint)
        call = nova_pb2.InvokeRequest(
            function=route.function,
            qualifier=route.qualifier,
            sticky_key=sticky_key(request) if route.is_sticky else "",
            payload=self._calls.event(asked),
            peer=request.peer,
            timeout_ms=round(min(policy.timeout_s, self._max_timeout_s) * 1000),
        )
        if policy.stream:
            await self._stream(asked, call, context)
            return
        answer = await self._calls.answer(asked, call, context)
        await request.answer(answer.status, answer.body, content_type=answer.content_type, headers=answer.headers)

    async def _stream(self, asked: SiteRequest, call: nova_pb2.InvokeRequest, context: CallContext) -> None:
        """Pass an answer on as it is made; before its first byte is out the call may be made again."""
        request, route = asked.request, asked.found.route
        tries = self._calls.tries(route, request.method)
        with asked.site.guard(route) as outcome:
            while True:
                if call.timeout_ms:
                    call.timeout_ms = max(1, round(tries.left_s * 1000))
                stream = self._execution.stream(call, token=asked.access.token, context=context, timeout_s=STREAM_S)
                answer = WatchedAnswer(UrlAnswer(request, route.function), request, route.function, outcome, tries)
                try:
                    await pass_on(stream, request, answer)
                except AskedAgain as again:
                    pause_s = again.after_s
                except ConstellationError as error:
                    again_s = None if request.is_started else tries.after_error(error)
                    if again_s is None:
                        raise
                    pause_s = again_s
                else:
                    return
                await anyio.sleep(pause_s)

    async def _socket(self, asked: SiteRequest) -> None:
        request, route = asked.request, asked.found.route
        assert isinstance(request, SocketRequest)
        conflict = socket_conflict(route.policy)
        if conflict is not None:  # its messages would pass by what the route promises
            raise NoSocketHere(wants_socket=False, reason=": ".join(conflict))
        await self._calls.check(asked)
        facts = self._calls.socket_facts(asked)
        terms = SocketTerms(
            facts=facts,
            guard=lambda: self._guard(request),
            tries=lambda method: self._calls.tries(route, method),
            timeout_s=min(route.policy.timeout_s, self._max_timeout_s),
        )
        match = Match(_LIKE, {"name": quote(route.target, safe=""), "rest": request.path[1:]})
        caller = _SocketCaller(self._callers, self._sites)
        await self._sockets.serve(request, match, asked.access, caller, terms=terms)

    def _guard(self, request: Request) -> AbstractContextManager[Outcome]:
        """Return what a message's call is made in: the breaker of the route as it is by now."""
        site = self._sites.find(request.headers)
        found = None if site is None else site.routes.find(request.method, request.path)
        return site.guard(found.route) if site is not None and isinstance(found, Found) else unguarded()


@dataclass(frozen=True, slots=True)
class _SocketCaller:
    """Asks again, at each message of a WebSocket, whether its route is there still, and whether it serves who opened it."""

    callers: SiteCallers
    sites: Sites

    async def admit(self, request: Request, match: Match) -> Access:
        site = self.sites.find(request.headers)
        found = None if site is None else site.routes.find(request.method, request.path)
        if site is None or not isinstance(found, Found):
            raise Forbidden("the client", permission=match.route.permission.value, reason="the route is gone")
        return await self.callers.admit(request, site, found.route)


async def _answer_mock(request: Request, mock: Mock) -> None:
    headers = function_headers(mock.headers.items())
    given = next((value for name, value in headers if name == b"content-type"), b"text/plain; charset=utf-8")
    rest = [pair for pair in headers if pair[0] != b"content-type"]
    await request.answer(mock.status, mock.body.encode(), content_type=given, headers=rest)


def _address(request: Request) -> str:
    return "" if request.address is None else str(request.address)
