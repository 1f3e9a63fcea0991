"""What planes ask nova: who holds a credential, whether a scope exists, what changes, what secrets are, and how to log
in to the databases of functions.

Never routed by zenith.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from constellation.base.errors import InvalidRequest, NotFound
from constellation.nova.api.changes import ChangeFeed
from constellation.nova.api.controlplane.gateway import policy_of
from constellation.nova.api.request import ApiRequest
from constellation.nova.auth.authenticate import Authenticator
from constellation.nova.config.live import PLATFORM
from constellation.nova.config.live_keys import planes_of
from constellation.nova.domain.access import Permission
from constellation.nova.domain.audit import AuditEvent
from constellation.nova.domain.database import MAX_BOUND, DatabaseLogin
from constellation.nova.domain.secret import MAX_RESOLVED
from constellation.nova.secrets.vault import Vault
from constellation.nova.service.databases import DatabaseKeeper
from constellation.nova.store.audit import Audit
from constellation.nova.store.changes import Changes
from constellation.nova.store.databases import Databases
from constellation.nova.store.function_urls import FunctionUrls
from constellation.nova.store.gateway import Domains, ServedDomain
from constellation.nova.store.settings import SetValues
from constellation.nova.store.tenancy import Tenancy
from constellation.routes.models.databases import DatabaseName
from constellation.routes.models.gateway import ServedDomainBody, ServedDomains, ServedRouteBody
from constellation.routes.models.secrets import SecretName
from constellation.routes.route import Plane, Query, Route, Transport

_DOMAINS_AT_ONCE = 100


class Credential(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    kind: Literal["presented", "loopback"]
    credential: str | UnsetType = UNSET


class GrantBody(Struct, kw_only=True, frozen=True):
    permissions: list[str]
    effect: str
    namespace: str
    functions: tuple[str, ...]


class PrincipalBody(Struct, kw_only=True, frozen=True):
    """Tenant and namespace may be "*", any."""

    subject: str
    tenant: str
    namespace: str
    grants: list[GrantBody]
    session: str = ""
    expires_at_s: float | None = None  # Unix time
    rate_per_s: float = 0.0  # calls of functions; 0: any number
    burst: int = 0


class ScopeBody(Struct, kw_only=True, frozen=True):
    tenant: str
    namespace: str
    status: str


class UrlBody(Struct, kw_only=True, frozen=True):
    """How a function is reached by its URL, and whether its tenant may be served at all."""

    tenant_status: str
    enabled: bool
    auth: str
    invoke_mode: str
    cors: dict[str, tuple[str, ...] | bool | int]


class SecretNames(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    names: Annotated[list[SecretName], Meta(min_length=1, max_length=MAX_RESOLVED)]


class SecretValues(Struct, kw_only=True, frozen=True):
    values: dict[str, str]

    def __repr__(self) -> str:
        return f"SecretValues({', '.join(self.values)})"


class DatabaseNames(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    names: Annotated[list[DatabaseName], Meta(min_length=1, max_length=MAX_BOUND)]
    repair: bool = False  # the servers do not let the roles in any more: have them as they should be


class DatabaseLogins(Struct, kw_only=True, frozen=True):
    logins: list[DatabaseLogin]  # in the order of the names

    def __repr__(self) -> str:
        return f"DatabaseLogins({', '.join(login.name for login in self.logins)})"


class AuditBatch(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    events: Annotated[list[AuditEvent], Meta(min_length=1, max_length=1000)]


class AuditWritten(Struct, kw_only=True, frozen=True):
    count: int


class SettingValues(Struct, kw_only=True, frozen=True):
    values: dict[str, str]


class HealthBody(Struct, kw_only=True, frozen=True):
    status: str
    seq: int
    followers: int


# The service token is all that most of these ask for, hence PUBLIC: no identity.
_route = partial(
    Route, plane=Plane.NOVA, transport=Transport.LOCAL, permission=Permission.PUBLIC, max_body_bytes=64 << 10
)
ROUTES: tuple[Route, ...] = (
    _route(
        operation="authenticate",
        method="POST",
        template="/internal/authenticate",
        summary="Who holds a credential",
        request=Credential,
        response=PrincipalBody,
    ),
    _route(
        operation="scope",
        method="GET",
        template="/internal/scope",
        summary="Does a scope exist, and is its tenant active",
        query=(Query(name="tenant"), Query(name="namespace")),
        response=ScopeBody,
    ),
    _route(
        operation="function_url_of",
        method="GET",
        template="/internal/function-url",
        summary="How a function is reached by its URL",
        query=(Query(name="tenant"), Query(name="namespace"), Query(name="name")),
        response=UrlBody,
    ),
    _route(
        operation="changes",
        method="GET",
        template="/internal/changes",
        summary="What changes, as it changes",
        query=(Query(name="after", type="integer"),),
        streams=True,
    ),
    Route(
        operation="resolve_secrets",
        method="POST",
        template="/internal/secrets/resolve",
        plane=Plane.NOVA,
        transport=Transport.LOCAL,
        permission=Permission.AUTHENTICATED,  # the owner of the function that uses them, whose scope they are of
        summary="The values of secrets, for an instance that is about to begin",
        request=SecretNames,
        response=SecretValues,
        max_body_bytes=64 << 10,
    ),
    Route(
        operation="resolve_databases",
        method="POST",
        template="/internal/databases/resolve",
        plane=Plane.NOVA,
        transport=Transport.LOCAL,
        permission=Permission.AUTHENTICATED,  # as of secrets
        summary="How to log in to databases, for an instance that is about to begin",
        request=DatabaseNames,
        response=DatabaseLogins,
        max_body_bytes=64 << 10,
    ),
    Route(
        operation="record_audit",
        method="POST",
        template="/internal/audit",
        plane=Plane.NOVA,
        transport=Transport.LOCAL,
        permission=Permission.PUBLIC,
        summary="What requests to the gateway came to",
        request=AuditBatch,
        response=AuditWritten,
        max_body_bytes=4 << 20,
    ),
    _route(
        operation="served_domains",
        method="GET",
        template="/internal/domains",
        summary="What gateways serve under custom domains: of one host, or of those behind another in order",
        query=(Query(name="host"), Query(name="after")),
        response=ServedDomains,
    ),
    _route(
        operation="platform_settings",
        method="GET",
        template="/internal/settings",
        summary="What is set of the platform, for planes without a database",
        response=SettingValues,
    ),
    _route(
        operation="health",
        method="GET",
        template="/internal/health",
        summary="Does the database answer",
        response=HealthBody,
    ),
)


class InternalRoutes:
    """Operations for planes of this platform."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        tenancy: Tenancy,
        changes: Changes,
        feed: ChangeFeed,
        urls: FunctionUrls,
        vault: Vault,
        databases: Databases,
        keeper: DatabaseKeeper,
        audit: Audit,
        domains: Domains,
        values: SetValues,
    ) -> None:
        self._authenticator, self._tenancy, self._changes, self._feed = authenticator, tenancy, changes, feed
        self._urls, self._vault, self._audit = urls, vault, audit
        self._domains, self._values = domains, values
        self._domains, self._databases, self._keeper = domains, databases, keeper

    async def authenticate(self, call: ApiRequest[Credential]) -> PrincipalBody:
        match call.body:
            case Credential(kind="loopback"):
                principal = self._authenticator.loopback()
            case Credential(credential=str() as text):
                principal = await self._authenticator.presented(text)
            case _:
                raise InvalidRequest("a credential that is presented must be told", field="credential")
        return PrincipalBody(
            subject=principal.subject,
            tenant=principal.tenant,
            namespace=principal.namespace,
            grants=[
                GrantBody(
                    permissions=sorted(grant.permissions),
                    effect=grant.effect.value,
                    namespace=grant.namespace,
                    functions=grant.functions,
                )
                for grant in principal.grants
            ],
            session=principal.session,
            expires_at_s=principal.expires_at_s,
            rate_per_s=principal.rate_per_s,
            burst=principal.burst,
        )

    async def scope(self, call: ApiRequest[None]) -> ScopeBody:
        tenant, namespace = (_wanted(call, name) for name in ("tenant", "namespace"))
        found = await self._tenancy.try_get_tenant(tenant)
        if found is None:
            raise NotFound("tenant", tenant)
        await self._tenancy.get_namespace(tenant, namespace)
        return ScopeBody(tenant=tenant, namespace=namespace, status=found.status.value)

    async def function_url_of(self, call: ApiRequest[None]) -> UrlBody:
        tenant, namespace, name = (_wanted(call, part) for part in ("tenant", "namespace", "name"))
        found = await self._tenancy.try_get_tenant(tenant)
        if found is None:
            raise NotFound("tenant", tenant)
        url = await self._urls.get(tenant, namespace, name)
        return UrlBody(
            tenant_status=found.status.value,
            enabled=url.enabled,
            auth=url.auth.value,
            invoke_mode=url.invoke_mode.value,
            cors=asdict(url.cors),
        )

    async def changes(self, call: ApiRequest[None]) -> AsyncIterator[bytes]:
        text = call.query.get("after")
        if text is None:
            return self._feed.follow(None)
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise InvalidRequest(f"after must be the number of a change, not {text[:40]!r}", field="after")
        return self._feed.follow(int(text))

    async def resolve_secrets(self, call: ApiRequest[SecretNames]) -> SecretValues:
        return SecretValues(values=dict(await self._vault.reveal(*call.scope, call.body.names)))

    async def resolve_databases(self, call: ApiRequest[DatabaseNames]) -> DatabaseLogins:
        found = [await self._databases.get(*call.scope, name) for name in call.body.names]
        if call.body.repair:
            for each in found:
                await self._keeper.repair(each)
        return DatabaseLogins(logins=[await self._keeper.login(each) for each in found])

    async def record_audit(self, call: ApiRequest[AuditBatch]) -> AuditWritten:
        await self._audit.add(call.body.events)
        return AuditWritten(count=len(call.body.events))

    async def served_domains(self, call: ApiRequest[None]) -> ServedDomains:
        host = call.query.get("host")
        if host is not None:
            found = await self._domains.served_at(host)
            return ServedDomains(items=() if found is None else (_served_body(found),), is_last=True)
        domains = await self._domains.served_after(call.query.get("after", ""), limit=_DOMAINS_AT_ONCE)
        return ServedDomains(items=tuple(map(_served_body, domains)), is_last=len(domains) < _DOMAINS_AT_ONCE)

    async def platform_settings(self, _call: ApiRequest[None]) -> SettingValues:
        values = (await self._values.values()).get(PLATFORM, {})
        return SettingValues(values={key: text for key, text in values.items() if "zenith" in planes_of(key)})

    async def health(self, _call: ApiRequest[None]) -> HealthBody:
        seq = await self._changes.head()
        return HealthBody(status="ok", seq=seq, followers=self._feed.followers)


def _served_body(served: ServedDomain) -> ServedDomainBody:
    domain = served.domain
    return ServedDomainBody(
        host=domain.host,
        tenant=domain.tenant,
        namespace=domain.namespace,
        is_suspended=served.is_suspended,
        routes=tuple(
            ServedRouteBody(
                id=route.id,
                path=route.path,
                methods=route.methods,
                function=route.function_name,
                qualifier=route.qualifier,
                is_sticky=route.is_sticky,
                auth=route.auth.value,
                version=route.version,
                policy=policy_of(route),
            )
            for route in served.routes
        ),
    )


def _wanted(call: ApiRequest[None], name: str) -> str:
    value = call.query.get(name)
    if not value:
        raise InvalidRequest(f"the query needs {name}", field=name)
    return value
