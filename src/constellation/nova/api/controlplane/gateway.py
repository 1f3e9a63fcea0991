"""Custom domains and the routes that gateways serve under them."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import msgspec
from msgspec import UNSET, structs

from constellation.base.errors import InvalidRequest, NotFound, VersionConflict
from constellation.base.json_schema import Checker
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.access import GRANTABLE, check_rate
from constellation.nova.domain.alias import target_of
from constellation.nova.domain.function_url import Cors, check_cors
from constellation.nova.domain.gateway import (
    MAX_POLICY_CHARS,
    Auth,
    Domain,
    Found,
    GatewayRoute,
    PathRoutes,
    check_methods,
    check_networks,
)
from constellation.nova.domain.globs import check_globs
from constellation.nova.domain.host import check_host, cover_of, host_in
from constellation.nova.domain.mapping import ResponseRules, check_request_rules, check_response_rules
from constellation.nova.domain.path_template import path_template
from constellation.nova.store.gateway import Domains, NewRoute
from constellation.routes.models.functions import Deleted
from constellation.routes.models.gateway import (
    DomainBody,
    DomainCreate,
    GatewayMatchBody,
    GatewayRouteBody,
    GatewayRouteCreate,
    GatewayRoutesChanged,
    GatewayRouteSet,
    GatewayRoutesPut,
    GatewayRouteUpdate,
)
from constellation.routes.models.gateway_policy import RoutePolicy
from constellation.routes.models.gateway_socket import socket_conflict
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of


class DomainRoutes:
    """Operations on domains of the caller's namespace.

    `own_hosts`, and what is below `function_domain`: names that no tenant may have.
    """

    def __init__(self, domains: Domains, *, own_hosts: tuple[str, ...], function_domain: str, schemas: Checker) -> None:
        self._domains, self._own_hosts, self._function_domain = domains, own_hosts, function_domain
        self._schemas = schemas

    async def create_domain(self, call: ApiRequest[DomainCreate]) -> DomainBody:
        host = check_host(call.body.host, own=self._own_hosts, functions=self._function_domain)
        return _domain_body(await self._domains.create(*call.scope, host))

    async def list_domains(self, call: ApiRequest[None]) -> Page[DomainBody]:
        found = await self._domains.list(*call.scope, limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _domain_body)

    async def get_domain(self, call: ApiRequest[None]) -> DomainBody:
        return _domain_body(await self._domains.get(*call.scope, call.params["host"].lower()))

    async def delete_domain(self, call: ApiRequest[None]) -> Deleted:
        host = call.params["host"].lower()
        await self._domains.delete(*call.scope, host)
        return Deleted(status="deleted", name=host)

    async def create_gateway_route(self, call: ApiRequest[GatewayRouteCreate]) -> GatewayRouteBody:
        tenant, namespace = call.scope
        new = await self._new(call.body, owner=tenant)
        route = await self._domains.create_route(
            tenant=tenant,
            namespace=namespace,
            host=check_host(call.body.host),
            path=new.path,
            shape=new.shape,
            methods=new.methods,
            function_name=new.function_name,
            qualifier=new.qualifier,
            auth=new.auth,
            enabled=new.enabled,
            policy=new.policy,
        )
        return _route_body(route)

    async def replace_gateway_routes(self, call: ApiRequest[GatewayRoutesPut]) -> GatewayRoutesChanged:
        host, body = call.params["host"].lower(), call.body
        wanted = [await self._new(each, owner=call.scope[0]) for each in body.routes]
        if len({each.key for each in wanted}) < len(wanted):
            raise InvalidRequest("a path is there twice with the same methods", field="routes")
        done = await self._domains.replace_routes(*call.scope, host, wanted, is_same=_is_same, is_dry_run=body.dry_run)
        return GatewayRoutesChanged(
            host=host,
            added=tuple(map(_told, done.added)),
            changed=tuple(map(_told, done.changed)),
            deleted=tuple(sorted(map(_told, done.deleted))),
            kept=done.kept,
            is_dry_run=body.dry_run,
        )

    async def list_gateway_routes(self, call: ApiRequest[None]) -> Page[GatewayRouteBody]:
        host = call.query.get("host")
        found = await self._domains.list_routes(
            *call.scope,
            host=None if host is None else host.lower(),
            function_name=call.query.get("function"),
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _route_body)

    async def match_gateway_route(self, call: ApiRequest[None]) -> GatewayMatchBody:
        for name in ("host", "path"):
            if not call.query.get(name):
                raise InvalidRequest(f"the query needs {name}", field=name)
        host, path = host_in(call.query["host"].encode("latin-1", "replace")), call.query["path"]
        method = check_methods([call.query.get("method") or "GET"])[0]
        served = await self._domains.served_at(host) or await self._domains.served_at(cover_of(host))
        if served is None or (served.domain.tenant, served.domain.namespace) != call.scope:
            raise NotFound("domain", host[:254])
        found = PathRoutes(served.routes).find(method, path)
        if not isinstance(found, Found):
            others = f" (for {', '.join(found.allow)} there is one)" if found else ""
            raise NotFound("gateway route", f"{method} {host}{path[:200]}{others}")
        return GatewayMatchBody(route=_route_body(found.route), path_params=dict(found.params))

    async def get_gateway_route(self, call: ApiRequest[None]) -> GatewayRouteBody:
        return _route_body(await self._read(call))

    async def update_gateway_route(self, call: ApiRequest[GatewayRouteUpdate]) -> GatewayRouteBody:
        return await until_written(lambda: self._update(call))

    async def delete_gateway_route(self, call: ApiRequest[None]) -> Deleted:
        route = await self._read(call)
        await self._domains.delete_route(*call.scope, route.id)
        return Deleted(status="deleted", name=str(route.id))

    async def _update(self, call: ApiRequest[GatewayRouteUpdate]) -> GatewayRouteBody:
        body, route = call.body, await self._read(call)
        if body.version is not UNSET and body.version != route.version:
            raise VersionConflict("gateway route", str(route.id), found=route.version)
        path = route.path if body.path is UNSET else body.path
        auth = route.auth if body.auth is UNSET else Auth(body.auth)
        policy = policy_of(route) if body.policy is UNSET else body.policy
        name, qualifier = (route.function_name, route.qualifier) if body.function is UNSET else target_of(body.function)
        changed = replace(
            route,
            path=path,
            shape=path_template(path).shape,
            methods=route.methods if body.methods is UNSET else check_methods(body.methods),
            function_name=name,
            qualifier=qualifier,
            auth=auth,
            enabled=route.enabled if body.enabled is UNSET else body.enabled,
            policy=_policy_text(policy, auth),
        )
        _check_opening(changed.methods, policy)
        if body.policy is not UNSET:
            await self._check_schemas(policy, owner=route.tenant)
        is_same = replace(changed, policy=route.policy) == route and policy_of(changed) == policy_of(route)
        return _route_body(route if is_same else await self._domains.update_route(changed))

    async def _new(self, body: GatewayRouteCreate | GatewayRouteSet, *, owner: str) -> NewRoute:
        """Return a route as it is to be. Raises `InvalidRequest`: it makes no sense."""
        name, qualifier = target_of(body.function)
        policy = _policy_text(body.policy, Auth(body.auth))
        _check_opening(check_methods(body.methods), body.policy)
        await self._check_schemas(body.policy, owner=owner)
        return NewRoute(
            path=body.path,
            shape=path_template(body.path).shape,
            methods=check_methods(body.methods),
            function_name=name,
            qualifier=qualifier,
            auth=Auth(body.auth),
            enabled=body.enabled,
            policy=policy,
        )

    async def _check_schemas(self, policy: RoutePolicy, *, owner: str) -> None:
        for part, schema in structs.asdict(policy.schema).items():
            if schema is not None:
                await self._schemas.compile(msgspec.json.encode(schema), field=f"policy.schema.{part}", owner=owner)

    async def _read(self, call: ApiRequest[object]) -> GatewayRoute:
        text = call.params["id"]
        try:
            route_id = UUID(text)
        except ValueError:
            raise NotFound("gateway route", text[:80]) from None
        return await self._domains.get_route(*call.scope, route_id)


def _domain_body(domain: Domain) -> DomainBody:
    return DomainBody(tenant=domain.tenant, namespace=domain.namespace, host=domain.host, created_at=domain.created_at)


def _route_body(route: GatewayRoute) -> GatewayRouteBody:
    return GatewayRouteBody(
        id=route.id,
        tenant=route.tenant,
        namespace=route.namespace,
        host=route.host,
        path=route.path,
        methods=route.methods,
        function=route.target,
        auth=route.auth.value,
        enabled=route.enabled,
        policy=policy_of(route),
        version=route.version,
        created_at=route.created_at,
        updated_at=route.updated_at,
    )


def _told(route: NewRoute | GatewayRoute) -> str:
    return f"{','.join(route.methods) or 'any method'} {route.path}"


def _is_same(new: NewRoute, old: GatewayRoute) -> bool:
    fields = ("function_name", "qualifier", "auth", "enabled")
    return policy_of(new) == policy_of(old) and all(getattr(new, each) == getattr(old, each) for each in fields)


def policy_of(route: GatewayRoute | NewRoute) -> RoutePolicy:
    """Return the policy of a row."""
    return msgspec.json.decode(route.policy, type=RoutePolicy)


def _check_callers(policy: RoutePolicy, auth: Auth) -> None:
    for field in ("permissions", "subjects"):
        if getattr(policy, field) and auth is Auth.NONE:
            raise InvalidRequest(
                f"{field} are of callers with a credential; with auth none nobody is asked", field=f"policy.{field}"
            )
    unknown = sorted(set(policy.permissions).difference(GRANTABLE))
    if unknown:
        raise InvalidRequest(f"there is no permission {unknown[0][:80]!r}", field="policy.permissions")
    for pattern in policy.subjects:
        kind, colon, name = pattern.partition(":")
        if not colon:
            raise InvalidRequest(
                f"{pattern[:80]!r} must be kind:name, as user:ann or service-account:*", field="policy.subjects"
            )
        check_globs("policy.subjects", (kind, name))


def _check_opening(methods: tuple[str, ...], policy: RoutePolicy) -> None:
    if policy.websocket and methods and "GET" not in methods:
        raise InvalidRequest("WebSockets are opened by GET: name it, or no method at all", field="methods")


def _policy_text(policy: RoutePolicy, auth: Auth) -> str:
    """Return a policy as a row has it. Raises `InvalidRequest`: it makes no sense."""
    check_networks(policy.ip_allow, field="policy.ip_allow")
    check_networks(policy.ip_deny, field="policy.ip_deny")
    check_cors(Cors(**structs.asdict(policy.cors)))
    check_rate(rate_per_s=policy.rate_per_s, burst=policy.burst)
    if policy.rate_per_s and auth is not Auth.NONE:
        raise InvalidRequest(
            "rate_per_s bounds callers without a credential: it needs auth none; a key has a rate of its own",
            field="policy.rate_per_s",
        )
    _check_callers(policy, auth)
    check_request_rules(policy.request, field="policy.request")
    check_response_rules(policy.response, field="policy.response")
    if policy.stream and policy.response != ResponseRules():
        raise InvalidRequest("an answer that is sent as it is made can not be mapped", field="policy.stream")
    conflict = socket_conflict(policy) if policy.websocket else None
    if conflict is not None:
        raise InvalidRequest(conflict[1], field=conflict[0])
    text = msgspec.json.encode(policy).decode()
    if len(text) > MAX_POLICY_CHARS:
        raise InvalidRequest(f"the policy has over {MAX_POLICY_CHARS} characters", field="policy")
    return text
