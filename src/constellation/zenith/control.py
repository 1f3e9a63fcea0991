"""Nova, as the gateway sees it: questions about callers, the stream of changes, and the routes it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec

from constellation.base.errors import ConstellationError, RemoteProblem, Unauthenticated, Unavailable
from constellation.nova.domain.audit import AuditEvent
from constellation.nova.domain.function_url import Cors, FunctionUrl, InvokeMode, UrlAuth
from constellation.nova.domain.grants import Effect, Grant, Principal
from constellation.nova.domain.people import known_permissions
from constellation.routes.models.gateway import ServedDomains
from constellation.rpc.http1 import HttpAnswer, HttpPool, PeerLost

_T = TypeVar("_T")
_QUESTION_S = 5.0  # chosen: a principal is one indexed row away
_CONNECT_S = 2.0
_LINE_BYTES = 64 << 10  # a change is a few names


class _Grant(msgspec.Struct):
    permissions: list[str]
    effect: Effect
    namespace: str
    functions: tuple[str, ...]


class _Authenticated(msgspec.Struct):
    subject: str
    tenant: str
    namespace: str
    grants: list[_Grant]
    session: str = ""
    expires_at_s: float | None = None
    rate_per_s: float = 0.0
    burst: int = 0


class _Scope(msgspec.Struct):
    tenant: str
    namespace: str
    status: str


class _Cors(msgspec.Struct):
    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...]
    expose_headers: tuple[str, ...]
    allow_credentials: bool
    max_age_s: int


class _Reached(msgspec.Struct):
    tenant_status: str
    enabled: bool
    auth: UrlAuth
    invoke_mode: InvokeMode
    cors: _Cors

    def value(self) -> ReachedFunction:
        cors = Cors(**msgspec.structs.asdict(self.cors))
        return ReachedFunction(
            url=FunctionUrl(enabled=self.enabled, auth=self.auth, invoke_mode=self.invoke_mode, cors=cors),
            is_suspended=self.tenant_status != "active",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedFunction:
    """A function as whoever comes by its URL meets it."""

    url: FunctionUrl
    is_suspended: bool  # its tenant is


class _Settings(msgspec.Struct):
    values: dict[str, str]


class ChangeLine(msgspec.Struct):
    """One line of `GET /internal/changes`."""

    seq: int
    kind: str  # "hello" first, "ping" when nothing happens, else what changed
    tenant: str = ""
    namespace: str = ""
    name: str = ""


class ControlPlane:
    """A pool of connections to nova, all with the service token."""

    def __init__(self, *, url: str, service_token: str, idle_timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self.authorization = (b"authorization", f"Bearer {service_token}".encode())
        self._http = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(_QUESTION_S, connect=_CONNECT_S),
            # nova closes a quiet connection after its own keep-alive time: ours are given up first
            limits=httpx.Limits(
                max_connections=256, max_keepalive_connections=32, keepalive_expiry=min(2.0, idle_timeout_s)
            ),
        )
        where = httpx.URL(self.url)
        self._host = (b"host", where.netloc)
        self._pool = HttpPool(
            where.host,
            where.port or (443 if where.scheme == "https" else 80),
            tls=httpx.create_ssl_context() if where.scheme == "https" else None,
            connect_s=_CONNECT_S,
            wait_s=_QUESTION_S,
            max_connections=256,
            max_idle=32,
            idle_s=min(2.0, idle_timeout_s),
        )

    async def authenticate(self, kind: str, credential: str) -> Principal:
        """Ask who a credential is.

        Raises:
            Unauthenticated: nobody.
            Unavailable: nova can not be reached.
        """
        body: dict[str, str] = {"kind": kind}
        if credential:
            body["credential"] = credential
        answer = await self._ask("POST", "/internal/authenticate", content=msgspec.json.encode(body))
        if answer.status_code == 401:
            raise Unauthenticated("the credential is unknown, disabled or expired")
        found = _decode(answer, _Authenticated)
        return Principal(
            subject=found.subject,
            tenant=found.tenant,
            namespace=found.namespace,
            grants=tuple(map(_grant, found.grants)),
            session=found.session,
            expires_at_s=found.expires_at_s,
            rate_per_s=found.rate_per_s,
            burst=found.burst,
        )

    async def scope_status(self, tenant: str, namespace: str) -> str | None:
        """Return the status of the tenant of an existing scope, None for a scope that does not exist."""
        answer = await self._ask("GET", "/internal/scope", params={"tenant": tenant, "namespace": namespace})
        return None if answer.status_code == 404 else _decode(answer, _Scope).status

    async def function_url(self, tenant: str, namespace: str, name: str) -> ReachedFunction | None:
        """Return how a function is reached by its URL, None when there is no such function."""
        params = {"tenant": tenant, "namespace": namespace, "name": name}
        answer = await self._ask("GET", "/internal/function-url", params=params)
        return None if answer.status_code == 404 else _decode(answer, _Reached).value()

    async def audit(self, events: Sequence[AuditEvent]) -> None:
        """Have events written. Raises `Unavailable`, or nova's own problem, when that can not be done now."""
        answer = await self._ask("POST", "/internal/audit", content=msgspec.json.encode({"events": events}))
        if answer.status_code != 200:
            raise _problem(answer)

    async def settings(self) -> Mapping[str, str]:
        """Return what is set of the platform, by key."""
        return _decode(await self._ask("GET", "/internal/settings"), _Settings).values

    async def served_domain(self, host: str) -> ServedDomains:
        """Return the domain of a host, if somebody has it, with its routes."""
        return _decode(await self._ask("GET", "/internal/domains", params={"host": host}), ServedDomains)

    async def served_domains(self, after: str) -> ServedDomains:
        """Return domains with hosts behind this one, in order, with their routes."""
        return _decode(await self._ask("GET", "/internal/domains", params={"after": after}), ServedDomains)

    @asynccontextmanager
    async def changes(self, *, after: int | None, silence_s: float) -> AsyncIterator[AsyncIterator[ChangeLine]]:
        """Open the stream of changes with a number over `after`; nothing for `silence_s` seconds ends it.

        Raises:
            Unavailable: nova can not be reached, or the stream broke.
        """
        request = self._http.build_request(
            "GET",
            f"{self.url}/internal/changes",
            params={} if after is None else {"after": str(after)},
            headers=[self.authorization],
            timeout=httpx.Timeout(silence_s, connect=_CONNECT_S),
        )
        with _reaching_nova():
            answer = await self._http.send(request, stream=True)
            try:
                if answer.status_code != 200:
                    raise Unavailable("nova", reason=f"its change stream answered {answer.status_code}")
                yield _lines(answer)
            finally:
                await answer.aclose()

    @asynccontextmanager
    async def relay(
        self,
        *,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None,
        timeout_s: float,
    ) -> AsyncIterator[HttpAnswer]:
        """Send a request as it is and lend the answer, whose body comes as it is produced.

        `target` travels untouched: no percent-encoding is undone or added, no dot segment resolved.

        Raises:
            Unavailable: nova can not be reached, or went away before its answer began.
        """
        with _reaching_nova():
            async with self._pool.request(method, target, [self._host, *headers], body, quiet_s=timeout_s) as answer:
                yield answer

    async def close(self) -> None:
        self._pool.close()
        await self._http.aclose()

    async def _ask(
        self, method: str, path: str, *, content: bytes | None = None, params: dict[str, str] | None = None
    ) -> httpx.Response:
        headers = [self.authorization, (b"content-type", b"application/json")]
        with _reaching_nova():
            return await self._http.request(method, self.url + path, content=content, params=params, headers=headers)


def _grant(found: _Grant) -> Grant:
    permissions = known_permissions(found.permissions)  # a newer nova may know of more
    return Grant(permissions=permissions, effect=found.effect, namespace=found.namespace, functions=found.functions)


@contextmanager
def _reaching_nova() -> Iterator[None]:
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise Unavailable("nova", reason="it does not answer in time") from error
    except (httpx.TransportError, PeerLost) as error:
        raise Unavailable("nova", reason=str(error) or type(error).__name__) from error


async def _lines(answer: httpx.Response) -> AsyncIterator[ChangeLine]:
    rest = b""
    async for chunk in answer.aiter_raw():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE_BYTES:
            raise Unavailable("nova", reason="its change stream is not lines")
        for line in lines:
            if line.strip():
                yield _line(line)


def _line(line: bytes) -> ChangeLine:
    try:
        return msgspec.json.decode(line, type=ChangeLine)
    except msgspec.DecodeError as error:
        raise Unavailable("nova", reason=f"its change stream is not understood: {error}") from error


def _decode(answer: httpx.Response, type_: type[_T]) -> _T:
    if answer.status_code != 200:
        raise _problem(answer)
    try:
        return msgspec.json.decode(answer.content, type=type_)
    except msgspec.DecodeError as error:
        raise Unavailable("nova", reason=f"its answer is not understood: {error}") from error


def _problem(answer: httpx.Response) -> ConstellationError:
    """Return what nova could not do for us. Its 4xx about our question is no fault of the caller's."""
    if answer.status_code in (429, 503):
        try:
            return RemoteProblem(msgspec.json.decode(answer.content, type=dict[str, object]))
        except msgspec.DecodeError:
            return Unavailable("nova", reason=f"it answered {answer.status_code}")
    return Unavailable("nova", reason=f"it answered {answer.status_code} to a question of the gateway's")
