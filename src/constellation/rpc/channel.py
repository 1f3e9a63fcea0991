"""Call other planes: one HTTP/2 connection, the service token on every call, problems raised as they were stated."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import Channel, ServiceMethod, Stream
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from constellation.base.address import Address
from constellation.base.errors import DeadlineExceeded, Unavailable
from constellation.rpc.metadata import AUTHORIZATION, IDENTITY, CallContext
from constellation.rpc.problems import problem_from
from constellation.rpc.refusals import describe
from constellation.rpc.tls import CallerTls


class PlaneChannel:
    """A connection to one plane; made on first use, made again after it broke."""

    def __init__(
        self,
        *,
        name: str,
        service_token: str,
        address: Address | None = None,
        path: Path | None = None,
        tls: CallerTls | None = None,
    ) -> None:
        self.name = name
        self._authorization = f"Bearer {service_token}"
        self._tls = tls
        self._has_answered = False
        if path is not None:
            self.grpc = Channel(path=str(path))
        else:
            assert address is not None
            self.grpc = Channel(
                address.host or "127.0.0.1",
                address.port,
                ssl=None if tls is None else tls.context,
                config=None if tls is None else Configuration(ssl_target_name_override=tls.server_name),
            )

    def metadata(self, *, token: str | None = None, context: CallContext | None = None) -> dict[str, str]:
        """Return the metadata of one call."""
        metadata = {AUTHORIZATION: self._authorization}
        if token is not None:
            metadata[IDENTITY] = token
        if context is not None:
            metadata.update(context.to_metadata())
        return metadata

    async def unary(
        self, method: ServiceMethod[Any, Any], request: object, *, metadata: Mapping[str, str], timeout_s: float
    ) -> Any:
        """Send one message and return the one reply.

        Raises:
            RemoteProblem: the plane answered with a problem.
            Unavailable: it can not be reached (`may_have_begun` is False), or went away in the middle.
            DeadlineExceeded: no answer within `timeout_s`.
        """
        async with self.open(method, metadata=metadata, timeout_s=timeout_s) as stream:
            await stream.send_message(request, end=True)
            reply = await stream.recv_message()
            await stream.recv_trailing_metadata()
            return reply

    @asynccontextmanager
    async def open(
        self, method: ServiceMethod[Any, Any], *, metadata: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream[Any, Any]]:
        """Open a call whose messages the block sends and receives; errors as in `unary`."""
        stream = method.open(timeout=timeout_s, metadata=metadata)
        refused_before = 0 if self._tls is None else self._tls.refusals.count
        has_request = False  # while it is False the other side has no message, so nothing to act on
        try:
            async with stream:
                await stream.send_request()
                has_request = True
                yield stream
            self._has_answered = True
        except GRPCError as error:
            raise problem_from(error, stream.trailing_metadata) from error
        except TimeoutError as error:
            if not has_request:
                reason = f"no connection within {timeout_s:g} s"
                raise Unavailable(self.name, reason=reason, may_have_begun=False) from error
            raise DeadlineExceeded(self.name, after_s=timeout_s) from error
        except (StreamTerminatedError, ProtocolError, OSError) as error:
            reason = describe(error) if isinstance(error, ssl.SSLError) else str(error) or type(error).__name__
            if self._tls is not None and self._tls.refusals.count > refused_before:
                reason = self._tls.refusals.last  # what grpclib says is that the connection was lost
            elif self._tls is not None and has_request and not self._has_answered:
                reason = f"{reason}; {self._tls.doubt}"
            raise Unavailable(self.name, reason=reason, may_have_begun=has_request) from error

    def close(self) -> None:
        self.grpc.close()
