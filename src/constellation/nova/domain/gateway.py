"""Custom domains and their routes: what a request to one of a tenant's hosts means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.alias import target
from constellation.nova.domain.path_template import PathIndex, path_template

MAX_DOMAINS = 1000  # of a tenant; chosen
MAX_ROUTES = 500  # of a domain; chosen
MAX_POLICY_CHARS = 128 << 10  # of a route, as JSON; gateways keep them all
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Auth(StrEnum):
    """Whom a route serves."""

    NONE = "none"  # everybody
    API_KEY = "api_key"  # holders of an API key that may invoke the route's function
    SESSION = "session"  # users who logged in and may
    JWT = "jwt"  # bearers of a token of a trusted issuer who may
    ANY = "any"  # holders of any of these


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One row of `domains`: a host, and whose it is."""

    tenant: str
    namespace: str
    host: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRoute:
    """One row of `gateway_routes`."""

    tenant: str
    namespace: str
    id: UUID
    host: str  # of a domain of the same scope
    path: str
    shape: str  # of the path
    methods: tuple[str, ...]  # (): any
    function_name: str
    auth: Auth
    enabled: bool
    policy: str  # JSON of `routes.models.gateway.RoutePolicy`
    version: int
    created_at: datetime
    updated_at: datetime
    qualifier: str = ""  # the version or alias of the function that is called; "": the live version
    is_sticky: bool = (
        False  # whether that is an alias which keeps callers at one version; known where routes are served
    )

    @property
    def target(self) -> str:
        return target(self.function_name, self.qualifier)


def kind_of(credential: str) -> Auth:
    """Return what kind of credential a text is, by its form alone."""
    if credential.count(".") == 2:
        return Auth.JWT
    return Auth.SESSION if credential.startswith("ss_") else Auth.API_KEY


def check_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """Return methods in upper case, each once, in the usual order. Raises `InvalidRequest` for an unknown one."""
    wanted = {method.upper() for method in methods}
    if unknown := sorted(wanted.difference(METHODS)):
        raise InvalidRequest(f"method {unknown[0][:40]!r} must be one of {', '.join(METHODS)}", field="methods")
    return tuple(method for method in METHODS if method in wanted)


def check_networks(texts: Iterable[str], *, field: str) -> None:
    """Let addresses and networks in CIDR form through, or raise `InvalidRequest`."""
    for text in texts:
        try:
            ip_network(text)
        except ValueError as error:
            raise InvalidRequest(f"{text[:80]!r} is no address or network: {error}", field=field) from error


class Routed(Protocol):
    """A path, and the methods that it is served for; none: any."""

    @property
    def path(self) -> str: ...

    @property
    def methods(self) -> tuple[str, ...]: ...


R = TypeVar("R", bound=Routed)


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """The route of a request, and what the names in its path stand for."""

    route: R
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OtherMethods:
    """The path has routes, none for the method."""

    allow: tuple[str, ...]


class PathRoutes(Generic[R]):
    """The routes of one domain."""

    def __init__(self, routes: Iterable[R]) -> None:
        # At one path, a route that names methods goes before the one that takes any.
        ordered = sorted(routes, key=lambda route: not route.methods)
        self._index = PathIndex((path_template(route.path), route) for route in ordered)

    def find(self, method: str, path: str) -> Found[R] | OtherMethods | None:
        """Return the most specific route that takes this method; None when no route has the path.

        A route for GET answers HEAD, too. `path` is percent-encoded as it came.
        """
        allow: set[str] = set()
        for route, params in self._index.find(path):
            if not route.methods or method in route.methods or (method == "HEAD" and "GET" in route.methods):
                return Found(route, params)
            allow.update(route.methods)
            if "GET" in route.methods:
                allow.add("HEAD")
        return OtherMethods(tuple(name for name in METHODS if name in allow)) if allow else None
