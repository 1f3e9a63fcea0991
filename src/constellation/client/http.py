"""The two clients: the same operations over httpx, blocking and awaiting."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

import httpx

from constellation.client.call import Call
from constellation.client.failures import BadArgument, BadReply, ClientError, NoAnswer, Unreachable
from constellation.client.operations import AsyncSender, Operations, Sender
from constellation.client.replies import problem_of, read
from constellation.client.sse import MalformedEvent
from constellation.client.streams import Reader
from constellation.routes.models.paging import Page

T = TypeVar("T")
DEFAULT_SERVER = "http://localhost:9000"
CONNECT_S = 5.0  # chosen: a host that drops packets is reported before anybody wonders
KEY_HEADER, TENANT_HEADER, NAMESPACE_HEADER = "x-api-key", "x-nova-tenant", "x-nova-namespace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the platform is, who calls, in which scope, and how long an answer may take."""

    server: str = DEFAULT_SERVER
    api_key: str | None = field(default=None, repr=False)
    tenant: str | None = None
    namespace: str | None = None
    timeout_s: float = 310.0  # the longest call that the gateway lets through, and a little more

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.server)
            is_usable = url.scheme in ("http", "https") and bool(url.host) and (url.port or 1) <= 65535
        except httpx.InvalidURL:
            is_usable = False
        if not is_usable:
            raise BadArgument(f"{self.server!r} is not a server's address such as {DEFAULT_SERVER}")

    @property
    def is_loopback(self) -> bool:
        host = httpx.URL(self.server).host
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def headers(self) -> dict[str, str]:
        given = {KEY_HEADER: self.api_key, TENANT_HEADER: self.tenant, NAMESPACE_HEADER: self.namespace}
        for name, value in given.items():
            if value is not None and not (value.isascii() and value.isprintable()):
                raise BadArgument(f"{name.removeprefix('x-').removeprefix('nova-')} holds characters it can not have")
        return {"accept": "application/json", **{name: value for name, value in given.items() if value}}

    def options(self, call: Call[Any]) -> dict[str, Any]:
        """Return the arguments of httpx's `build_request` for one call."""
        headers = {"content-type": "application/json"} if call.content is not None else {}
        if call.route.streams:
            headers["accept"] = "text/event-stream, application/json"
        headers |= call.headers
        answer_s = self.timeout_s if call.timeout_s is None else call.timeout_s
        return {
            "method": call.route.method,
            "url": self.server.rstrip("/") + call.path,
            "params": call.query,
            "content": call.content,
            "headers": headers,
            "timeout": httpx.Timeout(answer_s, connect=min(CONNECT_S, answer_s), pool=answer_s),
        }

    def setup(self) -> dict[str, Any]:
        # A proxy from the environment would see loopback calls and add `Via`, which ends the platform's trust in them.
        return {"headers": self.headers(), "trust_env": not self.is_loopback}

    def read(self, call: Call[T], answer: httpx.Response) -> T:
        """Return what a whole answer says."""
        return read(call, server=self.server, status=answer.status_code, content=answer.content, headers=answer.headers)

    @contextmanager
    def translated(self, call: Call[Any]) -> Iterator[None]:
        """Turn what httpx raises in the block into what callers are promised: a `ClientError`."""
        try:
            yield
        except httpx.TransportError as error:
            raise self._failure(error, call) from error
        except (MalformedEvent, httpx.DecodingError) as error:
            raise BadReply(self.server, call.route.operation, reason=str(error)) from error

    def _failure(self, error: httpx.TransportError, call: Call[Any]) -> ClientError:
        match error:
            case httpx.ConnectTimeout():
                return Unreachable(self.server, reason=f"no connection within {CONNECT_S:g} s", is_sent=False)
            case httpx.TimeoutException():
                return NoAnswer(self.server, after_s=self.timeout_s if call.timeout_s is None else call.timeout_s)
            case httpx.ConnectError() | httpx.UnsupportedProtocol() | httpx.ProxyError():
                return Unreachable(self.server, reason=str(error) or type(error).__name__, is_sent=False)
            case _:
                return Unreachable(self.server, reason=str(error) or type(error).__name__, is_sent=True)


class Client(Operations, Sender):
    """The public API, blocking. Every method raises `ClientError`s only. Close it, or use it in a `with`."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        timeout_s: float = 310.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.connection = Connection(
            server=server, api_key=api_key, tenant=tenant, namespace=namespace, timeout_s=timeout_s
        )
        self._http = httpx.Client(transport=transport, **self.connection.setup())

    def send(self, call: Call[T]) -> T:
        """Send one request and return its typed answer."""
        with self.connection.translated(call):
            answer = self._http.send(self._http.build_request(**self.connection.options(call)))
        return self.connection.read(call, answer)

    def pages(self, call: Call[Page[T]]) -> Iterator[T]:
        """Yield the items of all pages."""
        next_call: Call[Page[T]] | None = call
        while next_call is not None:
            page = self.send(next_call)
            yield from page.items
            next_call = following(call, page)

    @contextmanager
    def stream(self, call: Call[Any], reader: Reader[T]) -> Iterator[Iterator[T]]:
        """Open an answer that comes in pieces; a refusal raises here, before the block."""
        request = self._http.build_request(**self.connection.options(call))
        with self.connection.translated(call):
            answer = self._http.send(request, stream=True)
        try:
            if answer.status_code >= 300:
                raise problem_of(answer.status_code, self._whole(answer, call), answer.headers)
            yield self._pieces(answer, call, reader)
        finally:
            answer.close()

    def _whole(self, answer: httpx.Response, call: Call[Any]) -> bytes:
        with self.connection.translated(call):
            return answer.read()

    def _pieces(self, answer: httpx.Response, call: Call[Any], reader: Reader[T]) -> Iterator[T]:
        state = reader(answer.headers)
        with self.connection.translated(call):
            for chunk in answer.iter_bytes():
                yield from state.feed(chunk)
            yield from state.end()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Operations, AsyncSender):
    """The public API, awaiting. Every method raises `ClientError`s only; cancelling one closes its connection."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        timeout_s: float = 310.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.connection = Connection(
            server=server, api_key=api_key, tenant=tenant, namespace=namespace, timeout_s=timeout_s
        )
        self._http = httpx.AsyncClient(transport=transport, **self.connection.setup())

    async def send(self, call: Call[T]) -> T:
        """Send one request and return its typed answer."""
        with self.connection.translated(call):
            answer = await self._http.send(self._http.build_request(**self.connection.options(call)))
        return self.connection.read(call, answer)

    async def pages(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        """Yield the items of all pages."""
        next_call: Call[Page[T]] | None = call
        while next_call is not None:
            page = await self.send(next_call)
            for item in page.items:
                yield item
            next_call = following(call, page)

    @asynccontextmanager
    async def stream(self, call: Call[Any], reader: Reader[T]) -> AsyncIterator[AsyncIterator[T]]:
        """Open an answer that comes in pieces; a refusal raises here, before the block."""
        request = self._http.build_request(**self.connection.options(call))
        with self.connection.translated(call):
            answer = await self._http.send(request, stream=True)
        try:
            if answer.status_code >= 300:
                raise problem_of(answer.status_code, await self._whole(answer, call), answer.headers)
            # Closed here and not by the garbage collector, which would come after the loop is gone.
            async with aclosing(self._pieces(answer, call, reader)) as pieces:
                yield pieces
        finally:
            await answer.aclose()

    async def _whole(self, answer: httpx.Response, call: Call[Any]) -> bytes:
        with self.connection.translated(call):
            return await answer.aread()

    async def _pieces(self, answer: httpx.Response, call: Call[Any], reader: Reader[T]) -> AsyncGenerator[T, None]:
        state = reader(answer.headers)
        with self.connection.translated(call):
            # httpx promises an iterator and gives a generator.
            async with aclosing(cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())) as chunks:
                async for chunk in chunks:
                    for piece in state.feed(chunk):
                        yield piece
            for piece in state.end():
                yield piece

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def following(call: Call[Page[T]], page: Page[T]) -> Call[Page[T]] | None:
    """Return the request for the page after `page`, or None after the last."""
    facts = page.pagination
    if not facts.has_more or not page.items:
        return None
    return call.at(facts.offset + len(page.items) if facts.next_offset is None else facts.next_offset)
