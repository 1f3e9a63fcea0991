"""Serve gRPC on TCP and unix sockets: identity checked, problems in trailers, health and reflection beside."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import anyio
import structlog
from grpclib.const import Handler, Status
from grpclib.health.service import Health
from grpclib.reflection.service import ServerReflection
from grpclib.server import Server, Stream

from constellation.base.errors import ConstellationError
from constellation.rpc.caller import CALLER, CallerVerifier
from constellation.rpc.flow import flow
from constellation.rpc.gather import Gathering
from constellation.rpc.problems import TRAILER, ProblemDetails, status_of, trailer_of
from constellation.rpc.tls import ServerTls

log = structlog.get_logger()

_MAX_PENDING_CLOSE_S = 2.0


class Service(Protocol):
    """A generated service base."""

    def __mapping__(self) -> dict[str, Handler]: ...


class Guarded:
    """A service whose every call is authenticated, and whose errors travel as problems."""

    def __init__(self, service: Service, verifier: CallerVerifier, *, needs_identity: bool = True) -> None:
        self._service, self._verifier, self._needs_identity = service, verifier, needs_identity

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: handler._replace(func=self._guard(handler.func, is_cut=handler.cardinality.client_streaming))
            for path, handler in self._service.__mapping__().items()
        }

    def _guard(
        self, func: Callable[[Stream[Any, Any]], Awaitable[None]], *, is_cut: bool
    ) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        verifier, needs_identity = self._verifier, self._needs_identity

        async def guarded(stream: Stream[Any, Any]) -> None:
            try:
                metadata: Mapping[str, object] = stream.metadata or {}
                if needs_identity:
                    CALLER.set(verifier.verify(metadata))
                else:
                    verifier.verify_service(metadata)
                await func(stream)
            except ConstellationError as error:
                await _end(stream, error, is_cut=is_cut)
            except Exception:  # the supervision point of one call: it costs this call only
                log.exception("rpc.failed", method=func.__qualname__)
                await _end(stream, ConstellationError("an internal error; the server's log has its trace"))

        return guarded


async def _end(stream: Stream[Any, Any], error: ConstellationError, *, is_cut: bool = False) -> None:
    """Say why a call failed. `is_cut`: its client is not done sending, so grpclib resets it, and forgets the trailers there."""
    status = status_of(error)
    assert status is not Status.OK
    problem = trailer_of(error)
    await stream.send_trailing_metadata(
        status=status,
        status_message=str(error)[:512],
        status_details=problem[TRAILER] if is_cut else None,
        metadata=problem,
    )


class _Loop:
    """Stands for the loop: connections that are accepted by it gather what is written to them.

    grpclib writes the head, the message and the trailers of an answer one by one. A loop is all that it lets itself be
    given, and calls deprecated, as there is but one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def create_server(self, factory: Callable[[], asyncio.Protocol], *args: Any, **more: Any) -> Any:
        def gathering() -> asyncio.Protocol:
            protocol = factory()
            made = protocol.connection_made

            def gathers(transport: asyncio.BaseTransport) -> None:
                made(cast("asyncio.Transport", Gathering(transport)))

            protocol.connection_made = gathers  # type: ignore[method-assign]  # of this one protocol
            return protocol

        return await self._loop.create_server(gathering, *args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@asynccontextmanager
async def serving(
    services: Sequence[Service], *, listener: socket.socket, tls: ServerTls | None = None
) -> AsyncIterator[None]:
    """Serve on a listening socket (see `base.sockets`) until the block is left; then calls in hand are cut off.

    Health and reflection are served beside the services, without authentication.
    """
    everything: list[Any] = [*services, Health()]
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        server = Server(
            ServerReflection.extend(everything),
            loop=cast("asyncio.AbstractEventLoop", _Loop(asyncio.get_running_loop())),
            config=flow(),
            status_details_codec=ProblemDetails(),
        )
    await server.start(sock=listener, ssl=None if tls is None else tls.context)
    try:
        yield
    finally:
        server.close()
        with anyio.move_on_after(_MAX_PENDING_CLOSE_S, shield=True):
            await server.wait_closed()
