"""The values of secrets, had from nova when an instance is about to begin, and nowhere kept but in what it is made of.

Each boot asks anew: an instance that begins after a value was replaced never has the old one.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from constellation.aurora.observability.plane import PlaneContext
from constellation.base.errors import ConstellationError
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.pool.sources import Sources
from constellation.nova.domain.change import Change
from constellation.nova.domain.deploy import MAX_ENV_BYTES
from constellation.nova.domain.function import Function
from constellation.nova.domain.secret import MAX_FILES_BYTES, file_names, references, resolved
from constellation.rpc.http1 import HttpPool, PeerLost
from constellation.rpc.metadata import AUTHORIZATION, IDENTITY
from constellation.rpc.owner import OwnerTokens

_CONNECT_S = 2.0
_ANSWER_S = 5.0  # chosen: some rows by their key, and a few microseconds for each
_CONNECTIONS = 32  # chosen: boots at a time are fewer
_IDLE_S = 2.0  # nova closes quiet connections after its own time: ours are given up first
_PATH = b"/internal/secrets/resolve"


class SecretsUnavailable(ConstellationError):
    """An instance needs values that can not be had now."""

    code, http_status, retryable = "secrets_unavailable", 503, True

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(f"{function}: the values of its secrets can not be had: {reason}", retry_after_s=1)


class SecretsRefused(ConstellationError):
    """Nova has no value for a secret that a function refers to."""

    code, http_status = "secrets_refused", 502

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(f"{function}: no instance can begin without its secrets: {reason}")


def uses(change: Change | None) -> Callable[[Function], bool]:
    """Return which functions a changed secret concerns; None: any secret may have changed."""

    def is_concerned(function: Function) -> bool:
        names = references(function.env).values()
        if change is None:
            return bool(names)
        scope = (function.tenant, function.namespace)
        return scope == (change.tenant, change.namespace) and change.name in names

    return is_concerned


class SecretValues(Protocol):
    """Knows what secrets are."""

    async def of(self, function: Function) -> Mapping[str, str]: ...


class _Resolved(msgspec.Struct):
    values: dict[str, str]


class _Problem(msgspec.Struct):
    detail: str = ""


class NovaSecrets:
    """Asks nova, as the function's owner. Implements `SecretValues`."""

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
            wait_s=_ANSWER_S,
            max_connections=_CONNECTIONS,
            max_idle=_CONNECTIONS,
            idle_s=_IDLE_S,
        )

    async def of(self, function: Function) -> Mapping[str, str]:
        """Return the values of a function's secrets by their names.

        Raises:
            SecretsUnavailable: nova does not answer, or not now.
            SecretsRefused: it says why there is no value.
        """
        names = sorted(set(references(function.env).values()))
        body = msgspec.json.encode({"names": names})
        token = self._tokens.token(
            tenant=function.tenant, namespace=function.namespace, subject=f"function:{function.name}"
        )
        headers = [*self._headers, (IDENTITY.encode(), token.encode()), (b"content-length", b"%d" % len(body))]
        try:
            async with self._pool.request("POST", _PATH, headers, _once(body), quiet_s=_ANSWER_S) as answer:
                status, said = answer.status, b"".join([piece async for piece in answer.body])
        except TimeoutError as error:
            raise SecretsUnavailable(function.name, reason="nova does not answer in time") from error
        except PeerLost as error:
            raise SecretsUnavailable(function.name, reason=f"nova can not be reached: {error}") from error
        try:
            if status == 200:
                return msgspec.json.decode(said, type=_Resolved).values
            detail = msgspec.json.decode(said, type=_Problem).detail
        except msgspec.DecodeError:  # the error would show the answer
            raise SecretsUnavailable(function.name, reason="nova's answer is not understood") from None
        if status in (404, 500):
            raise SecretsRefused(function.name, reason=detail)
        raise SecretsUnavailable(function.name, reason=detail or f"nova answered {status}")

    def close(self) -> None:
        self._pool.close()


class SecretSources:
    """What instances are made of, with the values of their secrets. Implements `Sources`."""

    def __init__(self, sources: Sources, values: SecretValues) -> None:
        self._sources, self._values = sources, values

    async def acquire(self, function: Function) -> InstanceSpec:
        """Return what to boot, as the sources do.

        Raises:
            SecretsUnavailable, SecretsRefused: and as the sources.
        """
        spec = await self._sources.acquire(function)
        if not references(function.env):
            return spec
        try:
            filled = _filled(function, spec, await self._values.of(function))
        except BaseException:
            self._sources.release_nowait(spec)
            raise
        return filled

    def release_nowait(self, spec: InstanceSpec) -> None:
        self._sources.release_nowait(spec)


def _filled(function: Function, spec: InstanceSpec, values: Mapping[str, str]) -> InstanceSpec:
    env = resolved(function.env, values)
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in env.items())
    if size_bytes > MAX_ENV_BYTES:
        raise SecretsRefused(
            function.name, reason=f"with them its env holds {size_bytes} bytes; {MAX_ENV_BYTES} is the most"
        )
    files = {name: values[name] for name in file_names(function.env)}
    size_bytes = sum(len(text.encode()) for text in files.values())
    if size_bytes > MAX_FILES_BYTES:
        raise SecretsRefused(
            function.name, reason=f"as files they hold {size_bytes} bytes; {MAX_FILES_BYTES} is the most"
        )
    return replace(spec, env=env, secret_files=files)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
