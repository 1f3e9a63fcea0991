"""Lets a request to a function's URL in, as the settings of the URL say: a key, or nobody is asked.

`/fn/{name}` is the function of the caller's namespace, of the default one where nobody says who they are.
`/url/{tenant}/{namespace}/{name}` says all of it, so that anybody can be given it. What a function answers there has the
gateway's address and must not have its rights: its pages get no origin, unless the gateway has a domain for functions,
`<tenant>.<domain>`, where each tenant's have an origin of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest, NotFound, TenantSuspended
from constellation.nova.domain.access import Identity, Permission
from constellation.nova.domain.function_url import FunctionUrl, UrlAuth
from constellation.nova.domain.identity import IDENTITY_TTL_S, mint
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT, check_function_name, check_scope_name
from constellation.routes.registry import Match
from constellation.zenith.calls import header_qualifier_of
from constellation.zenith.control import ReachedFunction
from constellation.zenith.cors import Pairs, answer_headers, preflight_headers
from constellation.zenith.errors import FunctionUrlDisabled
from constellation.zenith.follow import Freshness
from constellation.zenith.headers import SANDBOXED
from constellation.zenith.principals import Access
from constellation.zenith.reached import Key, ReachedFunctions
from constellation.zenith.request import Request

_CAPACITY = 10_000  # accesses of nobody in particular; chosen as that of principals
_INVOKES = frozenset({Permission.FUNCTION_INVOKE})


class Doorkeeper(Protocol):
    """Says who is there; see `Doorman`."""

    async def admit(self, request: Request, match: Match) -> Access | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request that was let in."""

    access: Access
    name: str  # of the function
    qualifier: str = ""  # the version or alias of it that is called; empty: the live version
    url: FunctionUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """A browser's question, which the gateway answers."""

    headers: Pairs


class UrlDoor:
    """`domain`: below it each tenant has a host for its functions; "": there is none."""

    def __init__(
        self,
        *,
        doorman: Doorkeeper,
        functions: ReachedFunctions,
        freshness: Freshness,
        identity_key: bytes,
        clock: Clock,
        domain: str = "",
    ) -> None:
        self._doorman, self._functions, self._freshness = doorman, functions, freshness
        self._identity_key, self._clock = identity_key, clock
        self._suffix = f".{domain}" if domain else ""
        self._open: dict[Key, Access] = {}

    async def enter(self, request: Request, match: Match) -> Visit | Preflight:
        """Let a request in, and see to the headers that every answer to it has.

        Raises:
            NotFound: there is no such function, or not on this host.
            InvalidRequest: a version is named, and the URL is open to anybody.
            FunctionUrlDisabled, TenantSuspended, OriginRefused
            ConstellationError: as `Doorman.admit`, where a credential is needed.
        """
        self._freshness.check()
        name, _, in_path = unquote(match.params["name"]).partition(":")
        qualifier = in_path or header_qualifier_of(request)
        tenant = self._tenant_of_host(request)
        request.also = [] if tenant else [SANDBOXED]
        key = self._key(request, match, name, tenant)
        reached = None if key is None else await self._find(key)
        if reached is not None:
            preflight = _say(request, reached)
            if preflight is not None:
                return preflight
        if key is None or reached is None or reached.url.auth is UrlAuth.KEY:
            access = await self._admit(request, match)
            key = (access.identity.tenant, access.identity.namespace, name)
            reached = await self._find(key)
            if reached is None:
                raise NotFound("function", name)
            _say(request, reached)
        else:
            access = self._nobody(key)
        if tenant and key[0].lower() != tenant:
            raise NotFound("function", name)
        if reached.is_suspended:
            raise TenantSuspended(key[0])
        if not reached.url.enabled:
            raise FunctionUrlDisabled(name)
        if qualifier and reached.url.auth is not UrlAuth.KEY:  # else anybody could call what was replaced for a reason
            raise InvalidRequest("a function URL that is open to anybody runs the live version", field="qualifier")
        return Visit(access=access, name=name, url=reached.url, qualifier=qualifier)

    async def admit(self, request: Request, match: Match) -> Access:
        """Return the access of whoever has come in already; errors as in `enter`."""
        visit = await self.enter(request, match)
        assert isinstance(visit, Visit)  # a preflight opens no socket
        return visit.access

    async def _admit(self, request: Request, match: Match) -> Access:
        if "tenant" in match.params:  # the path says where; the headers must not say otherwise
            request.single[b"x-nova-tenant"] = unquote(match.params["tenant"]).encode()
            request.single[b"x-nova-namespace"] = unquote(match.params["namespace"]).encode()
        access = await self._doorman.admit(request, match)
        assert access is not None
        return access

    async def _find(self, key: Key) -> ReachedFunction | None:
        try:
            check_function_name(key[2])
            check_scope_name("tenant", key[0])
            check_scope_name("namespace", key[1])
        except InvalidRequest:
            return None
        return await self._functions.find(key)

    def _key(self, request: Request, match: Match, name: str, tenant: str) -> Key | None:
        """Return which function is meant, None when only the caller's credential says."""
        if "tenant" in match.params:
            return unquote(match.params["tenant"]), unquote(match.params["namespace"]), name
        single = request.single
        if b"x-api-key" in single or b"authorization" in single:
            return None
        asked = single.get(b"x-nova-tenant", b"").decode("latin-1").strip() or tenant or DEFAULT_TENANT
        namespace = single.get(b"x-nova-namespace", b"").decode("latin-1").strip() or DEFAULT_NAMESPACE
        return asked, namespace, name

    def _nobody(self, key: Key) -> Access:
        """Return the access of anybody: to call functions of the one namespace, and nothing else."""
        now_s = self._clock.monotonic_s()
        known = self._open.get(key)
        if known is not None and now_s < known.renew_at_s:
            return known
        tenant, namespace, name = key
        identity = Identity(
            tenant=tenant,
            namespace=namespace,
            subject=f"url:{name}",
            permissions=_INVOKES,
            is_platform_admin=False,
            expires_at_s=int(self._clock.now().timestamp()) + IDENTITY_TTL_S,
        )
        access = Access(
            identity=identity,
            token=mint(self._identity_key, identity),
            is_suspended=False,
            renew_at_s=now_s + IDENTITY_TTL_S / 2,
        )
        self._open.pop(key, None)
        while len(self._open) >= _CAPACITY:
            del self._open[next(iter(self._open))]
        self._open[key] = access
        return access

    def _tenant_of_host(self, request: Request) -> str:
        """Return the tenant whose host a request was sent to, in lower case; "" when it is not one for functions."""
        if not self._suffix:
            return ""
        host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1").lower()
        label = host.partition(":")[0].removesuffix(self._suffix)
        return label if host.partition(":")[0].endswith(self._suffix) else ""


def _say(request: Request, reached: ReachedFunction) -> Preflight | None:
    """Add what browsers are told to whatever the answer will be; return that of a preflight."""
    cors = reached.url.cors
    origin = next((value for name, value in request.headers if name == b"origin"), None)
    told = answer_headers(cors, origin)
    request.also = [pair for pair in request.also if pair == SANDBOXED] + told
    if not cors.allow_origins or origin is None or request.method != "OPTIONS":
        return None
    if not any(name == b"access-control-request-method" for name, _ in request.headers):
        return None
    return Preflight(headers=preflight_headers(cors, origin))
