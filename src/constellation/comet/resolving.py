"""What instances are made of and only nova knows, had from it as the function's owner when one is about to begin."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from constellation.aurora.observability.plane import PlaneContext
from constellation.nova.domain.function import Function
from constellation.rpc.http1 import HttpPool, PeerLost
from constellation.rpc.metadata import AUTHORIZATION, IDENTITY
from constellation.rpc.owner import OwnerTokens

T = TypeVar("T")
_CONNECT_S = 2.0
_CONNECTIONS = 32  # chosen: boots at a time are fewer
_IDLE_S = 2.0  # nova closes quiet connections after its own time: ours are given up first
_REFUSALS = (404, 409, 500)  # it says why there is no answer, and the next one would be the same


class NotResolved(Exception):
    """Nova gave no answer; `is_final` when it will give none."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class _Problem(msgspec.Struct):
    detail: str = ""


class NovaAnswers:
    """Asks nova, with the service token and the owner's identity."""

    def __init__(self, url: str, context: PlaneContext) -> None:
        where = urlsplit(url)
        is_tls = where.scheme == "https"
        self._tokens = OwnerTokens(context.identity_key, clock=context.clock)
        self._headers = [
            (b"host", where.netloc.encode()),
            (AUTHORIZATION.encode(), f"Bearer {context.service_token}".encode()),
            (b"content-type", b"application/json"),
        ]
        self._pool = HttpPool(
            where.hostname or "",
            where.port or (443 if is_tls else 80),
            tls=ssl.create_default_context() if is_tls else None,
            connect_s=_CONNECT_S,
            wait_s=_CONNECT_S,
            max_connections=_CONNECTIONS,
            max_idle=_CONNECTIONS,
            idle_s=_IDLE_S,
        )

    async def ask(self, function: Function, path: bytes, question: object, kind: type[T], *, within_s: float) -> T:
        """Return nova's answer to a question about what a function uses.

        Raises:
            NotResolved: there is none.
        """
        body = msgspec.json.encode(question)
        token = self._tokens.token(
            tenant=function.tenant, namespace=function.namespace, subject=f"function:{function.name}"
        )
        headers = [*self._headers, (IDENTITY.encode(), token.encode()), (b"content-length", b"%d" % len(body))]
        try:
            async with self._pool.request("POST", path, headers, _once(body), quiet_s=within_s) as answer:
                status, said = answer.status, b"".join([piece async for piece in answer.body])
        except TimeoutError as error:
            raise NotResolved("nova does not answer in time") from error
        except PeerLost as error:
            raise NotResolved(f"nova can not be reached: {error}") from error
        try:
            if status == 200:
                return msgspec.json.decode(said, type=kind)
            detail = msgspec.json.decode(said, type=_Problem).detail
        except msgspec.DecodeError:  # the error would show the answer
            raise NotResolved("nova's answer is not understood") from None
        raise NotResolved(detail or f"nova answered {status}", is_final=status in _REFUSALS)

    def close(self) -> None:
        self._pool.close()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
