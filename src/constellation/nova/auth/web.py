"""Fetching from identity providers: bounded in time and size, and never from where a provider has no business."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping

import anyio
import httpx

from constellation.nova.config.issuers import LOOPBACK

_FETCH_S = 5.0
_ANSWER_BYTES = 256 << 10

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Web:
    """`home`: the host that the operator named, which may be anywhere; others that its documents name must be public.

    A document of a provider says where its keys and its tokens are. Were it believed without looking, whoever writes
    it could have nova ask the metadata address of its cloud, or a neighbour in its own network.
    """

    def __init__(
        self, *, home: str, transport: httpx.AsyncBaseTransport | None = None, resolve: Resolve | None = None
    ) -> None:
        self._home, self._transport, self._resolve = home, transport, resolve or _addresses

    async def get(self, url: str) -> bytes:
        """Return a document.

        Raises:
            ValueError: it is not to be fetched from there, or the answer is not 200 or too long.
            httpx.HTTPError, TimeoutError, OSError
        """
        status, body = await self._ask("GET", url, data=None, headers={"accept": "application/json"})
        if status != 200:
            raise ValueError(f"the answer is {status}")
        return body

    async def post(self, url: str, data: Mapping[str, str], *, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body of the answer to a form. Errors as `get`, but for the status."""
        return await self._ask("POST", url, data=dict(data), headers={"accept": "application/json", **headers})

    async def _ask(
        self, method: str, url: str, *, data: dict[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        body = bytearray()
        with anyio.fail_after(_FETCH_S):
            target, extensions = await self._target(httpx.URL(url))
            async with (
                httpx.AsyncClient(
                    trust_env=False, follow_redirects=False, timeout=_FETCH_S, transport=self._transport
                ) as http,
                http.stream(
                    method,
                    target,
                    data=data,
                    headers={**headers, "host": httpx.URL(url).netloc.decode("ascii")},
                    extensions=extensions,
                ) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _ANSWER_BYTES:
                        raise ValueError("the answer is too long")
        return answer.status_code, bytes(body)

    async def _target(self, url: httpx.URL) -> tuple[httpx.URL, dict[str, str]]:
        """Return where to connect, and whose certificate to demand there."""
        is_local = self._home in LOOPBACK and url.host in LOOPBACK
        if url.scheme != "https" and not (url.scheme == "http" and is_local):
            raise ValueError(f"{url.host} must be asked over https")
        if url.host == self._home:
            return url, {}
        found = await self._resolve(url.host, url.port or 443)
        if not found or not all(ipaddress.ip_address(address).is_global for address in found):
            raise ValueError(f"{url.host} has no public address")
        # To the address that was judged: the name may stand for another the next time that it is asked for.
        return url.copy_with(host=found[0]), {"sni_hostname": url.host}


async def _addresses(host: str, port: int) -> list[str]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]).partition("%")[0] for *_, address in found]
