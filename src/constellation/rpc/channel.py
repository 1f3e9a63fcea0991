"""Call other planes: the service token on every call, problems raised as they were stated.

Unary calls have a connection of their own kind (`rpc.unary`), streams have grpclib's; each is made on first use.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from grpclib.client import ServiceMethod, Stream
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import H2Error

from constellation.base.address import Address
from constellation.base.errors import DeadlineExceeded, Unavailable
from constellation.rpc.flow import flow
from constellation.rpc.metadata import AUTHORIZATION, IDENTITY, CallContext
from constellation.rpc.problems import TRAILER, ProblemDetails, problem_from
from constellation.rpc.refusals import describe
from constellation.rpc.streams import StreamChannel
from constellation.rpc.tls import CallerTls
from constellation.rpc.unary import CallLost, UnaryCalls
from constellation.rpc.unary_wire import Fields

_BEGIN_S = 10.0  # chosen: a connection is made, or has room again, in this time, or the other side is not there

# What a request that begins while its connection breaks meets inside grpclib: an attribute that is gone already, a
# transport of uvloop that is closed, a connection of h2 that takes nothing more.
_BREAKING = (AttributeError, RuntimeError, H2Error)


class PlaneChannel:
    """The connections to one plane; made on first use, made again after they broke."""

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
        context = None if tls is None else tls.context
        server_name = None if tls is None else tls.server_name
        if path is not None:
            self.grpc = StreamChannel(path=str(path), config=flow(), status_details_codec=ProblemDetails())
            authority = "localhost"

            async def dial(factory: Callable[[], asyncio.Protocol]) -> None:
                await asyncio.get_running_loop().create_unix_connection(factory, str(path))
        else:
            assert address is not None
            host, port = address.host or "127.0.0.1", address.port
            self.grpc = StreamChannel(
                host, port, ssl=context, config=flow(server_name=server_name), status_details_codec=ProblemDetails()
            )
            authority = str(address)

            async def dial(factory: Callable[[], asyncio.Protocol]) -> None:
                loop = asyncio.get_running_loop()
                await loop.create_connection(factory, host, port, ssl=context, server_hostname=server_name)

        scheme = "http" if tls is None else "https"
        self._calls = UnaryCalls(
            dial, lambda: Fields(scheme=scheme, authority=authority, authorization=self._authorization)
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
        self, method: ServiceMethod[Any, Any], request: Message, *, metadata: Mapping[str, str], timeout_s: float
    ) -> Any:
        """Send one message and return the one reply.

        Raises:
            RemoteProblem: the plane answered with a problem.
            Unavailable: it can not be reached (`may_have_begun` is False), or went away in the middle.
            DeadlineExceeded: no answer within `timeout_s`.
        """
        refused_before = self._refused
        try:
            answer = await self._calls.call(method.name, metadata, request.SerializeToString(), timeout_s=timeout_s)
        except TimeoutError as error:
            raise DeadlineExceeded(self.name, after_s=timeout_s) from error
        except CallLost as error:
            reason = str(error)
            if isinstance(error.__cause__, ssl.SSLError):
                reason = describe(error.__cause__)
            reason = self._reason(reason, refused_before, may_be_refused=error.is_connected)
            raise Unavailable(self.name, reason=reason, may_have_begun=error.may_have_begun) from error
        self._has_answered = True
        if answer.status is not Status.OK:
            raise problem_from(GRPCError(answer.status, answer.message), {TRAILER: answer.problem})
        return method.reply_type.FromString(answer.body)

    @asynccontextmanager
    async def open(
        self, method: ServiceMethod[Any, Any], *, metadata: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream[Any, Any]]:
        """Open a call whose messages the block sends and receives; errors as in `unary`."""
        stream = method.open(timeout=timeout_s, metadata=metadata)
        refused_before = self._refused
        has_request = False  # while it is False the other side has no message, so nothing to act on
        try:
            async with stream:
                await _begin(stream, within_s=min(timeout_s, _BEGIN_S))
                has_request = True
                yield stream
            self._has_answered = True
        except GRPCError as error:
            raise problem_from(error, stream.trailing_metadata) from error
        except TimeoutError as error:
            if not has_request:
                reason = f"no connection within {min(timeout_s, _BEGIN_S):g} s"
                raise Unavailable(self.name, reason=reason, may_have_begun=False) from error
            raise DeadlineExceeded(self.name, after_s=timeout_s) from error
        except (StreamTerminatedError, ProtocolError, H2Error, OSError) as error:
            reason = describe(error) if isinstance(error, ssl.SSLError) else str(error) or type(error).__name__
            reason = self._reason(reason, refused_before, may_be_refused=has_request)
            raise Unavailable(self.name, reason=reason, may_have_begun=has_request) from error

    def close(self) -> None:
        self._calls.close()
        self.grpc.close()

    @property
    def _refused(self) -> int:
        return 0 if self._tls is None else self._tls.refusals.count

    def _reason(self, reason: str, refused_before: int, *, may_be_refused: bool) -> str:
        """Return why a call failed, in the words of TLS where it knows more than that the connection was lost."""
        if self._tls is None:
            return reason
        if self._tls.refusals.count > refused_before:
            return self._tls.refusals.last
        return f"{reason}; {self._tls.doubt}" if may_be_refused and not self._has_answered else reason


async def _begin(stream: Stream[Any, Any], *, within_s: float) -> None:
    """Send a request's head. A connection that breaks meanwhile may wake nobody who waits for room in it.

    Raises:
        OSError: there is no connection, or it broke: `TimeoutError` if it has no room for so long.
    """
    try:
        async with asyncio.timeout(within_s):
            await stream.send_request()
    except _BREAKING as error:
        raise ConnectionResetError(f"the connection broke before the request: {error}") from error
